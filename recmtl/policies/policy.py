"""What every policy is made of: discrete choices through which gradients pass.

A policy is a module that maps a temperature to one `Decision` a layer; its parameters are the
architecture parameters of the search. `Choice` picks one alternative for each row (Gumbel-softmax
or REINFORCE), `HardConcreteGates` opens each edge independently. `route.py` and `skip.py` build
their policies from these two.
"""

import math
from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from recmtl.errors import ConfigError
from recmtl.grid.layout import Layout
from recmtl.grid.routes import Decision, conjunction, full_decision

__all__ = [
    "BETA",
    "GAMMA",
    "ZETA",
    "Choice",
    "Conjunction",
    "Draw",
    "HardConcreteGates",
    "Policy",
    "choose",
    "open_probability",
    "stretched_sigmoid",
]

BETA, GAMMA, ZETA = 0.9, -0.1, 1.1
"""Hard concrete distribution: its temperature, and the interval to which it is stretched."""


def choose(logits: Tensor, temperature: float | None, *, hard: bool = True) -> Tensor:
    """Pick one entry of the last axis: logits `[..., C]` to one-hot rows `[..., C]`.

    >>> choose(torch.tensor([0.5, 2.0, 1.0]), None)
    tensor([0., 1., 0.])

    Args:
        logits: unnormalised log-probabilities; -inf forbids a choice.
        temperature: None takes the most probable choice. A number draws one with Gumbel noise:
            the value is hard, and the gradient is that of the softmax at this temperature
            (straight-through Gumbel-softmax, Jang et al., ICLR 2017). A low temperature sharpens
            the gradient; it does not change the distribution of the draws.
        hard: False returns the noisy softmax itself, which mixes the choices and tends to a
            one-hot row as the temperature falls.
    """
    if temperature is None:
        return functional.one_hot(logits.argmax(-1), logits.shape[-1]).to(logits.dtype)
    uniform = torch.rand_like(logits).clamp_(1e-9, 1.0 - 1e-7)
    noisy = (logits - torch.log(-torch.log(uniform))) / temperature
    soft = noisy.softmax(-1)
    if not hard:
        return soft
    drawn = functional.one_hot(noisy.argmax(-1), logits.shape[-1]).to(logits.dtype)
    # Bracketed so that the value is exactly 0 or 1: the difference is exactly 0.
    return drawn + (soft - soft.detach())


def stretched_sigmoid(log_odds: Tensor, temperature: float) -> Tensor:
    """`clip(sigmoid(log_odds / temperature) (zeta - gamma) + gamma, 0, 1)`, of any shape.

    With logistic noise in `log_odds` and `BETA` as temperature, this is a draw of the hard concrete
    distribution; without noise and at temperature 1 it is the distribution's test value (Louizos
    et al., "Learning Sparse Neural Networks through L0 Regularization", ICLR 2018).
    """
    return (torch.sigmoid(log_odds / temperature) * (ZETA - GAMMA) + GAMMA).clamp(0.0, 1.0)


def open_probability(log_alpha: Tensor) -> Tensor:
    """Probability that a hard concrete draw is not 0: `sigmoid(log a - beta log(-gamma/zeta))`."""
    return torch.sigmoid(log_alpha - BETA * math.log(-GAMMA / ZETA))


Draw = Literal["straight_through", "reinforce", "soft"]


class Choice(nn.Module):
    """One of C alternatives for each of K rows, drawn from the softmax of free logits `[K, C]`.

    Args:
        start: the initial logits.
        allowed: `[K, C]`, which alternatives a row has; at least one.
        draw: `straight_through` is hard with the gradient of the softmax, `reinforce` is hard
            without a gradient (use `log_probability`), `soft` mixes the alternatives.
    """

    def __init__(self, start: Tensor, allowed: Tensor, *, draw: Draw = "straight_through") -> None:
        super().__init__()
        self.logits = nn.Parameter(start.clone())
        self.register_buffer("allowed", allowed, persistent=False)
        self.draw = draw
        self.drawn: Tensor | None = None

    def forward(self, temperature: float | None) -> Tensor:
        """Rows `[K, C]` that sum to 1: a draw at a temperature, or the most probable (None)."""
        logits = self.masked()
        if self.draw != "reinforce" or temperature is None:
            self.drawn = None
            return choose(logits, temperature, hard=self.draw != "soft")
        self.drawn = choose(logits.detach(), temperature)
        return self.drawn

    def masked(self) -> Tensor:
        """The logits `[K, C]`, -inf where a row does not have the alternative."""
        return self.logits.masked_fill(~self.get_buffer("allowed"), -torch.inf)

    def probabilities(self) -> Tensor:
        """The distribution `[K, C]` of the draws."""
        return self.masked().softmax(-1)

    def log_probability(self) -> Tensor:
        """Log-probability, a scalar, of the last draw if it was a `reinforce` draw, else 0."""
        if self.drawn is None:
            return self.logits.new_zeros(())
        return self.masked().log_softmax(-1)[self.drawn > 0].sum()

    def entropies(self) -> Tensor:
        """Entropy of each row that has several alternatives, as a share of the largest."""
        count = self.get_buffer("allowed").sum(-1)
        log_p = self.masked().log_softmax(-1)
        entropy = -(log_p.exp() * log_p.nan_to_num(neginf=0.0)).sum(-1)
        return entropy[count > 1] / count[count > 1].log()


