"""Meters of maps of numbers: depth, surface normals, and any other regression per pixel.

Angles of normals are published in two forms. AdaShare, DynaShare, AutoMTL and MTL-NAS compare the
8-bit codes `(n + 1) * 127.5`, scaled to unit length but not decoded. All such vectors lie in one
octant, so that their angles are about half as large. Their tables can be compared with
`legacy_adashare_...` only, and MTAN's with neither. Even so a model trained on true normals is at a
disadvantage there, since the best constant code need not be the code of a unit vector (18.9 instead
of 22.3 degrees on the four published samples of NYUv2).
"""

import torch
from torch import Tensor

from recmtl.vision.metrics.sums import PooledMean, PooledMedian, valid_pixels

__all__ = ["DepthMeter", "NormalsMeter", "RegressionMeter"]

STEP = 1.25
POWERS = (1, 2, 3)
MEANS = ("abs", "rel", "sq_rel")


class DepthMeter:
    """Errors of depth over the valid pixels of the whole set; p is the prediction, g the truth.

    - `abs` = mean |p - g|; `rel` = mean |p - g| / g; `sq_rel` = mean (p - g)^2 / g; `rmse`.
    - `delta1`, `delta2`, `delta3`: share of the pixels with max(p/g, g/p) < 1.25^k. A p that is not
      positive is a miss.

    Pixels with g = 0 count in `abs` and `rmse` only. Tables print the rel of Cityscapes times 100.

    And as published code computes them:

    - `legacy_mtan_abs`, `legacy_mtan_rel`: means of batch means (MTAN, CAGrad, Nash-MTL, FAMO).
    - `legacy_libmtl_abs`, `..._rel`, `..._sq_rel`: batch means weighted by images (LibMTL,
      AdaShare).
    - `legacy_adashare_delta1`, `..._delta2`, `..._delta3`: <= instead of <, and a negative p is a
      hit.
    - `legacy_astmt_rmse`: the RMSE of every image, averaged over the images.
    """

    def __init__(self) -> None:
        self._means = {name: PooledMean() for name in MEANS}
        self._square, self._image_rmse = PooledMean(), PooledMean()
        self._deltas = [PooledMean() for _ in POWERS]
        self._legacy_deltas = [PooledMean() for _ in POWERS]

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add depths [B, 1, H, W] and their truth, NaN where unknown."""
        images, is_known = len(target), ~torch.isnan(target)
        p, g = prediction[is_known].double(), target[is_known].double()
        error = (p - g).abs()
        self._means["abs"].add(error, images)
        self._square.add(error**2, images)
        for image in range(images):
            square = ((prediction[image] - target[image]).double() ** 2)[is_known[image]]
            if square.numel():
                self._image_rmse.add(square.mean().sqrt()[None], 1)
        p, g, error = p[g > 0], g[g > 0], error[g > 0]
        self._means["rel"].add(error / g, images)
        self._means["sq_rel"].add(error**2 / g, images)
        ratio = torch.maximum(p / g, g / p)
        for power, true, legacy in zip(POWERS, self._deltas, self._legacy_deltas, strict=True):
            true.add(((p > 0) & (ratio < STEP**power)).double(), images)
            legacy.add((ratio <= STEP**power).double(), images)

    def result(self) -> dict[str, float]:
        """The metrics; NaN without a valid pixel."""
        metrics = {name: mean.value for name, mean in self._means.items()}
        metrics["rmse"] = self._square.value**0.5
        metrics |= {f"delta{k}": m.value for k, m in zip(POWERS, self._deltas, strict=True)}
        metrics |= {f"legacy_mtan_{k}": self._means[k].mean_of_batches for k in ("abs", "rel")}
        metrics |= {f"legacy_libmtl_{k}": m.weighted_by_images for k, m in self._means.items()}
        legacy = zip(POWERS, self._legacy_deltas, strict=True)
        metrics |= {f"legacy_adashare_delta{k}": mean.value for k, mean in legacy}
        return metrics | {"legacy_astmt_rmse": self._image_rmse.value}


class RegressionMeter:
    """`abs` = mean |p - g| and `rmse` over the valid values of the whole set.

    `legacy_adashare_abs`: batch means weighted by images, as in AdaShare for keypoints and edges.
    """

    def __init__(self) -> None:
        self._error, self._square = PooledMean(), PooledMean()

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add maps [B, C, H, W] and their truth, NaN where unknown."""
        is_known = ~torch.isnan(target)
        error = (prediction[is_known].double() - target[is_known].double()).abs()
        self._error.add(error, len(target))
        self._square.add(error**2, len(target))

    def result(self) -> dict[str, float]:
        """The metrics; NaN without a valid value."""
        return {
            "abs": self._error.value,
            "rmse": self._square.value**0.5,
            "legacy_adashare_abs": self._error.weighted_by_images,
        }


