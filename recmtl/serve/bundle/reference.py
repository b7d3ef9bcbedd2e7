"""What a day of scoring is compared with: the test rows of the training, as the bundle scores them.

The file holds histograms of features and scores, and the quality on those rows, so that a bundle
can be watched without the log on which it was trained.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from recmtl.data.encoded_log import NO_GROUP, LogSplit
from recmtl.data.row_encoder import RowEncoder
from recmtl.evaluate.results import plain
from recmtl.evaluate.stability import Bins, FeatureValues, Histogram, feature_values
from recmtl.evaluate.task_metrics import Metrics, evaluate
from recmtl.schema import Datetime, DerivedFeature, PastStatistics, TaskSpec

__all__ = ["REFERENCE", "Reference", "day_metrics", "watched_features"]

REFERENCE = "reference.json"
FORMAT = 1


@dataclass(frozen=True)
class Reference:
    """The test rows of a training.

    Attributes:
        features: histogram of each feature, as rows are encoded.
        scores: histogram of each scored column.
        quality: task -> metric -> value.
    """

    features: Mapping[str, Histogram]
    scores: Mapping[str, Histogram]
    quality: Metrics

    @staticmethod
    def of(
        rows: LogSplit,
        encoder: RowEncoder,
        *,
        scores: npt.NDArray[np.float32],
        columns: Sequence[str],
    ) -> "Reference":
        """The reference that encoded rows and their scores `[R, C]` are."""
        weight = rows.varying_weight
        features = {
            feature.name: Bins.of(feature).histogram(feature.values, weight)
            for feature in watched_features(encoder, rows.ids, rows.numeric)
        }
        by_column = {name: scores[:, i].astype(np.float64) for i, name in enumerate(columns)}
        of_scores = {
            name: Bins.of(FeatureValues(name, "score", values)).histogram(values, weight)
            for name, values in by_column.items()
        }
        labels, group, tasks = np.asarray(rows.labels), np.asarray(rows.group), encoder.schema.tasks
        return Reference(
            features,
            of_scores,
            day_metrics(by_column, labels, tasks, group, rows.varying_weight_by_task),
        )

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads."""
        features = {name: histogram.to_json() for name, histogram in self.features.items()}
        scores = {name: histogram.to_json() for name, histogram in self.scores.items()}
        content: dict[str, Any] = plain(
            {"format": FORMAT, "features": features, "scores": scores, "quality": self.quality}
        )
        return content

    @staticmethod
    def from_json(raw: Mapping[str, Any]) -> "Reference":
        """Read what `to_json` gave.

        Raises:
            ValueError: it is not that; so `KeyError` and `TypeError`.
        """
        if raw["format"] != FORMAT:
            raise ValueError(f"format {raw['format']} is not one that this recmtl reads")
        return Reference(
            {name: Histogram.from_json(entry) for name, entry in raw["features"].items()},
            {name: Histogram.from_json(entry) for name, entry in raw["scores"].items()},
            {
                task: {
                    name: np.nan if value is None else float(value) for name, value in of.items()
                }
                for task, of in raw["quality"].items()
            },
        )


def watched_features(
    encoder: RowEncoder, ids: npt.NDArray[np.int32], numeric: npt.NDArray[np.float32]
) -> Iterator[FeatureValues]:
    """The features of encoded rows, without those that others say again.

    Lengths of lists, exact values of numbers and crosses say the same as the lists, the numbers and
    the columns. Of times the hour and the age are kept: a day has one weekday, month and year.
    """
    doubled = {d.feature.name for d in encoder.schema.derived if not _says_more(d)}
    for feature in feature_values(encoder, ids, numeric):
        if feature.name not in doubled:
            yield feature


def _says_more(derived: DerivedFeature) -> bool:
    """Whether a derived feature of some days can be compared, and no other feature says it."""
    source = derived.source
    part = derived.feature.name.removeprefix(f"{source.name}.").split(".")[0]
    is_of_any_day = isinstance(source, Datetime) and part in ("hour", "age")
    return isinstance(source, PastStatistics) or is_of_any_day


def day_metrics(
    scores: Mapping[str, npt.NDArray[Any]],
    labels: npt.NDArray[Any],
    tasks: Sequence[TaskSpec],
    group: npt.NDArray[np.int64] | None,
    weight: npt.NDArray[Any] | None,
) -> Metrics:
    """Every metric of every task; those within groups if there are any."""
    has_groups = group is not None and len(np.unique(group[group != NO_GROUP])) > 1
    return evaluate(scores, labels, tasks, group if has_groups else None, weight)
