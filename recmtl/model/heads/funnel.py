"""Funnels: events that follow one another (click, then conversion), and what a child's head learns.

`Chain` holds the settings under which ESMM, AITM and ESCM2 differ; `Funnel` turns logits and labels
into losses and probabilities. The module has no weights; those are in `recmtl.model.heads.heads`.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from recmtl.errors import ConfigError
from recmtl.model.heads.spec import HeadSpec
from recmtl.schema.settings import settings

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
    "focal_loss",
    "inverse_propensity",
    "joint_log_probability",
    "joint_loss",
    "log_of_rest",
]


@settings(ConfigError)
class Chain:
    """How a funnel child depends on its parent; tasks without a parent are not affected.

    Parents come from the schema: in click -> buy -> refund each child follows its own parent, and
    two children of one parent are independent of one another. The names and the meaning of scored
    columns do not depend on these settings.

    Attributes:
        transfer: whether a child's head reads its parent's features beside its own (`Transfer`,
            AITM).
        child: meaning of a child's logit. `conditional`: p(child | parent); the joint probability
            is the product down the chain (ESMM). `joint`: the probability that the whole chain
            happened (AITM); scoring caps it at the parent's, and the conditional probability is
            the quotient of the two.
        calibrator: weight of the penalty on a joint probability above its parent's (AITM's alpha);
            it applies to `joint` children only.
        counterfactual: second loss of a conditional child, which estimates its error as if every
            parent had happened: `ips`, by inverse propensity, or `dr`, doubly robust (ESCM2).
        counterfactual_weight: factor of that loss; our choice, since the papers tune it.
        least_propensity: lower bound of the parent's predicted probability, so that no row weighs
            more than its inverse. Public code uses bounds from 1e-6 to 1/15.
    """

    transfer: bool = False
    child: Literal["conditional", "joint"] = "conditional"
    calibrator: Annotated[float, Field(ge=0, le=1e6)] = 0.6
    counterfactual: Literal["none", "ips", "dr"] = "none"
    counterfactual_weight: Annotated[float, Field(ge=0, le=1e6)] = 0.1
    least_propensity: Annotated[float, Field(gt=0, le=1)] = 0.01

    def __post_init__(self) -> None:
        """Refuse settings that cannot be trained."""
        if self.counterfactual != "none" and self.child == "joint":
            raise ValueError("counterfactual needs child: conditional, which it corrects")


ESMM = Chain()
"""Product of conditional probabilities on the entire space (SIGIR 2018): the default."""

AITM = Chain(transfer=True, child="joint")
"""Adaptive information transfer with calibrator, alpha = 0.6 (KDD 2021)."""

ESCM2_IPS = Chain(counterfactual="ips")
"""ESMM with inverse propensities (SIGIR 2022)."""

ESCM2_DR = Chain(counterfactual="dr")
"""ESMM with inverse propensities and imputed errors (SIGIR 2022)."""


class Funnel:
    """Labels, losses and probabilities of binary tasks with parents.

    A position is that of a task among all tasks. `logits` hold one `[B, 1]` tensor a task, then the
    imputed errors of the children if the chain has such. Labels are `[B, T]`, NaN if unknown.

    Args:
        specs: all tasks of the model.
        chain: how children depend on their parents.

    Attributes:
        parents: position of each task's parent, or None.
        children: positions of the tasks with a parent.
        direct: positions of the binary tasks whose logit alone determines the probability of their
            label.
    """

    def __init__(self, specs: Sequence[HeadSpec], chain: Chain) -> None:
        names = [spec.name for spec in specs]
        self.chain, self.means = chain, [spec.mean for spec in specs]
        self.parents = [None if s.parent is None else names.index(s.parent) for s in specs]
        self.children = [t for t, parent in enumerate(self.parents) if parent is not None]
        binary = [t for t, spec in enumerate(specs) if spec.kind == "binary"]
        self.direct = [t for t in binary if t not in self.children or chain.child == "joint"]

    def labels(self, labels: Tensor) -> Tensor:
        """Labels `[B, T]` on the entire space: a child's label is 0 wherever an ancestor's is."""
        if not self.children:
            return labels
        return torch.stack([self.label(task, labels) for task in range(len(self.parents))], 1)

    def label(self, position: int, labels: Tensor) -> Tensor:
        """Whether this event and all its ancestors happened `[B]`: `joint_labels` of tensors."""
        parent = self.parents[position]
        if parent is None:
            return labels[:, position]
        above = self.label(parent, labels)
        return torch.where(above == 0, above, labels[:, position])

    def loss(self, position: int, logits: list[Tensor], label: Tensor) -> Tensor:
        """Cross-entropy `[B]` of a conditional child's joint event; `label` is from `label()`."""
        return joint_loss(self._log_joint(position, logits), label)

    def addition(self, position: int, logits: list[Tensor], labels: Tensor) -> Tensor | None:
        """Training's second loss of a child `[B]`: calibrator or counterfactual; None without."""
        chain, parent, logit = self.chain, self.parents[position], logits[position][:, 0]
        if parent is None:
            return None
        if chain.child == "joint":
            return chain.calibrator * excess(logit, logits[parent][:, 0])
        if chain.counterfactual == "none":
            return None
        above = self.label(parent, labels)
        happened = (above == 1).to(logit.dtype)
        error = cross_entropy(logit, (happened * labels[:, position]).nan_to_num())
        # Detached: otherwise the loss would fall when the model predicts more clicks.
        propensity = self._log_joint(parent, logits).detach().exp()
        propensity = propensity.clamp_min(chain.least_propensity)
        loss = inverse_propensity(error, happened, propensity)
        if chain.counterfactual == "dr":
            imputed = logits[len(self.parents) + self.children.index(position)][:, 0]
            loss = doubly_robust(error, imputed, happened, propensity)
        # Where the parent was not recorded, nothing says with which propensity the row counts.
        return chain.counterfactual_weight * torch.where(above.isnan(), 0.0, loss)

    def log_probability(self, position: int, logits: list[Tensor]) -> Tensor:
        """Log of the probability `[B]` of what a task's label says: of a child, the joint event."""
        if position in self.direct:
            return functional.logsigmoid(logits[position][:, 0])
        return self._log_joint(position, logits)

    def log_odds(self, position: int, logits: list[Tensor]) -> Tensor:
        """Log odds `[B]` of what a task's label says: of a child, of the joint event."""
        if position in self.direct:
            return logits[position][:, 0]
        log_joint = self._log_joint(position, logits)
        return log_joint - log_of_rest(log_joint)

    def scores(self, position: int, logits: list[Tensor]) -> list[Tensor]:
        """p(event) `[B]`; of a child p(event | parent) and p(event and all its ancestors).

        With every chain, the joint probability is the conditional one times the parent's.
        """
        probability, parent = torch.sigmoid(logits[position][:, 0]), self.parents[position]
        if parent is None:
            return [probability]
        log_joint = self._log_joint(position, logits)
        if self.chain.child == "joint":
            probability = torch.exp(log_joint - self._log_joint(parent, logits))
        return [probability, torch.exp(log_joint)]

    def base_rate(self, position: int) -> float:
        """Probability to which a new head's bias is set, kept away from 0 and 1."""
        rate, parent = self.means[position], self.parents[position]
        if parent is not None and self.chain.child == "conditional":
            rate /= max(self.means[parent], 1e-6)
        return min(max(rate, 1e-6), 1.0 - 1e-6)

    def _log_joint(self, position: int, logits: list[Tensor]) -> Tensor:
        """Log p(event and all its ancestors) `[B]`; a joint child's is capped at its parents'."""
        path = [position]
        while (parent := self.parents[path[0]]) is not None:
            path.insert(0, parent)
        chain = [logits[task][:, 0] for task in path]
        if self.chain.child == "joint":
            return functional.logsigmoid(torch.stack(chain).amin(0))
        return joint_log_probability(chain)


