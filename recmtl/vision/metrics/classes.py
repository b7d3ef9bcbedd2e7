"""Meters of classes: one class per image, several labels per image, one class per pixel."""

import torch
from torch import Tensor

from recmtl.vision.metrics.sums import PooledMean

__all__ = ["ClassificationMeter", "MultilabelMeter", "SegmentationMeter"]

TINY = 1e-8


class ClassificationMeter:
    """`accuracy`, `error` and `cross_entropy` (nats) over the images whose class is known."""

    def __init__(self) -> None:
        self._right, self._loss = PooledMean(), PooledMean()

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add logits [B, classes] and classes [B], -1 where unknown."""
        is_known = target >= 0
        logits, classes = prediction[is_known].double(), target[is_known]
        self._right.add((logits.argmax(1) == classes).double(), len(logits))
        loss = torch.nn.functional.cross_entropy(logits, classes, reduction="none")
        self._loss.add(loss, len(logits))

    def result(self) -> dict[str, float]:
        """The metrics; NaN without a known class."""
        right = self._right.value
        return {"accuracy": right, "error": 1 - right, "cross_entropy": self._loss.value}


class MultilabelMeter:
    """`f1`, `accuracy` and `error` of each label, averaged over the labels.

    A label is predicted if its probability is above 0.5 (its logit above 0). F1 of a label is
    `2 tp / (2 tp + fp + fn)`, and 0 if the label neither occurs nor is predicted. This is FAMO's
    formula, but for the 1e-8 in its denominators, which changes no printed digit. Unknown labels
    do not count.
    """

    def __init__(self, labels: int) -> None:
        """Args: labels: number of labels."""
        self._counts = torch.zeros(2, 2, labels, dtype=torch.int64)

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add logits [B, labels] and labels [B, labels], 0 or 1, NaN where unknown."""
        predicted, is_known = prediction > 0, ~torch.isnan(target)
        for truth in range(2):
            for claim in range(2):
                cell = is_known & ((target > 0.5) == bool(truth)) & (predicted == bool(claim))
                self._counts[truth, claim] += cell.sum(0).cpu()

    def of_labels(self) -> dict[str, list[float]]:
        """`f1` and `accuracy` of every label, in order; accuracy is NaN if it is never known."""
        counts = self._counts.double()
        right = (counts[0, 0] + counts[1, 1]) / counts.sum((0, 1))
        hits, wrong = 2 * counts[1, 1], counts[0, 1] + counts[1, 0]
        f1 = hits / (hits + wrong).clamp(min=TINY)
        return {"f1": f1.tolist(), "accuracy": right.tolist()}

    def result(self) -> dict[str, float]:
        """Means over the labels; NaN without a known label."""
        by_label = {name: torch.tensor(v).double() for name, v in self.of_labels().items()}
        is_known = ~torch.isnan(by_label["accuracy"])
        f1, accuracy = (float(by_label[name][is_known].mean()) for name in ("f1", "accuracy"))
        return {"f1": f1, "accuracy": accuracy, "error": 1 - accuracy}


class SegmentationMeter:
    """Metrics of one class per pixel, from one confusion matrix of the whole set.

    - `miou`: mean over the classes of `hits / (rows + columns - hits)`. A class that neither occurs
      nor is predicted has no such ratio and is left out.
    - `pixel_accuracy`: share of the pixels whose class is predicted.
    - `cross_entropy`: mean over the pixels, in nats.

    And as published code computes them:

    - `legacy_survey_miou`: a class without a ratio counts as 0 (ASTMT, the survey).
    - `legacy_adashare_miou`: a class that is never hit is left out, however often it occurs.
    - `legacy_mtan_miou`, `legacy_mtan_pixel_accuracy`: computed for every image, then averaged over
      the images, as in MTAN until November 2020.
    - `legacy_adashare_pixel_accuracy`, `legacy_adashare_error`: accuracy and cross entropy of every
      batch, weighted by its images.
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
            is_known = target[image] >= 0
            if not is_known.any():
                continue
            truth, predicted = target[image][is_known], claim[image][is_known]
            confusion = self._matrix(truth, predicted)
            self._confusion += confusion
            ious = _ious(confusion)
            self._image_iou.add(ious[~torch.isnan(ious)].mean()[None], 1)
            self._image_right.add((truth == predicted).double().mean()[None], 1)
        is_known = target >= 0
        self._right.add((claim == target)[is_known].double(), len(target))
        weights = None if self._weights is None else self._weights.to(prediction.device)
        # At least single precision, but no more: the logits of many classes fill the memory.
        logits = prediction.to(torch.promote_types(prediction.dtype, torch.float32))
        weights = None if weights is None else weights.to(logits.dtype)
        loss = torch.nn.functional.cross_entropy(
            logits, target, weight=weights, ignore_index=-1, reduction="none"
        )
        self._loss.add(loss[is_known], len(target))

    def _matrix(self, truth: Tensor, predicted: Tensor) -> Tensor:
        cells = torch.bincount(truth * self.classes + predicted, minlength=self.classes**2)
        return cells.reshape(self.classes, self.classes).cpu()

    def result(self) -> dict[str, float]:
        """The metrics; NaN without a known pixel."""
        ious, hits = _ious(self._confusion), self._confusion.diagonal()
        present = ~torch.isnan(ious)
        return {
            "miou": float(ious[present].mean()),
            "pixel_accuracy": self._right.value,
            "cross_entropy": self._loss.value,
            # Without any class this is 0 / 0 = NaN, as in every other mean.
            "legacy_survey_miou": float(ious[present].sum() / (self.classes * present.any())),
            "legacy_adashare_miou": float(ious[hits > 0].mean()),
            "legacy_mtan_miou": self._image_iou.value,
            "legacy_mtan_pixel_accuracy": self._image_right.value,
            "legacy_adashare_pixel_accuracy": self._right.weighted_by_images,
            "legacy_adashare_error": self._loss.weighted_by_images,
        }


def _ious(confusion: Tensor) -> Tensor:
    """Intersection over union of every class, NaN where it neither occurs nor is predicted."""
    hits = confusion.diagonal().double()
    return hits / (confusion.sum(0) + confusion.sum(1) - confusion.diagonal())
