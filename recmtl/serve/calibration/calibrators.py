"""Calibration: increasing maps that make a head's probabilities mean what they say.

Heads have maps of their own, and so may the values of one feature. In a funnel the conditional
column is mapped and the joint one is multiplied anew, `p_joint = p_parent * p_child`, so that it
never exceeds its parent. A map is a few numbers, applied element by element with functions whose
result for one row does not depend on the rows beside it: scipy's do so, NumPy's may treat the last
few elements of a column apart. `recmtl.serve.calibration.fit` finds the maps, on validation rows.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

from recmtl.data.encoding import Encoding
from recmtl.model.heads import HeadSpec

__all__ = [
    "Calibrators",
    "ColumnCalibration",
    "Curve",
    "Isotonic",
    "Platt",
    "calibrated_columns",
    "curve_from_json",
    "curve_to_json",
    "log_odds",
]

Floats = npt.NDArray[np.float64]
Scores = npt.NDArray[np.float32]
FORMAT = 1
NEAREST_TO_ZERO = 1e-30
NEAREST_TO_ONE = 1.0 - 2.0**-25
"""Half the distance from 1 to the float32 below it: a score of 1 stands for less than that."""


class Calibrators:
    """Maps of a model's scored columns. Without any, scores pass through bit for bit.

    Classes of a multiclass head are mapped one by one, then divided by their sum.

    Args:
        columns: what happens to each column, by the name of a binary head's first column or of
            a class's column.
        heads: the model's heads.
        encoding: the encoding of the model's rows.
        segment: the categorical feature whose values may have maps of their own, or "".

    Raises:
        ValueError: a column or the segment is not one of the model's.
    """

    def __init__(
        self,
        columns: Mapping[str, "ColumnCalibration"],
        *,
        heads: Sequence[HeadSpec],
        encoding: Encoding,
        segment: str = "",
    ) -> None:
        self.columns, self.segment = dict(columns), segment
        self._model = (heads, encoding)
        names = [name for head in heads for name in head.columns]
        self._at = {name: position for position, name in enumerate(names)}
        self._heads = {head.name: head for head in heads}
        for name in columns:
            if name not in {column for head in heads for column in calibrated_columns(head)}:
                raise ValueError(f"column {name!r} is no probability that can be calibrated")
        if segment and segment not in encoding.single:
            raise ValueError(f"segment {segment!r} is no categorical feature of the model")
        self._segment = encoding.single.index(segment) if segment else None

    def apply(self, scores: Scores, ids: npt.NDArray[np.int32]) -> Scores:
        """Map scores `[R, C]` of rows whose encoded ids are `[R, I]` to calibrated scores."""
        if not self.columns:
            return scores
        segment = None if self._segment is None else ids[:, self._segment]
        out, changed = scores.copy(), set(self.columns)
        for name, calibration in self.columns.items():
            p = scores[:, self._at[name]].astype(np.float64)
            out[:, self._at[name]] = calibration(p, segment)
        for head in self._parents_first():
            if head.kind == "multiclass" and changed & set(head.columns):
                at = [self._at[name] for name in head.columns]
                classes = out[:, at].astype(np.float64)
                out[:, at] = classes / classes.sum(1, keepdims=True)
            if head.parent is not None:
                above, (conditional, joint) = self._heads[head.parent].columns[-1], head.columns
                if changed & {above, conditional}:
                    changed.add(joint)
                    p_above = out[:, self._at[above]].astype(np.float64)
                    out[:, self._at[joint]] = p_above * out[:, self._at[conditional]]
        return out

    def uncorrected(self) -> "Calibrators":
        """The same maps without the correction for kept negatives."""
        heads, encoding = self._model
        columns = {
            name: replace(calibration, kept_negatives=1.0)
            for name, calibration in self.columns.items()
        }
        return Calibrators(columns, heads=heads, encoding=encoding, segment=self.segment)

    def save(self, path: Path) -> None:
        """Write the maps as JSON, exactly: `load` reads the same floats."""
        columns = {
            name: {
                "curve": None if calibration.curve is None else curve_to_json(calibration.curve),
                "segments": [
                    {"row": row, **curve_to_json(curve)}
                    for row, curve in sorted(calibration.segments.items())
                ],
                "kept_negatives": calibration.kept_negatives,
            }
            for name, calibration in self.columns.items()
        }
        document = {"format": FORMAT, "segment": self.segment, "columns": columns}
        path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path, *, heads: Sequence[HeadSpec], encoding: Encoding) -> "Calibrators":
        """Read what `save` wrote, for the same model.

        Raises:
            ValueError, KeyError, TypeError: the file is something else.
        """
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["format"] != FORMAT:
            raise ValueError(f"calibrators of format {document['format']!r}")
        columns = {
            name: ColumnCalibration(
                None if raw["curve"] is None else curve_from_json(raw["curve"]),
                {int(segment["row"]): curve_from_json(segment) for segment in raw["segments"]},
                float(raw["kept_negatives"]),
            )
            for name, raw in document["columns"].items()
        }
        return cls(columns, heads=heads, encoding=encoding, segment=document["segment"])

    def _parents_first(self) -> list[HeadSpec]:
        return sorted(self._heads.values(), key=self._depth)

    def _depth(self, head: HeadSpec) -> int:
        return 0 if head.parent is None else 1 + self._depth(self._heads[head.parent])


@dataclass(frozen=True)
class ColumnCalibration:
    """What happens to one column of probabilities.

    Attributes:
        curve: the map; None leaves the column as it is.
        segments: maps that take its place for some rows, by the embedding row of the segment's
            value.
        kept_negatives: share w of the negative rows that the log has kept. After the map, the
            probability among all rows is `p / (p + (1 - p) / w)` (He et al. 2014, section 6.3).

    >>> float(ColumnCalibration(kept_negatives=0.5)(np.array([0.5]), None)[0])
    0.3333333333333333
    """

    curve: "Curve | None" = None
    segments: Mapping[int, "Curve"] = field(default_factory=dict)
    kept_negatives: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a share outside (0, 1]."""
        if not 0.0 < self.kept_negatives <= 1.0:
            raise ValueError(f"kept_negatives must lie in (0, 1], not {self.kept_negatives}")

    def __call__(self, p: Floats, segment: npt.NDArray[np.int32] | None) -> Floats:
        """Map probabilities `[R]`; `segment` `[R]` holds the embedding rows of their segments."""
        if segment is None or not self.segments:
            mapped = p if self.curve is None else self.curve(p)
        else:
            mapped = p.copy()
            order = np.argsort(segment, kind="stable")
            bounds = np.flatnonzero(np.diff(segment[order])) + 1
            for rows in np.split(order, bounds) if len(order) else ():
                curve = self.segments.get(int(segment[rows[0]]), self.curve)
                mapped[rows] = mapped[rows] if curve is None else curve(mapped[rows])
        if self.kept_negatives == 1.0:
            return mapped
        return mapped / (mapped + (1.0 - mapped) / self.kept_negatives)


