"""A set of images as a problem of the search and the training: its rows, tasks and networks.

The counterpart for tables is `recmtl.train.tabular_problem.TabularProblem`.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from recmtl.errors import ConfigError
from recmtl.evaluate.metrics import mean_of_defined
from recmtl.evaluate.task_metrics import Metrics
from recmtl.grid import Decision, Layer, Layout
from recmtl.model import ModelSizes, Network
from recmtl.train.config import Grid
from recmtl.train.problem import LaneShape, Part, Predictions, TrainingTask
from recmtl.vision.config import ImageNetworkConfig, VisionConfig
from recmtl.vision.data import open_images
from recmtl.vision.data.batches import ImageRows
from recmtl.vision.data.examples import ImageSet, ImageSplit, ImageTask
from recmtl.vision.heads import ImageHeadSpec, constant_loss
from recmtl.vision.metrics import make_meter, primary_metric
from recmtl.vision.model import ImageInput, ImageModel, StemAndHeads, load_pretrained
from recmtl.vision.trunks import IMAGE_CATALOG, Trunk

__all__ = ["ImageProblem"]

EXAMPLES_FOR_CONSTANTS = 256
"""Train images from which the best constant predictions are computed."""


@dataclass(frozen=True)
class ImageProblem:
    """Images, their tasks, and the networks that fit them; implements `Problem`.

    Attributes:
        train: images from which weights and policies learn.
        validation: images on which every choice is made.
        test: images that are measured once.
        channels: the form of the images.
        heads: the tasks and the scales of their losses.
        settings: stem, trunk, heads, precision and device of the networks.
    """

    train: ImageRows
    validation: ImageRows
    test: ImageRows
    channels: ImageInput
    heads: tuple[ImageHeadSpec, ...]
    settings: ImageNetworkConfig

    @classmethod
    def open(cls, config: VisionConfig) -> tuple["ImageProblem", str]:
        """The images that a configuration names, and their fingerprint.

        Raises:
            ConfigError: the configuration names no reader or no folder.
            DataError: a file in the folder is missing or damaged, or breaks the layout.
        """
        data = config.data
        if not data.reader or not data.folder:
            raise ConfigError("data: names no reader or no folder; name both, or use --data")
        images = open_images(data.reader, data.folder, data.options)
        return cls.from_images(images, config), images.fingerprint

    @classmethod
    def from_images(cls, images: ImageSet, config: VisionConfig) -> "ImageProblem":
        """All tasks of a set, with the configured weights and numbers of images.

        Raises:
            ConfigError: `task_weights` names a task that does not exist.
        """
        names = [task.name for task in images.tasks]
        unknown = sorted(set(config.task_weights) - set(names))
        if unknown:
            raise ConfigError(f"task_weights: no task {unknown[0]!r}; there are {', '.join(names)}")
        limits = config.data
        parts = [
            _rows(split, limit, config, len(names))
            for split, limit in (
                (images.train, limits.train_images),
                (images.validation, limits.validation_images),
                (images.test, limits.test_images),
            )
        ]
        weights = [config.task_weights.get(name, 1.0) for name in names]
        constants = _constants(parts[0], images.tasks)
        heads = tuple(map(ImageHeadSpec, images.tasks, weights, constants))
        channels = ImageInput(images.mean, images.std, images.size)
        return cls(parts[0], parts[1], parts[2], channels, heads, config.network)

    @property
    def tasks(self) -> tuple[ImageTask, ...]:
        """The tasks, in the order of targets and outputs."""
        return tuple(head.task for head in self.heads)

    @property
    def device(self) -> str:
        """The device of networks and batches."""
        return self.train.device

    @property
    def sources(self) -> Mapping[str, tuple[str, ...]]:
        """None: an image is one input."""
        return {}

    def resampled(self, number: int) -> "ImageProblem":
        """The problem on as many train images, drawn with replacement; the number is the seed."""
        images = len(self.train)
        drawn = np.random.default_rng(number).integers(0, images, images)
        return replace(self, train=self.train.take(np.sort(drawn)))

    def hearing(self, sources: Collection[str]) -> "ImageProblem":
        """The problem itself."""
        return self

    def weighed(self, factors: Mapping[str, float]) -> "ImageProblem":
        """The problem with the losses of these tasks multiplied by factors."""
        heads = (
            replace(head, weight=head.weight * factors.get(head.task.name, 1.0))
            for head in self.heads
        )
        return replace(self, heads=tuple(heads))

    def only(self, task: TrainingTask) -> "ImageProblem":
        """The problem of one task alone, on the same images."""
        place = [other.name for other in self.tasks].index(task.name)
        parts = {
            name: replace(rows, tasks=(rows.tasks[place],))
            for name in ("train", "validation", "test")
            for rows in [getattr(self, name)]
        }
        return replace(self, **parts, heads=(self.heads[place],))

    def network(self, layout: Layout, sizes: ModelSizes) -> ImageModel:
        """A new network of a layout; `sizes` belong to tables and are not used."""
        settings = self.settings
        parts = StemAndHeads(settings.stem, settings.heads)
        model = ImageModel(self.channels, self.heads, layout=layout, sizes=parts)
        if next(model.parameters()).is_meta:
            return model
        if settings.pretrained:
            load_pretrained(model, Path(settings.pretrained), settings.trunk.depths)
        model.mixed = settings.mixed
        return model.to(self.device)

    def lane_shape(self, sizes: ModelSizes) -> LaneShape:
        """Channels and pixels of the stem's output."""
        with torch.device("meta"):
            encoder = self.network(self.layout("shared_bottom"), sizes).encoder
        return LaneShape(encoder.width, encoder.pixels)

    def layout(self, name: str, grid: Grid | None = None) -> Layout:
        """The layout of this name, built of the trunk's blocks; `grid` belongs to tables.

        Raises:
            ConfigError: `IMAGE_CATALOG` has no such layout.
        """
        if name not in IMAGE_CATALOG:
            raise ConfigError(f"{name}: is not for images; there are {', '.join(IMAGE_CATALOG)}")
        return IMAGE_CATALOG[name](len(self.heads), self._trunk())

    def levels(self, grid: Grid | None = None) -> tuple[tuple[Layer, ...], ...]:
        """The blocks of each stage; `grid` belongs to tables."""
        return self._trunk().stages

    def evaluate(
        self,
        model: Network,
        part: Part = "validation",
        decisions: Sequence[Decision] | None = None,
    ) -> Metrics:
        """Every metric of every task, pooled over the images, in evaluation mode."""
        rows = {"train": self.train, "validation": self.validation, "test": self.test}[part]
        training = model.training
        model.eval()
        meters = [make_meter(task) for task in self.tasks]
        for batch in rows.batches(batch_size=rows.largest_batch, seed=None):
            predictions = model.predictions(batch, decisions)
            for meter, prediction, target in zip(meters, predictions, batch.labels, strict=True):
                meter.update(prediction, target)
        model.train(training)
        by_task = zip(self.tasks, meters, strict=True)
        return {task.name: meter.result() for task, meter in by_task}

    def scored(self, model: Network) -> tuple[Predictions, Metrics]:
        """The metrics on test images; no predictions, since maps would fill the disk."""
        return {}, self.evaluate(model, "test")

    def scored_validation(self, model: Network) -> Predictions:
        """Nothing, as no predictions are kept."""
        return {}

    def together(self, parts: Mapping[str, Predictions]) -> Predictions:
        """Nothing, as no predictions are kept."""
        return {}

    def judged(self, predictions: Predictions) -> Metrics:
        """Nothing, as no predictions are kept."""
        return {}

    def score(self, metrics: Metrics) -> float:
        """Mean over the tasks of the primary metric, on a scale where more is better.

        Accuracy, F1 and mIoU count as they are. An error e counts as `1 - e / e0`, where e0 is 90
        degrees for normals and the loss of the best constant prediction otherwise.
        """
        return mean_of_defined([_on_scale(metrics[head.name], head) for head in self.heads])

    @property
    def score_weights(self) -> dict[str, float]:
        """All tasks count the same in `score`."""
        return {head.name: 1.0 for head in self.heads}

    def fold_scores(self, model: Network, folds: int) -> np.ndarray:
        """The tasks' metrics on the scale of `score`, on all images and without each fold."""
        fold, rows = np.arange(len(self.validation)) % folds, []
        for number in range(-1, folds):
            part = replace(self, validation=self.validation.take(np.flatnonzero(fold != number)))
            metrics = part.evaluate(model)
            rows.append([_on_scale(metrics[head.name], head) for head in self.heads])
        return np.array(rows)

    def primary(self, metrics: Metrics) -> dict[str, float]:
        """The metric by which each task is selected on validation, by task."""
        return {task.name: metrics[task.name][primary_metric(task)[0]] for task in self.tasks}

    def _trunk(self) -> Trunk:
        stem = self.settings.stem
        width = len(self.channels.mean) if stem.kind == "none" else stem.width
        return self.settings.trunk.build(width, cells=len(self.heads) + 1)


