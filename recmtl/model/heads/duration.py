"""The model of watch time by its quantile among rows of like duration: D2Q.

Long videos are watched longer, whatever they are. What a network learns here is how far up a row's
label stands among rows of its own duration, and the duration alone maps that back to a number.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from recmtl.model.heads.labels import LabelModel, Numbers

__all__ = ["DurationQuantiles", "at_shares", "numbers_of_durations"]

Floats = npt.NDArray[np.float64]
MOST_KNOTS = 64
"""Labels of a group between which its quantiles are straight lines."""
VARIANCE_OF_QUANTILES = 1.0 / 12.0


class DurationQuantiles(LabelModel):
    """A number by its quantile within a group of durations: D2Q (Zhan et al., KDD 2022).

    The head's product is the log odds of the quantile q; the logits that are handed on are it and
    the encoded duration of the row. The loss is `(q - F_g(label))^2` in the variance of quantiles,
    F_g the distribution of the labels in the row's group; scored is `F_g^-1(q)`.

    Our readings: groups have equally many train rows each; F is a line between up to 64 labels at
    their mid-quantiles, so that equal labels have one quantile and their mean quantile is a half;
    the network may hear the duration as well (Res-D2Q). Rows without a duration are a group.

    Args:
        numbers: of `numbers_of_durations`.
    """

    scale = "log odds of the quantile"
    thresholds: Tensor
    values: Tensor
    quantiles: Tensor

    def __init__(self, numbers: Numbers) -> None:
        super().__init__()
        self.start = (0.0,)
        groups = len(numbers["thresholds"]) + 2  # one more than thresholds, and that of no duration
        # Numbers of the network, not weights of it: network.json holds them.
        for name in ("thresholds", "values", "quantiles"):
            table = torch.tensor(numbers[name])
            table = table if name == "thresholds" else table.view(groups, -1)
            self.register_buffer(name, table, persistent=False)

    def loss(self, logits: Tensor, label: Tensor) -> Tensor:
        """Squared error of the quantile, whose best constant has a loss of about 1."""
        actual = interpolated(label, self.values, self.quantiles, self._group(logits))
        return (torch.sigmoid(logits[:, 0]) - actual).square() / VARIANCE_OF_QUANTILES

    def scores(self, logits: Tensor) -> list[Tensor]:
        """The label that has the row's quantile in its group."""
        quantile = torch.sigmoid(logits[:, 0])
        return [interpolated(quantile, self.quantiles, self.values, self._group(logits))]

    def explained(self, logits: Tensor, chosen: Tensor) -> Tensor:
        """The log odds of the quantile."""
        return logits[:, 0]

    def _group(self, logits: Tensor) -> Tensor:
        """The number of the group of each row `[B]`."""
        duration = logits[:, 1:]
        above = (duration > self.thresholds).sum(1)
        return torch.where(duration[:, 0].isnan(), len(self.thresholds) + 1, above)


def interpolated(x: Tensor, knots: Tensor, values: Tensor, group: Tensor) -> Tensor:
    """For each row the value `[B]` at x `[B]` of the line of its group.

    Lines go through knots `[G, M]` in ascending order, outside of which they are constant. A last
    knot may be repeated.
    """
    widths, heights = knots.diff(dim=1), values.diff(dim=1)
    slopes = heights / torch.where(widths > 0, widths, 1.0)
    # Sums of pieces: unlike a search for the interval, ONNX has all of their operations.
    tables = (knots[:, :-1], widths, slopes)
    starts, widths, slopes = (table.index_select(0, group) for table in tables)
    pieces = torch.minimum((x.unsqueeze(1) - starts).clamp_min(0.0), widths)
    return values[:, 0].index_select(0, group) + (slopes * pieces).sum(1)


def numbers_of_durations(
    groups: int, label: Floats, share: Floats, duration: Floats
) -> dict[str, tuple[float, ...]]:
    """What `DurationQuantiles` needs to know of train rows.

    Args:
        groups: the most groups of durations.
        label: `[n]`.
        share: of the weight `[n]`.
        duration: encoded, NaN where missing `[n]`.

    Returns:
        `thresholds`, the longest duration of each group but the last; `values` and `quantiles` of
        each group, one after another, that of the rows without a duration last. Where no row lacks
        a duration, those of all rows stand there.
    """
    is_known = ~np.isnan(duration)
    thresholds = np.empty(0)
    if is_known.any():
        places = np.arange(1, groups) / groups
        thresholds = np.unique(at_shares(duration[is_known], share[is_known], places))
        thresholds = thresholds[thresholds < duration[is_known].max()]
    group = np.searchsorted(thresholds, duration)  # NaN comes after all of them
    last = len(thresholds) + 1
    group = np.where(is_known, group, last)
    lines = []
    for number in range(last + 1):
        rows = group == number
        lines.append(_line(label[rows], share[rows]) if rows.any() else _line(label, share))
    return {
        "thresholds": tuple(thresholds.tolist()),
        "values": tuple(value for line in lines for value in line[0]),
        "quantiles": tuple(value for line in lines for value in line[1]),
    }


def _line(label: Floats, share: Floats) -> tuple[list[float], list[float]]:
    """`MOST_KNOTS` labels and their mid-quantiles; the last repeats where there are fewer."""
    distinct, place = np.unique(label, return_inverse=True)
    mass = np.bincount(place.ravel(), share, len(distinct))
    middle = (np.cumsum(mass) - mass / 2) / mass.sum()
    wanted = np.linspace(middle[0], middle[-1], MOST_KNOTS)
    kept = np.unique(np.searchsorted(middle, wanted).clip(max=len(middle) - 1))
    if len(distinct) <= MOST_KNOTS:
        kept = np.arange(len(distinct))
    kept = np.append(kept, np.full(MOST_KNOTS - len(kept), kept[-1]))
    return distinct[kept].tolist(), middle[kept].tolist()


def at_shares(values: Floats, share: Floats, places: Sequence[float] | Floats) -> Floats:
    """The values `[p]` below which lie these shares of the weight: values and shares `[n]`."""
    order = np.argsort(values, kind="stable")
    below = np.cumsum(share[order])
    at = np.searchsorted(below, np.asarray(places) * below[-1], side="right")
    chosen: Floats = values[order][at.clip(max=len(values) - 1)]
    return chosen
