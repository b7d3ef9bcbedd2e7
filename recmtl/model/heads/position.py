"""The part of a binary label that the place explains at which a row was shown (position bias).

A bias of each place is trained beside the network and reads nothing else, so that the network does
not learn from places what items are worth. Serving knows no place: what is scored is the logit of
the network alone, and the bias is measured from the place for which rows are scored.

- `additive` (the shallow tower of Zhao et al., RecSys 2019): `logit + bias(place) - bias(at)`;
  without `at` the mean bias of the train rows takes the place of `bias(at)`.
- `product` (PAL, Guo et al., RecSys 2019): `p = p(seen | place) p(event | seen)`, of which the
  second factor is scored. Our reading: one number a place in place of a network of places.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from recmtl.model.heads.labels import log_odds
from recmtl.model.heads.spec import HeadSpec

__all__ = ["MOST_PLACES", "PositionBias", "fitted_places"]

MOST_PLACES = 256
"""Places that have a bias of their own; those further down share the last one."""
PRIOR_ROWS = 20.0
"""Rows at the mean rate that are added to each place's own, where its bias starts."""
SURELY_SEEN = 0.9
"""Where the probability starts that the best place is seen."""


class PositionBias(nn.Module):
    """The biases of the tasks that have any; only losses use them.

    Args:
        specs: all heads; those with a position have the numbers of `fitted_places`.
    """

    shares: Tensor

    def __init__(self, specs: Sequence[HeadSpec]) -> None:
        super().__init__()
        self.tasks = [t for t, spec in enumerate(specs) if spec.position is not None]
        role = specs[self.tasks[0]].position
        self.is_product = role is not None and role.form == "product"
        numbers = [specs[task].numbers for task in self.tasks]
        self.biases = nn.Parameter(torch.tensor([of_task["places"] for of_task in numbers]))
        shares = torch.tensor([of_task["shares"] for of_task in numbers])
        if role is not None and role.at is not None:
            shares = torch.zeros_like(shares)
            shares[:, min(role.at, shares.shape[1] - 1)] = 1.0
        self.register_buffer("shares", shares, persistent=False)

    def at(self, logits: list[Tensor], place: Tensor) -> list[Tensor]:
        """The logits of all tasks, those with a bias as of the places `[B]` of the rows.

        A row without a place (NaN) keeps its logit.
        """
        is_placed = ~place.isnan()
        index = place.nan_to_num().clamp(0, self.biases.shape[1] - 1).long()
        changed = list(logits)
        for number, task in enumerate(self.tasks):
            bias, logit = self.biases[number], logits[task]
            if self.is_product:
                seen = bias[index].unsqueeze(1)
                # log odds of sigmoid(a) sigmoid(c)
                neither = torch.stack([-logit, -seen, -logit - seen])
                moved = -neither.logsumexp(0)
            else:
                moved = logit + (bias[index] - (bias * self.shares[number]).sum()).unsqueeze(1)
            changed[task] = torch.where(is_placed.unsqueeze(1), moved, logit)
        return changed


def fitted_places(
    spec: HeadSpec,
    labels: npt.NDArray[np.float32],
    weight: npt.NDArray[np.float32] | None,
    places: npt.NDArray[np.float32],
) -> dict[str, tuple[float, ...]]:
    """Where the biases of a head's places start, and the places' shares of the train rows.

    The start is what the labels say of a place, whatever was shown there.

    Args:
        spec: a binary head with a position.
        labels: of the train rows on which the task is defined `[R]`.
        weight: of the same rows, or None.
        places: of the same rows, NaN where missing.
    """
    is_placed = ~np.isnan(places)
    place = np.minimum(places[is_placed], MOST_PLACES - 1).astype(np.int64)
    mass = np.ones(len(place)) if weight is None else np.asarray(weight[is_placed], np.float64)
    size = int(place.max(initial=0)) + 1
    rows = np.bincount(place, mass, size)
    events = np.bincount(place, mass * labels[is_placed], size)
    rates = (events + PRIOR_ROWS * spec.mean) / (rows + PRIOR_ROWS)
    if spec.position is not None and spec.position.form == "product":
        starts = [log_odds(SURELY_SEEN * rate / rates.max()) for rate in rates.tolist()]
    else:
        starts = [log_odds(rate) - log_odds(spec.mean) for rate in rates.tolist()]
    return {"places": tuple(starts), "shares": tuple((rows / max(rows.sum(), 1e-30)).tolist())}
