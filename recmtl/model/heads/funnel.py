"""How the heads of a funnel depend on one another: published models as settings.

Events that follow one another, click then conversion: labels, losses and probabilities.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from recmtl.model.heads.spec import HeadSpec

__all__ = [
    "AITM",
    "ESCM2_DR",
    "ESCM2_IPS",
    "ESMM",
    "Chain",
    "Funnel",
    "cross_entropy",
    "doubly_robust",
    "excess",
    "inverse_propensity",
    "joint_log_probability",
    "joint_loss",
]


@dataclass(frozen=True)
class Chain:
    """What a funnel child takes from its parent; tasks without a parent do not notice.

    The chain is that of the schema's `parent`: of click -> buy -> refund each child follows its
    own parent, and two children of one parent do not follow one another. Scored columns have the
    same names and the same meaning whatever is chosen here.

    Attributes:
        transfer: whether a child's head reads its own features together with those of its parent
            (`Transfer`, AITM).
        child: what a child's logit says. `conditional`: p(child | parent), the joint probability
            being the product down the chain (ESMM). `joint`: the probability that the whole chain
            happened (AITM); it is scored as at most its parent's, and the conditional is the
            quotient of the two.
        calibrator: price of a joint probability above its parent's (AITM's alpha); only `joint`
            children can exceed their parent.
        counterfactual: second loss of a conditional child, its error as if every parent had
            happened: `ips`, by inverse propensity, or `dr`, doubly robust (ESCM2).
        counterfactual_weight: factor of that loss beside the child's own; our choice, since the
            papers tune it.
        least_propensity: the parent's predicted probability counts as no less than this, so that
            no row weighs more than its inverse. Public code has bounds from 1e-6 to 1/15.
    """

    transfer: bool = False
    child: Literal["conditional", "joint"] = "conditional"
    calibrator: float = 0.6
    counterfactual: Literal["none", "ips", "dr"] = "none"
    counterfactual_weight: float = 0.1
    least_propensity: float = 0.01

    def __post_init__(self) -> None:
        """Refuse what cannot be trained."""
        if self.counterfactual != "none" and self.child == "joint":
            raise ValueError("counterfactual needs child: conditional, which it corrects")
        if min(self.calibrator, self.counterfactual_weight) < 0.0:
            raise ValueError("calibrator and counterfactual_weight must not be negative")
        if not 0.0 < self.least_propensity <= 1.0:
            raise ValueError("least_propensity must lie above 0 and be at most 1")


ESMM = Chain()
"""Entire-space product of conditionals (SIGIR 2018): the default."""

AITM = Chain(transfer=True, child="joint")
"""Adaptive information transfer with the calibrator, alpha = 0.6 (KDD 2021)."""

ESCM2_IPS = Chain(counterfactual="ips")
"""ESMM and inverse propensities (SIGIR 2022)."""

ESCM2_DR = Chain(counterfactual="dr")
"""ESMM, inverse propensities and imputed errors (SIGIR 2022)."""


class Funnel:
    """The binary tasks of a model, each after its parent; a task without one stands alone.

    Positions are those of the tasks; `logits` hold `[B, 1]` a task, and after them the imputed
    errors of the children where the chain asks for them. Labels are `[B, T]`, NaN if unknown.
    """

    def __init__(self, specs: Sequence[HeadSpec], chain: Chain) -> None:
        names = [spec.name for spec in specs]
        self.chain, self.means = chain, [spec.mean for spec in specs]
        self.parents = [None if s.parent is None else names.index(s.parent) for s in specs]
        self.children = [t for t, parent in enumerate(self.parents) if parent is not None]
        # Tasks whose own logit says all that their label tells.
        binary = [t for t, spec in enumerate(specs) if spec.kind == "binary"]
        self.own = [t for t in binary if t not in self.children or chain.child == "joint"]

    def labels(self, labels: Tensor) -> Tensor:
        """Labels `[B, T]` on the entire space, where a child's is 0 if a parent's is."""
        if not self.children:
            return labels
        return torch.stack([self.label(task, labels) for task in range(len(self.parents))], 1)

    def label(self, position: int, labels: Tensor) -> Tensor:
        """Whether all events down to this one happened `[B]`: not where a parent did not."""
        parent = self.parents[position]
        if parent is None:
            return labels[:, position]
        above = self.label(parent, labels)
        return torch.where(above == 1, labels[:, position], above)

    def loss(self, position: int, logits: list[Tensor], label: Tensor) -> Tensor:
        """Cross-entropy `[B]` of what `label` says of a conditional child, on the entire space."""
        return joint_loss(self._log_joint(position, logits), label)

    def addition(self, position: int, logits: list[Tensor], labels: Tensor) -> Tensor | None:
        """What training adds to a child's loss `[B]`: the calibrator, a counterfactual loss."""
        chain, parent, logit = self.chain, self.parents[position], logits[position][:, 0]
        if parent is None:
            return None
        if chain.child == "joint":
            return chain.calibrator * excess(logit, logits[parent][:, 0])
        if chain.counterfactual == "none":
            return None
        happened = (self.label(parent, labels) == 1).to(logit.dtype)
        error = cross_entropy(logit, (happened * labels[:, position]).nan_to_num())
        # Without a gradient: the loss would otherwise fall by predicting more clicks.
        propensity = self._log_joint(parent, logits).detach().exp()
        propensity = propensity.clamp_min(chain.least_propensity)
        loss = inverse_propensity(error, happened, propensity)
        if chain.counterfactual == "dr":
            imputed = logits[len(self.parents) + self.children.index(position)][:, 0]
            loss = doubly_robust(error, imputed, happened, propensity)
        return chain.counterfactual_weight * loss

    def scores(self, position: int, logits: list[Tensor]) -> list[Tensor]:
        """`[B]` each: p(event), or of a child p(event | parent) and p(all events down to it).

        The second is the first times that of the parent, whatever the chain.
        """
        own, parent = torch.sigmoid(logits[position][:, 0]), self.parents[position]
        if parent is None:
            return [own]
        log_joint = self._log_joint(position, logits)
        if self.chain.child == "joint":
            own = torch.exp(log_joint - self._log_joint(parent, logits))
        return [own, torch.exp(log_joint)]

    def base_rate(self, position: int) -> float:
        """Probability that a fresh logit should say, kept away from 0 and 1."""
        rate, parent = self.means[position], self.parents[position]
        if parent is not None and self.chain.child == "conditional":
            rate /= max(self.means[parent], 1e-6)
        return min(max(rate, 1e-6), 1.0 - 1e-6)

    def _log_joint(self, position: int, logits: list[Tensor]) -> Tensor:
        """Of all events down to this one; a joint child counts as no more than its parents."""
        line = [position]
        while (above := self.parents[line[0]]) is not None:
            line.insert(0, above)
        chain = [logits[task][:, 0] for task in line]
        if self.chain.child == "joint":
            return functional.logsigmoid(torch.stack(chain).amin(0))
        return joint_log_probability(chain)


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


