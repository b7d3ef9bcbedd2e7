"""Fits calibration maps on validation rows, and measures what they change on other rows.

The result of a fit is a few numbers (see `recmtl.serve.calibration.calibrators`). A funnel's child
is fitted on the rows where its parent happened, on which its conditional column is defined.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq, minimize
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression

from recmtl.data.encoded_log import LogSplit
from recmtl.data.row_encoder import RowEncoder
from recmtl.errors import ConfigError
from recmtl.evaluate.label_space import defined_rows, joint_labels, task_position, weight_of
from recmtl.evaluate.metrics import brier, ece, log_loss
from recmtl.model import TabularModel
from recmtl.model.heads import HeadSpec
from recmtl.serve.calibration.calibrators import (
    Calibrators,
    ColumnCalibration,
    Curve,
    Isotonic,
    Platt,
    calibrated_columns,
    log_odds,
)
from recmtl.serve.fixed_shape import FixedShapeModel
from recmtl.train.config import Calibration

__all__ = ["calibration_gain", "check_calibration", "fit_calibrators", "isotonic", "platt"]

Floats = npt.NDArray[np.float64]
LEAST_OF_A_CLASS = 10


def check_calibration(
    settings: Calibration, heads: Sequence[HeadSpec], *, encoder: RowEncoder
) -> None:
    """Check the settings against the features and tasks that there are.

    Raises:
        ConfigError: the settings name an unknown segment or task.
    """
    single = encoder.encoding.single
    if settings.segment and settings.segment not in single:
        raise ConfigError(
            f"calibration.segment is {settings.segment!r}, which is no categorical feature; "
            f"there are {', '.join(single) or 'none'}"
        )
    binary = [head.name for head in heads if head.kind == "binary"]
    for name in settings.kept_negatives:
        if name not in binary:
            raise ConfigError(
                f"calibration.kept_negatives names {name!r}, which is no binary task; "
                f"there are {', '.join(binary) or 'none'}"
            )


def fit_calibrators(
    model: TabularModel,
    encoder: RowEncoder,
    *,
    rows: LogSplit,
    settings: Calibration,
    ids: npt.NDArray[np.int32] | None = None,
) -> Calibrators:
    """Fit the maps of every binary and multiclass head.

    A column with fewer than `min_rows` rows, or fewer than ten of either class, keeps its scores.

    Args:
        model: the network whose scores are calibrated.
        encoder: the encoder of the rows; its schema names the tasks.
        rows: validation rows, as the model reads them.
        settings: which maps, for which segments.
        ids: of the rows as `encoder` encodes them, where the model reads less.

    Raises:
        ConfigError: the settings name an unknown segment or task.
    """
    heads, segment = model.heads.specs, settings.segment
    check_calibration(settings, heads, encoder=encoder)
    scores = FixedShapeModel(model).scores(rows.ids, rows.numeric)
    values, unknown = None, -1
    if segment:
        values = _ids(rows, ids)[:, encoder.encoding.single.index(segment)]
        unknown = encoder.vocabulary_of(segment).first
    kept = {head.columns[0]: settings.kept_negatives.get(head.name, 1.0) for head in heads}
    columns = {}
    for sample in _samples(model, encoder, rows, scores):
        if sample.joint:
            continue
        curve = _curve(sample, settings)
        by_value = {} if values is None else _by_value(sample, values, settings)
        # Values that training had not seen share one row, and are not one segment.
        by_value.pop(unknown, None)
        share = kept.get(sample.column, 1.0)
        if curve is not None or by_value or share < 1.0:
            columns[sample.column] = ColumnCalibration(curve, by_value, share)
    return Calibrators(columns, heads=heads, encoding=encoder.encoding, segment=segment)


def calibration_gain(
    model: TabularModel,
    encoder: RowEncoder,
    *,
    calibrators: Calibrators,
    rows: LogSplit,
    ids: npt.NDArray[np.int32] | None = None,
) -> dict[str, dict[str, dict[str, float]]]:
    """Log loss, Brier score and expected calibration error of every probability column.

    Args:
        model: the network whose scores are calibrated.
        encoder: the encoder of the rows.
        calibrators: fitted on other rows.
        rows: encoded rows on which scores are judged before and after. They have the log's own
            share of negatives, so the correction for kept negatives is left out.
        ids: as in `fit_calibrators`.

    Returns:
        column -> `before` and `after` -> metric. A funnel child's conditional column is judged
        where its parent happened, its joint column on all rows. Columns without a labelled row
        are left out. Without any map the result is empty.
    """
    calibrators = calibrators.uncorrected()
    columns = calibrators.columns.values()
    if all(column.curve is None and not column.segments for column in columns):
        return {}
    scores = FixedShapeModel(model).scores(rows.ids, rows.numeric)
    calibrated = calibrators.apply(scores, _ids(rows, ids))
    samples = (_samples(model, encoder, rows, values) for values in (scores, calibrated))
    return {
        before.column: {"before": before.metrics(), "after": after.metrics()}
        for before, after in zip(*samples, strict=True)
        if len(before.label)
    }


def _ids(rows: LogSplit, ids: npt.NDArray[np.int32] | None) -> npt.NDArray[np.int32]:
    return np.asarray(rows.ids if ids is None else ids)


def platt(p: Floats, label: Floats, weight: Floats) -> Platt:
    """Fit `sigmoid(slope * log odds + intercept)` by weighted maximum likelihood.

    As in Platt (1999), a positive counts as (n+ + 1) / (n+ + 2) and a negative as 1 / (n- + 2),
    so that the numbers stay finite even if the score separates the labels. If the best slope would
    reverse the order of the scores, only the intercept is fitted.

    Args:
        p: scores in 0..1, `[R]`.
        label: 0 or 1, `[R]`.
        weight: weights of the rows, `[R]`.
    """
    odds = log_odds(p)
    positive, negative = float((weight * label).sum()), float((weight * (1 - label)).sum())
    target = np.where(label == 1, (positive + 1) / (positive + 2), 1 / (negative + 2))
    share = weight / weight.sum()

    def loss(line: Floats) -> tuple[float, Floats]:
        z = line[0] * odds + line[1]
        gradient = share * (expit(z) - target)
        value = float((share * (np.logaddexp(0.0, z) - target * z)).sum())
        return value, np.array([(gradient * odds).sum(), gradient.sum()])

    slope, intercept = minimize(loss, (1.0, 0.0), jac=True, method="BFGS", tol=1e-9).x
    if odds.min() < odds.max() and slope > 1e-6:
        return Platt(float(slope), float(intercept))

    def excess(intercept: float) -> float:
        return float((share * (expit(odds + intercept) - target)).sum())

    return Platt(1.0, float(brentq(excess, -200.0, 200.0)))


def isotonic(p: Floats, label: Floats, weight: Floats) -> Isotonic:
    """Fit the increasing map of least weighted squared error (pool adjacent violators).

    Its values stay 1 / (R + 2) away from 0 and 1, since R rows cannot prove more than that.

    Args:
        p: scores in 0..1, `[R]`.
        label: 0 or 1, `[R]`.
        weight: weights of the rows, `[R]`.

    >>> curve = isotonic(np.array([0.1, 0.2, 0.3, 0.4]), np.array([0, 1, 0, 1.0]), np.ones(4))
    >>> curve(np.array([0.25]))  # the middle two are pooled
    array([0.5])
    """
    least = 1.0 / (len(p) + 2)
    fit = IsotonicRegression(y_min=least, y_max=1.0 - least, out_of_bounds="clip")
    fit.fit(p, label, sample_weight=weight)
    return Isotonic(tuple(fit.X_thresholds_.tolist()), tuple(fit.y_thresholds_.tolist()))


FITS: dict[str, Callable[[Floats, Floats, Floats], Curve]] = {"platt": platt, "isotonic": isotonic}


@dataclass(frozen=True)
class _Sample:
    """One column on the rows where it is defined: row numbers, scores, labels, weights `[n]`."""

    column: str
    joint: bool
    rows: npt.NDArray[np.int64]
    p: Floats
    label: Floats
    weight: Floats

    def metrics(self) -> dict[str, float]:
        metrics = {"log_loss": log_loss, "brier": brier, "ece": ece}
        return {name: of(self.label, self.p, self.weight) for name, of in metrics.items()}


def _samples(
    model: TabularModel, encoder: RowEncoder, rows: LogSplit, scores: npt.NDArray[np.float32]
) -> Iterator[_Sample]:
    """Every probability column on the rows where it is defined, joint columns on all rows."""
    tasks, by_task = encoder.schema.tasks, np.asarray(rows.weight_by_task, dtype=np.float64)
    labels = np.asarray(rows.labels, dtype=np.float64)

    def sample(
        column: str, label: Floats, defined: npt.NDArray[np.bool_], weight: Floats
    ) -> _Sample:
        at = np.flatnonzero(defined & (weight > 0))
        p = scores[at, model.columns.index(column)].astype(np.float64)
        return _Sample(column, column not in mapped, at, p, label[at], weight[at])

    for head in model.heads.specs:
        position, mapped = task_position(tasks, head.name), calibrated_columns(head)
        defined = defined_rows(labels, tasks, tasks[position])
        weight = weight_of(by_task, position)
        for number, column in enumerate(mapped):
            happened = number if head.kind == "multiclass" else 1
            yield sample(
                column, (labels[:, position] == happened).astype(np.float64), defined, weight
            )
        if head.parent is not None:
            joint = joint_labels(labels, tasks, tasks[position])
            yield sample(head.columns[1], joint, ~np.isnan(joint), weight)


def _curve(sample: _Sample, settings: Calibration) -> Curve | None:
    positives, rows = int(sample.label.sum()), len(sample.label)
    few = rows < settings.min_rows or min(positives, rows - positives) < LEAST_OF_A_CLASS
    if settings.method == "none" or few:
        return None
    return FITS[settings.method](sample.p, sample.label, sample.weight)


def _by_value(
    sample: _Sample, values: npt.NDArray[np.int32], settings: Calibration
) -> dict[int, Curve]:
    """Maps of the segment's values that have enough rows; `values` `[R]` are those of all rows."""
    segment = values[sample.rows]
    order = np.argsort(segment, kind="stable")
    bounds = np.flatnonzero(np.diff(segment[order])) + 1
    curves = {}
    for at in np.split(order, bounds) if len(order) else ():
        numbers = {name: getattr(sample, name)[at] for name in ("rows", "p", "label", "weight")}
        curve = _curve(replace(sample, **numbers), settings)
        if curve is not None:
            curves[int(segment[at[0]])] = curve
    return curves