class HardConcreteGates(nn.Module):
    """Each edge of a layer open or shut independently: hard concrete gates, as in SNR.

    Source: SNR (Ma et al., AAAI 2019) with the gates of Louizos et al. (ICLR 2018):
    `s = sigmoid((log u - log(1 - u) + log a) / beta)`, stretched to (-0.1, 1.1) and clipped, so
    that a gate may be exactly 0 or 1. The temperature multiplies beta; 1 is the published
    distribution.

    Our reading: in a draw the lane's `most` highest gates at most stay open, and at least one. The
    frozen gates are hard: edges whose test value is above 0.5 are open, those with `log a > 0`.

    Args:
        start: `[K, A]`, initial probability of a value above 0.5; 0 where there is no edge.
        most: largest number of open edges of a lane.
    """

    def __init__(self, start: Tensor, *, most: int) -> None:
        super().__init__()
        self.log_alpha = nn.Parameter(start.clamp(0.01, 0.99).logit())
        self.register_buffer("exists", start > 0, persistent=False)
        self.most = most

    def forward(self, temperature: float | None) -> Tensor:
        """Keep `[K, A]` in 0..1: a draw at a temperature; or the frozen gates (None), 0 or 1."""
        exists = self.get_buffer("exists")
        odds = self.log_alpha.masked_fill(~exists, -torch.inf)
        if temperature is None:
            value = (odds > 0).to(odds.dtype)
        else:
            odds = odds + torch.rand_like(odds).clamp_(1e-7, 1.0 - 1e-7).logit()
            value = stretched_sigmoid(odds, BETA * temperature)
        rank = odds.argsort(-1, descending=True).argsort(-1)
        value = torch.where(rank < self.most, value, 0.0)
        shut = value.sum(-1, keepdim=True) == 0
        return torch.where(shut & exists & (rank == 0), 1.0, value)

    def probabilities(self) -> Tensor:
        """Probability `[K, A]` that a gate is more than half open, before lanes are limited."""
        return torch.sigmoid(self.log_alpha) * self.get_buffer("exists")

    def expected_share(self) -> Tensor:
        """Expected share of the layer's gates that are not shut: SNR's L0 penalty by edge."""
        exists = self.get_buffer("exists")
        return open_probability(self.log_alpha)[exists].mean()

    def log_probability(self) -> Tensor:
        """Always 0: gradients pass through the draws themselves."""
        return self.log_alpha.new_zeros(())

    def entropies(self) -> Tensor:
        """Entropy of each gate of the lanes that have several, as a share of the largest."""
        exists = self.get_buffer("exists")
        p = torch.sigmoid(self.log_alpha[exists & (exists.sum(-1, keepdim=True) > 1)])
        return -(torch.xlogy(p, p) + torch.xlogy(1 - p, 1 - p)) / math.log(2.0)


class Policy(nn.Module):
    """Decides for each layer which edges are kept, what gates look at and which lanes run.

    The base class keeps and runs everything. The architecture parameters are the module's own
    `parameters()`. `a & b` applies both policies: keeps, queries and runs multiply, penalties and
    log-probabilities add up. Decisions have the dtype and the device to which the module was moved.

    Args:
        layout: the search space.
    """

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.layout = layout
        self.register_buffer("zero", torch.zeros(()), persistent=False)
        for depth, layer in enumerate(layout.layers):
            full = full_decision(layer)
            for name in ("keep", "query", "run"):
                self.register_buffer(f"{name}_{depth}", getattr(full, name), persistent=False)

    def forward(self, temperature: float | None) -> list[Decision]:
        """One decision a layer: a draw at a temperature; or the most probable (None), hard."""
        return [self.decide(depth, temperature) for depth in range(len(self.layout.layers))]

    def decide(self, depth: int, temperature: float | None) -> Decision:
        """The decision of one layer."""
        return Decision(*(self.get_buffer(f"{name}_{depth}") for name in ("keep", "query", "run")))

    def penalty(self) -> Tensor:
        """What the policy adds to the loss, a scalar."""
        return self.get_buffer("zero")

    def log_probability(self) -> Tensor:
        """Log-probability, a scalar, of the `reinforce` draws made last; 0 without such draws.

        REINFORCE adds `(value - baseline) * log_probability` to the loss.
        """
        parts = [choice.log_probability() for choice in self._choices()]
        return torch.stack(parts).sum() if parts else self.get_buffer("zero")

    def entropy(self) -> Tensor:
        """Mean entropy of the choices, as a share of the largest: 1 undecided, 0 decided."""
        parts = [choice.entropies() for choice in self._choices()]
        shares = torch.cat([self.get_buffer("zero").expand(0), *parts])
        return shares.mean() if len(shares) else self.get_buffer("zero")

    def open_layers(self, count: int) -> None:
        """Decide in the last `count` layers only; a policy without a curriculum ignores this."""

    def __and__(self, other: "Policy") -> "Policy":
        """Apply both policies."""
        return Conjunction(self, other)

    def _choices(self) -> Iterator[Choice | HardConcreteGates]:
        return (
            module for module in self.modules() if isinstance(module, Choice | HardConcreteGates)
        )


class Conjunction(Policy):
    """Several policies of one search space, applied together.

    Raises:
        ConfigError: the policies are of different layouts.
    """

    def __init__(self, *policies: Policy) -> None:
        super().__init__(policies[0].layout)
        if any(policy.layout != self.layout for policy in policies):
            raise ConfigError(
                "policies of different layouts cannot be combined; give them the same layout"
            )
        self.policies = nn.ModuleList(policies)

    def forward(self, temperature: float | None) -> list[Decision]:
        """One decision a layer: the product of the policies' decisions."""
        return conjunction([policy(temperature) for policy in self.policies])

    def penalty(self) -> Tensor:
        """The sum of the policies' penalties."""
        return torch.stack([policy.penalty() for policy in self._policies()]).sum()

    def open_layers(self, count: int) -> None:
        """Open the last `count` layers of every policy."""
        for policy in self._policies():
            policy.open_layers(count)

    def _policies(self) -> Iterator[Policy]:
        return (policy for policy in self.policies if isinstance(policy, Policy))
