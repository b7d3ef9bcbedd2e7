"""Meters of classes: one class an image, several labels an image, one class a pixel."""

import torch
from torch import Tensor

from recmtl.vision.metrics.sums import PooledMean

__all__ = ["ClassificationMeter", "MultilabelMeter", "SegmentationMeter"]

TINY = 1e-8


class ClassificationMeter:
    """`accuracy`, `error` and `cross_entropy` (nats), over the images whose class is known."""

    def __init__(self) -> None:
        self._right, self._loss = PooledMean(), PooledMean()

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add logits [B, classes] and classes [B], -1 where unknown."""
        known = target >= 0
        logits, classes = prediction[known].double(), target[known]
        self._right.add((logits.argmax(1) == classes).double(), len(logits))
        loss = torch.nn.functional.cross_entropy(logits, classes, reduction="none")
        self._loss.add(loss, len(logits))

    def result(self) -> dict[str, float]:
        """The metrics; NaN without a known class."""
        right = self._right.pooled
        return {"accuracy": right, "error": 1 - right, "cross_entropy": self._loss.pooled}


class MultilabelMeter:
    """`f1`, `accuracy` and `error`: each label by itself, then their plain mean.

    A label counts as predicted at a probability above 0.5 (logit above 0). F1 of a label is
    `2 tp / (2 tp + fp + fn)`, 0 where a label neither occurs nor is predicted: FAMO's formula,
    whose 1e-8 in the denominators is below what is printed. Accuracy leaves unknown labels out.
    """

    def __init__(self, labels: int) -> None:
        """Args: labels: number of labels."""
        self._counts = torch.zeros(2, 2, labels, dtype=torch.int64)

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add logits [B, labels] and labels [B, labels], 0 or 1, NaN where unknown."""
        said, known = prediction > 0, ~torch.isnan(target)
        for truth in range(2):
            for claim in range(2):
                cell = known & ((target > 0.5) == bool(truth)) & (said == bool(claim))
                self._counts[truth, claim] += cell.sum(0).cpu()

    def of_labels(self) -> dict[str, list[float]]:
        """`f1` and `accuracy` of every label, in order; accuracy NaN where it is never known."""
        counts = self._counts.double()
        right = (counts[0, 0] + counts[1, 1]) / counts.sum((0, 1))
        hits, wrong = 2 * counts[1, 1], counts[0, 1] + counts[1, 0]
        f1 = hits / (hits + wrong).clamp(min=TINY)
        return {"f1": f1.tolist(), "accuracy": right.tolist()}

    def result(self) -> dict[str, float]:
        """Means over the labels, NaN where none is known."""
        found = {name: torch.tensor(v).double() for name, v in self.of_labels().items()}
        known = ~torch.isnan(found["accuracy"])
        f1, accuracy = (float(found[name][known].mean()) for name in ("f1", "accuracy"))
        return {"f1": f1, "accuracy": accuracy, "error": 1 - accuracy}


class SegmentationMeter:
    """Metrics of one class a pixel, from one confusion matrix of the whole set.

    `miou`: mean over the classes of `hits / (rows + columns - hits)`; a class that neither occurs
    nor is predicted has no such ratio and is left out. `pixel_accuracy`: share of right pixels.
    `cross_entropy`: mean over pixels, nats.

    Beside them, as published code computes them:
    `legacy_survey_miou`: a class without a ratio counts as 0 (ASTMT, the survey).
    `legacy_adashare_miou`: a class that is never hit is left out, however often it occurs.
    `legacy_mtan_miou`, `legacy_mtan_pixel_accuracy`: means over images of each image's own, as MTAN
    had it until November 2020.
    `legacy_adashare_pixel_accuracy`, `legacy_adashare_error`: accuracy and cross entropy by batch,
    weighted by images.
    """

    def __init__(self, classes: int, weights: tuple[float, ...] = ()) -> None:
        """Args: classes: their number; weights: of each class in the cross entropy."""
        self.classes = classes
        self._weights = torch.tensor(weights).double() if weights else None
        self._confusion = torch.zeros(classes, classes, dtype=torch.int64)
        self._right, self._loss = PooledMean(), PooledMean()
        self._image_iou, self._image_right = PooledMean(), PooledMean()

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add logits [B, classes, H, W] and classes [B, H, W], -1 where ignored."""
        claim = prediction.argmax(1)
        for image in range(len(target)):
            known = target[image] >= 0
            if not known.any():
                continue
            truth, said = target[image][known], claim[image][known]
            confusion = self._matrix(truth, said)
            self._confusion += confusion
            ious = _ious(confusion)
            self._image_iou.add(ious[~torch.isnan(ious)].mean()[None], 1)
            self._image_right.add((truth == said).double().mean()[None], 1)
        known = target >= 0
        self._right.add((claim == target)[known].double(), len(target))
        weights = None if self._weights is None else self._weights.to(prediction.device)
        # Single precision at least, and no more where logits of many classes fill the memory.
        logits = prediction.to(torch.promote_types(prediction.dtype, torch.float32))
        weights = None if weights is None else weights.to(logits.dtype)
        loss = torch.nn.functional.cross_entropy(
            logits, target, weight=weights, ignore_index=-1, reduction="none"
        )
        self._loss.add(loss[known], len(target))

    def _matrix(self, truth: Tensor, said: Tensor) -> Tensor:
        cells = torch.bincount(truth * self.classes + said, minlength=self.classes**2)
        return cells.reshape(self.classes, self.classes).cpu()

    def result(self) -> dict[str, float]:
        """The metrics; NaN without a known pixel."""
        ious, hits = _ious(self._confusion), self._confusion.diagonal()
        present = ~torch.isnan(ious)
        return {
            "miou": float(ious[present].mean()),
            "pixel_accuracy": self._right.pooled,
            "cross_entropy": self._loss.pooled,
            # 0 / 0 is NaN, as in every other mean, where no class is there at all.
            "legacy_survey_miou": float(ious[present].sum() / (self.classes * present.any())),
            "legacy_adashare_miou": float(ious[hits > 0].mean()),
            "legacy_mtan_miou": self._image_iou.pooled,
            "legacy_mtan_pixel_accuracy": self._image_right.pooled,
            "legacy_adashare_pixel_accuracy": self._right.by_images,
            "legacy_adashare_error": self._loss.by_images,
        }


def _ious(confusion: Tensor) -> Tensor:
    """Intersection over union of every class, NaN where it neither occurs nor is predicted."""
    hits = confusion.diagonal().double()
    return hits / (confusion.sum(0) + confusion.sum(1) - confusion.diagonal())
