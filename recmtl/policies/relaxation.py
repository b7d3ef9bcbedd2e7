"""Discrete choices that gradients pass through."""

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["choose"]


def choose(logits: Tensor, temperature: float | None) -> Tensor:
    """Pick one of the last axis: logits `[..., C]` to one-hot rows `[..., C]`.

    Args:
        logits: unnormalised log probabilities; -inf forbids a choice.
        temperature: None takes the most probable choice. A number draws one with Gumbel noise;
            the value is hard and the gradient is that of the softmax at this temperature
            (straight-through Gumbel-softmax, Jang et al. 2017). Low temperatures sharpen the
            gradient, they do not change the distribution that is drawn from.
    """
    if temperature is None:
        return functional.one_hot(logits.argmax(-1), logits.shape[-1]).to(logits.dtype)
    uniform = torch.rand_like(logits).clamp_(1e-9, 1.0 - 1e-7)
    noisy = (logits - torch.log(-torch.log(uniform))) / temperature
    soft = noisy.softmax(-1)
    hard = functional.one_hot(noisy.argmax(-1), logits.shape[-1]).to(logits.dtype)
    # Bracketed so that the value is exactly 0 or 1: the difference is exactly 0.
    return hard + (soft - soft.detach())