LIMITS = (11.25, 22.5, 30.0, 45.0)
"""Angles in degrees of the shares `within_...`."""
TOP_CODE = 255


class NormalsMeter:
    """Angles in degrees between predicted and true normals, over the valid pixels of the set.

    `mean`, `median` (exact to 0.0002 degrees), `rmse`, and `within_11.25`, `_22.5`, `_30`, `_45`:
    the share of the pixels with a smaller angle. Predictions are scaled to unit length first.

    And as published code computes them:

    - `legacy_mtan_...`: mean, median and shares of every batch, averaged over the batches. This
      "median" is a mean of medians and depends on the batch size (2 in the published runs).
    - `legacy_adashare_...`: pooled angles between codes instead of normals, with <= for the shares.
    """

    def __init__(self) -> None:
        self._true, self._codes = _AngleStatistics(), _AngleStatistics(inclusive=True)
        self._batch_median = PooledMean()

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add normals [B, 3, H, W] of any length and true unit normals, NaN where unknown."""
        is_known = ~torch.isnan(target).any(1)
        p, g = valid_pixels(prediction, is_known), valid_pixels(target, is_known)
        p = torch.nn.functional.normalize(p, dim=1)
        angles = _degrees(p, g)
        self._true.add(angles, len(target))
        if len(angles):
            self._batch_median.add(_median(angles)[None], len(target))
        has_valid_code = (((g + 1) * 127.5).round() < TOP_CODE).all(1)
        codes = (torch.nn.functional.normalize(v[has_valid_code] + 1, dim=1) for v in (p, g))
        self._codes.add(_degrees(*codes), len(target))

    def result(self) -> dict[str, float]:
        """The metrics; NaN without a valid pixel."""
        by_batch = {
            "mean": self._true.error.mean_of_batches,
            "median": self._batch_median.mean_of_batches,
        }
        by_batch |= {f"within_{k:g}": m.mean_of_batches for k, m in self._true.shares.items()}
        legacy = self._codes.result()
        return {
            **self._true.result(),
            **{f"legacy_mtan_{name}": value for name, value in by_batch.items()},
            **{f"legacy_adashare_{name}": value for name, value in legacy.items()},
        }


class _AngleStatistics:
    """Mean, median, RMSE and shares of angles; the shares count `limit` itself if inclusive."""

    def __init__(self, *, inclusive: bool = False) -> None:
        self._inclusive = inclusive
        self.error, self._square, self._median = PooledMean(), PooledMean(), PooledMedian()
        self.shares = {limit: PooledMean() for limit in LIMITS}

    def add(self, angles: Tensor, images: int) -> None:
        self.error.add(angles, images)
        self._square.add(angles**2, images)
        self._median.add(angles)
        for limit, share in self.shares.items():
            inside = angles <= limit if self._inclusive else angles < limit
            share.add(inside.double(), images)

    def result(self) -> dict[str, float]:
        return {
            "mean": self.error.value,
            "median": self._median.value,
            "rmse": self._square.value**0.5,
            **{f"within_{limit:g}": share.value for limit, share in self.shares.items()},
        }


def _degrees(a: Tensor, b: Tensor) -> Tensor:
    """Angles [N] between unit vectors [N, 3]."""
    return torch.rad2deg(torch.acos((a * b).sum(1).clamp(-1, 1)))


def _median(values: Tensor) -> Tensor:
    """The middle of the two middle values, as in numpy; `torch.median` returns the lower one."""
    low, high = (len(values) - 1) // 2, len(values) // 2
    return (values.kthvalue(low + 1).values + values.kthvalue(high + 1).values) / 2
