"""Sums over a data set, in float64, that grow batch by batch.

A pooled mean gives every pixel the same weight, whatever its batch. Two published means do not: the
plain mean of batch means (MTAN and its successors), and batch means weighted by the number of
images (LibMTL, AdaShare). Both are kept for the metrics `legacy_...`, because published tables can
be compared with nothing else.
"""

import torch
from torch import Tensor

__all__ = ["PooledMean", "PooledMedian", "valid_pixels"]


class PooledMean:
    """The mean of a quantity over a data set, pooled and with the two published weightings.

    >>> mean = PooledMean()
    >>> mean.add(torch.tensor([1.0, 2.0, 3.0]), images=3)
    >>> mean.add(torch.tensor([10.0]), images=1)
    >>> mean.value, mean.mean_of_batches, mean.weighted_by_images
    (4.0, 6.0, 4.0)
    """

    def __init__(self) -> None:
        self._sum, self._count = 0.0, 0
        self._batch_sum, self._batches = 0.0, 0
        self._weighted_sum, self._images = 0.0, 0

    def add(self, values: Tensor, images: int) -> None:
        """Add the values of a batch of `images` images, in any shape.

        A batch without a value counts in none of the means.
        """
        if values.numel() == 0:
            return
        total = float(values.sum(dtype=torch.float64))
        mean = total / values.numel()
        self._sum, self._count = self._sum + total, self._count + values.numel()
        self._batch_sum, self._batches = self._batch_sum + mean, self._batches + 1
        self._weighted_sum += mean * images
        self._images += images

    @property
    def value(self) -> float:
        """Mean of all values; NaN without any."""
        return _ratio(self._sum, self._count)

    @property
    def mean_of_batches(self) -> float:
        """Plain mean of the batch means (MTAN, CAGrad, Nash-MTL, FAMO)."""
        return _ratio(self._batch_sum, self._batches)

    @property
    def weighted_by_images(self) -> float:
        """Mean of the batch means, weighted by the images of each batch (LibMTL, AdaShare)."""
        return _ratio(self._weighted_sum, self._images)


class PooledMedian:
    """The median of angles in 0..180 degrees in constant memory, exact to 180 / 2^20 = 0.0002.

    The median of an even number of values is the middle of the two middle ones, as in numpy.
    """

    BINS = 2**20
    TOP = 180.0

    def __init__(self) -> None:
        self._counts = torch.zeros(self.BINS, dtype=torch.int64)

    def add(self, values: Tensor) -> None:
        """Add angles in degrees, in any shape."""
        bins = (values.double() * (self.BINS / self.TOP)).long().clamp(0, self.BINS - 1)
        self._counts += torch.bincount(bins.flatten(), minlength=self.BINS).cpu()

    @property
    def value(self) -> float:
        """The median; NaN without a value."""
        below = torch.cumsum(self._counts, 0)
        count = int(below[-1])
        if count == 0:
            return float("nan")
        middle = torch.tensor([(count - 1) // 2, count // 2])
        bins = torch.searchsorted(below, middle, right=True)
        return float((bins.double() + 0.5).mean()) * self.TOP / self.BINS


def valid_pixels(values: Tensor, valid: Tensor) -> Tensor:
    """The values `[B, C, H, W]` at the valid pixels `[B, H, W]`, as float64 `[valid, C]`."""
    return values.movedim(1, -1)[valid].double()


def _ratio(total: float, count: int) -> float:
    return total / count if count else float("nan")