def joint_log_probability(chain: list[Tensor]) -> Tensor:
    """`log p(all events)` `[B]` of conditional logits `[B]`, first event first.

    >>> joint_log_probability([torch.zeros(1), torch.zeros(1)]).exp().item()
    0.25
    """
    return torch.stack([functional.logsigmoid(logit) for logit in chain]).sum(0)


def joint_loss(log_joint: Tensor, label: Tensor) -> Tensor:
    """Cross-entropy `[B]` of the joint event on the entire space (ESMM, SIGIR 2018, eq. 6).

    `-(y log p + (1 - y) log(1 - p))` with p = exp(log_joint), stable for p near 0 and 1.
    """
    return -(label * log_joint + (1.0 - label) * log_of_rest(log_joint))


def log_of_rest(log_probability: Tensor) -> Tensor:
    """`log(1 - p)` `[B]` of `log p`, by the form that keeps its digits on either side of 1/2.

    >>> log_of_rest(torch.tensor([0.25]).log()).exp()
    tensor([0.7500])
    """
    below = log_probability.clamp_max(-1e-7)
    small = torch.log1p(-torch.exp(below.clamp_max(-0.693)))
    large = torch.log(-torch.expm1(below.clamp_min(-0.693)))
    return torch.where(below < -0.693, small, large)


