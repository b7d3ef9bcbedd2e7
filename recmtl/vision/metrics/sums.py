"""Sums over a set, in float64, that grow batch by batch: pooled, by batch, and by image.

A pooled mean weighs every pixel alike, whatever batch it came in. Two published ways do not: the
plain mean of batch means (MTAN and what follows it) and batch means weighted by the number of
images (LibMTL, AdaShare). They are kept here under the names `legacy_...`, because published tables
can be compared with nothing else.
"""

import torch
from torch import Tensor

__all__ = ["PooledMean", "PooledMedian", "valid_pixels"]


class PooledMean:
    """The mean of a quantity, in the three published ways of weighing."""

    def __init__(self) -> None:
        self._sum, self._count = 0.0, 0
        self._batch_sum, self._batches = 0.0, 0
        self._weighted_sum, self._images = 0.0, 0

    def add(self, values: Tensor, images: int) -> None:
        """Add the values of one batch of `images` images, any shape; no value, no batch."""
        if values.numel() == 0:
            return
        total = float(values.sum(dtype=torch.float64))
        mean = total / values.numel()
        self._sum, self._count = self._sum + total, self._count + values.numel()
        self._batch_sum, self._batches = self._batch_sum + mean, self._batches + 1
        self._weighted_sum += mean * images
        self._images += images

    @property
    def pooled(self) -> float:
        """Mean over all values; NaN without any."""
        return _ratio(self._sum, self._count)

    @property
    def of_batches(self) -> float:
        """Plain mean of batch means (MTAN, CAGrad, Nash-MTL, FAMO)."""
        return _ratio(self._batch_sum, self._batches)

    @property
    def by_images(self) -> float:
        """Mean of batch means weighted by the images of each batch (LibMTL, AdaShare)."""
        return _ratio(self._weighted_sum, self._images)


class PooledMedian:
    """The median of angles in 0..180, in constant memory: exact to 180 / 2^20 = 0.0002 degrees.

    Of an even number of values it is the middle of the two middle ones, as in numpy.
    """

    BINS = 2**20
    TOP = 180.0

    def __init__(self) -> None:
        self._counts = torch.zeros(self.BINS, dtype=torch.int64)

    def add(self, values: Tensor) -> None:
        """Add angles in degrees, any shape."""
        bins = (values.double() * (self.BINS / self.TOP)).long().clamp(0, self.BINS - 1)
        self._counts += torch.bincount(bins.flatten(), minlength=self.BINS).cpu()

    @property
    def value(self) -> float:
        """The median; NaN without a value."""
        below = torch.cumsum(self._counts, 0)
        several = int(below[-1])
        if several == 0:
            return float("nan")
        middle = torch.tensor([(several - 1) // 2, several // 2])
        bins = torch.searchsorted(below, middle, right=True)
        return float((bins.double() + 0.5).mean()) * self.TOP / self.BINS


def valid_pixels(values: Tensor, valid: Tensor) -> Tensor:
    """The values `[B, C, H, W]` of the valid pixels `[B, H, W]`, as float64 `[valid, C]`."""
    return values.movedim(1, -1)[valid].double()


def _ratio(total: float, count: int) -> float:
    return total / count if count else float("nan")