def _on_scale(metrics: Mapping[str, float], head: ImageHeadSpec) -> float:
    name, more = primary_metric(head.task)
    worst = 90.0 if head.task.kind == "normals" else max(head.constant_loss, 1e-12)
    return metrics[name] if more else 1.0 - metrics[name] / worst


def _rows(split: ImageSplit, limit: int, config: VisionConfig, tasks: int) -> ImageRows:
    """All images of a split, or `limit` of them, the same in every run."""
    numbers = np.arange(len(split))
    if limit and limit < len(split):
        numbers = np.sort(np.random.default_rng(0).permutation(len(split))[:limit])
    return ImageRows(
        split,
        numbers,
        tuple(range(tasks)),
        threads=config.data.threads,
        device=config.network.resolve_device(),
        largest_batch=config.data.evaluated_at_once,
    )


def _constants(rows: ImageRows, tasks: Sequence[ImageTask]) -> list[float]:
    """The constant loss of each task, from evenly spaced train images."""
    count = min(len(rows), EXAMPLES_FOR_CONSTANTS)
    numbers = np.linspace(0, len(rows) - 1, count).astype(np.int64)
    examples = [rows.example(int(number), None) for number in np.unique(numbers)]
    columns = zip(*(example.targets for example in examples), strict=True)
    return [constant_loss(task, list(column)) for task, column in zip(tasks, columns, strict=True)]
