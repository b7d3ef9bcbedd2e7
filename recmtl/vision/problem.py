"""What an image task costs without looking: the loss of the best constant prediction.

A set of images as a problem: its splits, its heads, and the blocks of its networks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

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
from recmtl.vision.data.examples import ImageSet, ImageTask, Target
from recmtl.vision.heads import ImageHeadSpec
from recmtl.vision.metrics import make_meter, primary_metric
from recmtl.vision.model import ImageInput, ImageModel, StemAndHeads, load_pretrained
from recmtl.vision.trunks import IMAGE_CATALOG, Trunk

__all__ = ["ImageProblem", "constant_loss"]

LEAST = 1e-3
MOST_PIXELS = 2_000_000


def constant_loss(task: ImageTask, targets: Sequence[Target]) -> float:
    """The loss of `image_loss` for the best constant, at least 0.001; 1 where nothing is known.

    Entropy of the classes or labels, mean distance from the median of a map, `1 - |mean|` of
    normals.
    """
    flat = _known(task, targets)
    if flat.size == 0:
        return 1.0
    if task.kind in ("classification", "segmentation"):
        shares = np.bincount(flat.astype(np.int64), minlength=task.classes) / flat.size
        shares = shares[shares > 0]
        found = float(-(shares * np.log(shares)).sum())
    elif task.kind == "multilabel":
        rates = flat.mean(0).clip(1e-6, 1 - 1e-6)
        found = float(-(rates * np.log(rates) + (1 - rates) * np.log(1 - rates)).mean())
    elif task.kind == "normals":
        found = float(1.0 - np.linalg.norm(flat.mean(0)))
    else:
        found = float(np.abs(flat - np.median(flat, axis=0)).mean())
    return max(found, LEAST)


def _known(task: ImageTask, targets: Sequence[Target]) -> np.ndarray:
    """Values that are known: `[N]` classes, or `[N, channels]`."""
    if task.kind in ("classification", "segmentation"):
        flat = np.concatenate([np.asarray(target).reshape(-1) for target in targets])
        return flat[flat >= 0][:MOST_PIXELS]
    maps = [np.asarray(target, np.float64).reshape(task.classes, -1).T for target in targets]
    together = np.concatenate(maps)
    return together[~np.isnan(together).any(1)][:MOST_PIXELS]


EXAMPLES_FOR_CONSTANTS = 256


@dataclass(frozen=True)
class ImageProblem:
    """Images, their tasks, and how a network for them is built; see `Problem`.

    Attributes:
        train: images that weights and policies learn from.
        validation: images on which everything is chosen.
        test: images that are measured once.
        channels: what a network must know of them.
        heads: the tasks.
        built: stem, trunk, heads, precision and device.
    """

    train: ImageRows
    validation: ImageRows
    test: ImageRows
    channels: ImageInput
    heads: tuple[ImageHeadSpec, ...]
    built: ImageNetworkConfig

    @classmethod
    def open(cls, config: VisionConfig) -> tuple["ImageProblem", str]:
        """The images that a configuration names, and their fingerprint.

        Raises:
            ConfigError: no reader or no folder is named.
            DataError: what is wrong in the folder.
        """
        data = config.data
        if not data.reader or not data.folder:
            raise ConfigError("data: name a reader and a folder; --data says the folder, too")
        images = open_images(data.reader, data.folder, data.options)
        return cls.of(images, config), images.fingerprint

    @classmethod
    def of(cls, images: ImageSet, config: VisionConfig) -> "ImageProblem":
        """All tasks of a set, weighted and cut to as many images as the configuration says.

        Raises:
            ConfigError: a weight of no task.
        """
        names = [task.name for task in images.tasks]
        strange = sorted(set(config.task_weights) - set(names))
        if strange:
            raise ConfigError(f"task_weights: no task {strange[0]!r}; there are {', '.join(names)}")
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
        """Where networks and batches are."""
        return self.train.device

    def only(self, task: TrainingTask) -> "ImageProblem":
        """One task alone, on the same images."""
        place = [other.name for other in self.tasks].index(task.name)
        parts = {
            name: replace(rows, tasks=(rows.tasks[place],))
            for name in ("train", "validation", "test")
            for rows in [getattr(self, name)]
        }
        return replace(self, **parts, heads=(self.heads[place],))

    def network(self, layout: Layout, sizes: ModelSizes) -> ImageModel:
        """A fresh network of a layout; `sizes` are of tables and do not matter."""
        built = self.built
        own = StemAndHeads(built.stem, built.heads)
        model = ImageModel(self.channels, self.heads, layout=layout, sizes=own)
        if next(model.parameters()).is_meta:
            return model
        if built.pretrained:
            load_pretrained(model, built.pretrained_path, built.trunk.depths)
        model.mixed = built.mixed
        return model.to(self.device)

    def lane_shape(self, sizes: ModelSizes) -> LaneShape:
        """The stem's channels and pixels."""
        with torch.device("meta"):
            encoder = self.network(self.layout("shared_bottom"), sizes).encoder
        return LaneShape(encoder.width, encoder.pixels)

    def layout(self, name: str, grid: Grid | None = None) -> Layout:
        """A way to share of the catalog, of the trunk's blocks.

        Raises:
            ConfigError: it is not built of blocks.
        """
        if name not in IMAGE_CATALOG:
            raise ConfigError(f"{name}: is not for images; there are {', '.join(IMAGE_CATALOG)}")
        return IMAGE_CATALOG[name](len(self.heads), self._trunk())

    def levels(self, grid: Grid | None = None) -> tuple[tuple[Layer, ...], ...]:
        """The blocks of each stage."""
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
        found = zip(self.tasks, meters, strict=True)
        return {task.name: meter.result() for task, meter in found}

    def scored(self, model: Network) -> tuple[Predictions, Metrics]:
        """Metrics of the test images; maps of all of them would fill the disk."""
        return {}, self.evaluate(model, "test")

    def together(self, parts: Mapping[str, Predictions]) -> Predictions:
        """Nothing, as no predictions are kept."""
        return {}

    def judged(self, predictions: Predictions) -> Metrics:
        """Nothing, as no predictions are kept."""
        return {}

    def score(self, metrics: Metrics) -> float:
        """Mean over the tasks of the primary metric, on a scale on which more is better.

        A share stays as it is (accuracy, F1, mIoU); of an error e it is `1 - e / e0`, e0 being that
        of the angle 90 degrees, else the loss of the best constant prediction.
        """
        values = []
        for head in self.heads:
            name, more = primary_metric(head.task)
            value = metrics[head.name][name]
            worst = 90.0 if head.task.kind == "normals" else max(head.constant_loss, 1e-12)
            values.append(value if more else 1.0 - value / worst)
        return mean_of_defined(values)

    def primary(self, metrics: Metrics) -> dict[str, float]:
        """Of each task the metric that selects on validation."""
        return {task.name: metrics[task.name][primary_metric(task)[0]] for task in self.tasks}

    def _trunk(self) -> Trunk:
        stem = self.built.stem
        width = len(self.channels.mean) if stem.kind == "none" else stem.width
        return self.built.trunk.built(width, cells=len(self.heads) + 1)


def _rows(split: Any, limit: int, config: VisionConfig, tasks: int) -> ImageRows:
    """Some images of a split, always the same, or all of them."""
    numbers = np.arange(len(split))
    if limit and limit < len(split):
        numbers = np.sort(np.random.default_rng(0).permutation(len(split))[:limit])
    return ImageRows(
        split,
        numbers,
        tuple(range(tasks)),
        threads=config.data.threads,
        device=config.network.chosen_device(),
        largest_batch=config.data.evaluated_at_once,
    )


def _constants(rows: ImageRows, tasks: Sequence[ImageTask]) -> list[float]:
    chosen = np.linspace(0, len(rows) - 1, min(len(rows), EXAMPLES_FOR_CONSTANTS)).astype(np.int64)
    examples = [rows.example(int(number), None) for number in np.unique(chosen)]
    columns = zip(*(example.targets for example in examples), strict=True)
    return [constant_loss(task, list(column)) for task, column in zip(tasks, columns, strict=True)]
