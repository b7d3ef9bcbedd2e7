"""What the models of labels need to know of the train rows, and which model a head has."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from recmtl.data.encoded_log import LogSplit
from recmtl.data.encoding import Encoding
from recmtl.data.labelled.weights import weight_of
from recmtl.errors import DataError
from recmtl.model.heads.counts import NegativeBinomial, Poisson
from recmtl.model.heads.duration import DurationQuantiles, at_shares, numbers_of_durations
from recmtl.model.heads.group_loss import constant_group_loss
from recmtl.model.heads.labels import Classes, LabelModel, Numbers, Ordinal, Score, Value
from recmtl.model.heads.position import fitted_places
from recmtl.model.heads.spec import HeadSpec
from recmtl.model.heads.watch_time import Cread, ZeroInflatedLogNormal
from recmtl.schema import Head

__all__ = ["MOST_ROWS", "fitted", "fitted_heads", "label_model"]

Floats = npt.NDArray[np.float64]
MOST_ROWS = 1 << 20
"""Train rows on which a head is fitted; of more, evenly spaced ones."""


def label_model(spec: HeadSpec) -> LabelModel:
    """The model of the label of a multiclass or regression head."""
    head = spec.head
    if spec.kind == "multiclass":
        size, smoothing = len(spec.classes), spec.label_smoothing
        if head is None:
            return Classes(size, label_smoothing=smoothing)
        return Ordinal(size, spec.numbers, label_smoothing=smoothing)
    if head is None:
        return Value(spec.mean, spec.std, transform=spec.transform)
    if head.kind == "rank":
        return Score()
    if head.kind == "ziln":
        return ZeroInflatedLogNormal(spec.numbers, head.quantiles)
    if head.kind == "cread":
        return Cread(spec.numbers)
    if head.kind == "d2q":
        return DurationQuantiles(spec.numbers)
    return Poisson(spec.mean) if head.kind == "poisson" else NegativeBinomial(spec.mean, spec.std)


def fitted_heads(
    heads: Iterable[HeadSpec], train: LogSplit, encoding: Encoding
) -> tuple[HeadSpec, ...]:
    """The heads, with what models of labels, places and groups are fitted to: labelled train rows.

    Args:
        heads: in the order of the labels.
        train: the train rows.
        encoding: of their columns.

    Raises:
        DataError: no group has two rows whose order a loss could learn.
    """
    return tuple(_fitted_to(head, train, position, encoding) for position, head in enumerate(heads))


def _fitted_to(head: HeadSpec, train: LogSplit, position: int, encoding: Encoding) -> HeadSpec:
    if (head.head, head.position, head.within) == (None, None, None):
        return head
    label = np.asarray(train.labels[:, position])
    weight = weight_of(train.varying_weight_by_task, position)
    rows = np.flatnonzero(~np.isnan(label))
    label, weight = label[rows], None if weight is None else weight[rows]
    duration = None
    if head.duration is not None:
        number = [field.name for field in encoding.numeric].index(head.duration)
        duration = np.asarray(train.numeric[:, number])[rows]
    head = fitted(head, label, weight, duration)
    if head.position is not None and train.position.shape[1]:
        places = np.asarray(train.position[:, 0])[rows]
        numbers = {**head.numbers, **fitted_places(head, label, weight, places)}
        head = replace(head, numbers=numbers)
    else:
        head = replace(head, position=None)
    return head if head.within is None else _of_groups(head, head.within[0], train, position)


def _of_groups(head: HeadSpec, kind: str, train: LogSplit, position: int) -> HeadSpec:
    """A head with the loss within groups of a constant score, which is its unit."""
    rows = np.flatnonzero(~np.isnan(np.asarray(train.labels[:, position])))
    rows = rows[np.argsort(train.member[rows, 0], kind="stable")[:MOST_ROWS]]
    weights = weight_of(np.asarray(train.weight_by_task), position)
    label, weight, member = (
        torch.from_numpy(np.asarray(part[rows], np.float64))
        for part in (train.labels[:, position], weights, train.member[:, 0])
    )
    within = constant_group_loss(kind, label, weight, member)
    if within <= 0:
        option = "head" if head.ranks else "group_loss"
        raise DataError(
            f"task {head.name!r}: in no group of the train rows do labels differ, so there is no "
            f"order to learn; name another column under roles.group, or drop {option}"
        )
    return replace(head, numbers={**head.numbers, "group_loss": (within,)})


def fitted(
    spec: HeadSpec,
    labels: npt.NDArray[Any],
    weight: npt.NDArray[Any] | None,
    duration: npt.NDArray[Any] | None = None,
) -> HeadSpec:
    """The head with the numbers of its model and the loss at which that starts.

    Args:
        spec: a head whose schema names a model.
        labels: of the train rows on which the task is defined `[R]`, at least one.
        weight: of the same rows, or None.
        duration: of the same rows, encoded, where the model reads one.
    """
    if spec.head is None or spec.ranks:
        return spec
    step = -(-len(labels) // MOST_ROWS)
    label = np.asarray(labels[::step], np.float64)
    share = np.ones(len(label)) if weight is None else np.asarray(weight[::step], np.float64)
    share = share / share.sum()
    beside = np.empty((len(label), 0))
    if duration is not None and spec.duration is not None:
        beside = np.asarray(duration[::step], np.float64)[:, np.newaxis]
    spec = replace(spec, numbers=_numbers(spec, spec.head, label, share, beside))
    model = label_model(replace(spec, label_smoothing=0.0)).double()
    with torch.no_grad():
        start = torch.tensor([model.start], dtype=torch.float64, device="cpu")
        logits = model.logits(start).expand(len(label), -1)
        logits = torch.cat([logits, torch.from_numpy(beside)], 1)
        losses = model.loss(logits, torch.from_numpy(label))
        return replace(spec, start_loss=float(losses.numpy() @ share))


def _numbers(spec: HeadSpec, head: Head, label: Floats, share: Floats, beside: Floats) -> Numbers:
    """The numbers of a model, of labels and shares of the weight `[n]`, durations `[n, 1]`."""
    if head.kind == "ordinal":
        return {"shares": _floats(np.bincount(label.astype(int), share, len(spec.classes)))}
    if head.kind == "ziln":
        return _of_ziln(label, share)
    if head.kind == "d2q":
        return numbers_of_durations(head.groups, label, share, beside[:, 0])
    return _of_cread(head, label, share) if head.kind == "cread" else {}


def _of_ziln(label: Floats, share: Floats) -> Numbers:
    above = label > 0
    if not above.any():
        return {"above": (0.0,), "mean": (0.0,), "std": (1.0,)}
    log, weight = np.log(label[above]), share[above]
    mean = float(np.average(log, weights=weight))
    std = float(np.sqrt(np.average((log - mean) ** 2, weights=weight)))
    return {"above": (float(weight.sum()),), "mean": (mean,), "std": (std or 1.0,)}


def _of_cread(head: Head, label: Floats, share: Floats) -> Numbers:
    """Thresholds at quantiles of error-adaptive shares, and the means between them.

    `t_m = F^-1((1 - exp(-a m / M)) / (1 - exp(-a)))` (equations of section 4.3), a the skew.
    """
    places = np.arange(head.bins) / head.bins
    if head.skew:
        places = -np.expm1(-head.skew * places) / -np.expm1(-head.skew)
    least, most = label.min(), label.max()
    thresholds = np.unique(at_shares(label, share, places))
    thresholds = thresholds[thresholds < most]
    if not len(thresholds):
        thresholds = np.array([least - 1.0 if least == most else least])
    bins = np.searchsorted(thresholds, label, side="left")
    mass = np.bincount(bins, share, len(thresholds) + 1)
    sums = np.bincount(bins, share * label, len(thresholds) + 1)
    # Without a row at or below the first threshold, its mean is the threshold itself.
    means = np.where(mass > 0, sums / np.where(mass > 0, mass, 1.0), np.r_[thresholds, most])
    mean = float(share @ label)
    return {
        "thresholds": _floats(thresholds),
        "means": _floats(means),
        "above": _floats(1.0 - np.cumsum(mass)[:-1]),
        "std": (float(np.sqrt(share @ (label - mean) ** 2)) or 1.0,),
    }


def _floats(values: npt.NDArray[Any]) -> tuple[float, ...]:
    return tuple(values.tolist())