@dataclass(frozen=True)
class Platt:
    """`sigmoid(slope * log odds + intercept)` (Platt 1999), with a slope above 0.

    >>> Platt(slope=1.0, intercept=0.0)(np.array([0.25]))
    array([0.25])
    """

    kind: ClassVar[str] = "platt"
    slope: float
    intercept: float

    def __post_init__(self) -> None:
        """Refuse a map that does not increase."""
        if not (math.isfinite(self.intercept) and 0.0 < self.slope < math.inf):
            raise ValueError(f"a Platt map needs a slope above 0 and finite numbers, not {self}")

    def __call__(self, p: Floats) -> Floats:
        """Map probabilities `[R]` to calibrated ones."""
        calibrated: Floats = expit(self.slope * log_odds(p) + self.intercept)
        return calibrated


@dataclass(frozen=True)
class Isotonic:
    """Straight lines between corners (Zadrozny and Elkan 2002), flat outside them.

    Attributes:
        scores: the corners' scores, ascending.
        values: the calibrated probabilities there, never falling.

    >>> Isotonic(scores=(0.2, 0.6), values=(0.1, 0.5))(np.array([0.0, 0.4, 1.0]))
    array([0.1, 0.3, 0.5])
    """

    kind: ClassVar[str] = "isotonic"
    scores: tuple[float, ...]
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse a map that does not increase or leaves 0..1."""
        ascending = all(a < b for a, b in pairwise(self.scores))
        increasing = all(a <= b for a, b in pairwise((0.0, *self.values, 1.0)))
        if not (self.scores and len(self.scores) == len(self.values) and ascending and increasing):
            raise ValueError("an isotonic map needs ascending scores and rising values in 0..1")

    @cached_property
    def _corners(self) -> tuple[Floats, Floats]:
        return np.array(self.scores), np.array(self.values)

    def __call__(self, p: Floats) -> Floats:
        """Map probabilities `[R]` to calibrated ones."""
        x, y = self._corners
        inside = np.clip(p, x[0], x[-1])
        low = np.clip(np.searchsorted(x, inside, side="right") - 1, 0, len(x) - 1)
        high = np.minimum(low + 1, len(x) - 1)
        width = np.where(high > low, x[high] - x[low], 1.0)
        line: Floats = y[low] + (y[high] - y[low]) * ((inside - x[low]) / width)
        return line


Curve = Platt | Isotonic


def calibrated_columns(head: HeadSpec) -> tuple[str, ...]:
    """The columns of a head that have maps: its classes, or its own probability."""
    if head.kind == "regression":
        return ()
    return head.columns if head.kind == "multiclass" else head.columns[:1]


def log_odds(p: Floats) -> Floats:
    """`log(p / (1 - p))`, finite for every float32 score."""
    odds: Floats = logit(np.clip(p, NEAREST_TO_ZERO, NEAREST_TO_ONE))
    return odds


def curve_to_json(curve: Curve) -> dict[str, Any]:
    """A map as JSON data; `curve_from_json` is its inverse."""
    return {"kind": curve.kind, **asdict(curve)}


def curve_from_json(raw: dict[str, Any]) -> Curve:
    """A map from JSON data.

    Raises:
        ValueError, KeyError, TypeError: the data is something else.
    """
    if raw["kind"] == "platt":
        return Platt(float(raw["slope"]), float(raw["intercept"]))
    if raw["kind"] == "isotonic":
        return Isotonic(tuple(map(float, raw["scores"])), tuple(map(float, raw["values"])))
    raise ValueError(f"a curve of kind {raw['kind']!r}")