def excess(child: Tensor, parent: Tensor) -> Tensor:
    """`max(y_t - y_{t-1}, 0)` `[B]` of joint logits `[B]`: AITM's calibrator (KDD 2021)."""
    return functional.relu(torch.sigmoid(child) - torch.sigmoid(parent))


def inverse_propensity(error: Tensor, happened: Tensor, propensity: Tensor) -> Tensor:
    """`o * delta / o_hat` `[B]` (ESCM2-IPS, SIGIR 2022): the error as if all parents happened.

    Its mean is unbiased where the propensity is right.

    Args:
        error: delta, the child's cross-entropy; it counts only where the parent happened.
        happened: o, 1 where the parent happened and 0 elsewhere.
        propensity: o_hat, the predicted probability that it did, above zero.
    """
    return happened * error / propensity


def doubly_robust(error: Tensor, imputed: Tensor, happened: Tensor, propensity: Tensor) -> Tensor:
    """`delta_hat + o (delta - delta_hat) / o_hat + o (delta - delta_hat)^2 / o_hat` `[B]`.

    ESCM2-DR (SIGIR 2022): the mean of the first two terms is unbiased where the propensity or the
    imputed error delta_hat is right; the third trains the imputation. As published all three are
    minimised together: gradients pass through both errors in each term.

    Args:
        error: delta, as in `inverse_propensity`.
        imputed: delta_hat, what a head of its own expects the error to be.
        happened: o.
        propensity: o_hat, above zero.
    """
    gap = error - imputed
    return imputed + happened * (gap + gap.square()) / propensity


def cross_entropy(logit: Tensor, label: Tensor) -> Tensor:
    """Of probabilities by their logits, element by element."""
    return functional.binary_cross_entropy_with_logits(logit, label, reduction="none")