def excess(child: Tensor, parent: Tensor) -> Tensor:
    """AITM's calibrator (KDD 2021): `max(y_t - y_{t-1}, 0)` `[B]` of joint logits `[B]`."""
    return functional.relu(torch.sigmoid(child) - torch.sigmoid(parent))


def inverse_propensity(error: Tensor, happened: Tensor, propensity: Tensor) -> Tensor:
    """`o * delta / o_hat` `[B]` (ESCM2-IPS, SIGIR 2022): the error as if all parents happened.

    Its mean is unbiased if the propensity is right.

    Args:
        error: delta, the child's cross-entropy; it only counts where the parent happened.
        happened: o, 1 where the parent happened and 0 elsewhere.
        propensity: o_hat, the predicted probability that it did, above zero.
    """
    return happened * error / propensity


def doubly_robust(error: Tensor, imputed: Tensor, happened: Tensor, propensity: Tensor) -> Tensor:
    """`delta_hat + o (delta - delta_hat) / o_hat + o (delta - delta_hat)^2 / o_hat` `[B]`.

    ESCM2-DR (SIGIR 2022): the mean of the first two terms is unbiased if either the propensity or
    the imputed error delta_hat is right; the third term trains the imputation. As published, all
    three are minimised together, and gradients pass through both errors in each term.

    Args:
        error: delta, as in `inverse_propensity`.
        imputed: delta_hat, the error that a head of its own predicts.
        happened: o.
        propensity: o_hat, above zero.
    """
    gap = error - imputed
    return imputed + happened * (gap + gap.square()) / propensity


def focal_loss(loss: Tensor, exponent: float) -> Tensor:
    """`(1 - p)^exponent * loss` of cross-entropies `loss`, p = exp(-loss) (Lin et al., ICCV 2017).

    p is the probability of what happened: of a class, of an event or its absence, of a joint event.
    Without the paper's alpha, which only weighs the classes.

    >>> focal_loss(torch.tensor([0.0, 0.6931472]), 2.0)
    tensor([0.0000, 0.1733])
    """
    return (-torch.expm1(-loss)).clamp_min(1e-12) ** exponent * loss


def cross_entropy(logit: Tensor, label: Tensor) -> Tensor:
    """Cross-entropy of probabilities given by logits, element by element."""
    return functional.binary_cross_entropy_with_logits(logit, label, reduction="none")
