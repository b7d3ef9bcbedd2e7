"""Probabilities of chained events in log space: click, then conversion."""

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["joint_log_probability", "joint_loss"]


def joint_log_probability(chain: list[Tensor]) -> Tensor:
    """`log p(all events)` of conditional logits `[B]`, first event first: a sum of log sigmoids."""
    return torch.stack([functional.logsigmoid(logit) for logit in chain]).sum(0)


def joint_loss(log_joint: Tensor, label: Tensor) -> Tensor:
    """Cross-entropy `[B]` of the joint event on the entire space (ESMM, SIGIR 2018, eq. 6).

    `-(y log p + (1 - y) log(1 - p))` with p = exp(log_joint), stable for p near 0 and 1.
    """
    below = log_joint.clamp_max(-1e-7)
    # log(1 - exp(x)) by the form that keeps its digits on either side of log 1/2.
    small = torch.log1p(-torch.exp(below.clamp_max(-0.693)))
    large = torch.log(-torch.expm1(below.clamp_min(-0.693)))
    log_rest = torch.where(below < -0.693, small, large)
    return -(label * log_joint + (1.0 - label) * log_rest)
