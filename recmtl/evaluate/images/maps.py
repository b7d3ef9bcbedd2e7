"""Meters of maps of numbers: depth, and any other regression by pixel."""

import torch
from torch import Tensor

from recmtl.evaluate.images.sums import Mean

__all__ = ["DepthMeter", "RegressionMeter"]

STEP = 1.25
POWERS = (1, 2, 3)
MEANS = ("abs", "rel", "sq_rel")


class DepthMeter:
    """Errors of depth over the valid pixels of the whole set; p is predicted, g the truth.

    `abs` = mean |p - g|; `rel` = mean |p - g| / g; `sq_rel` = mean (p - g)^2 / g; `rmse`;
    `delta1..3` = share of pixels with max(p/g, g/p) < 1.25^k, where a p that is not positive is a
    miss. Pixels with g = 0 count in `abs` and `rmse` only. Cityscapes' rel is printed times 100.

    Beside them, as published code computes them:
    `legacy_mtan_abs`, `legacy_mtan_rel`: means of batch means (MTAN, CAGrad, Nash-MTL, FAMO).
    `legacy_libmtl_abs`, `..._rel`, `..._sq_rel`: batch means weighted by images (LibMTL; AdaShare).
    `legacy_adashare_delta1..3`: <= in place of <, and a negative p counts as a hit.
    `legacy_astmt_rmse`: the mean over images of each image's own RMSE.
    """

    def __init__(self) -> None:
        self._means = {name: Mean() for name in MEANS}
        self._square, self._image_rmse = Mean(), Mean()
        self._deltas = [Mean() for _ in POWERS]
        self._legacy_deltas = [Mean() for _ in POWERS]

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add depths [B, 1, H, W] and their truth, NaN where unknown."""
        images, known = len(target), ~torch.isnan(target)
        p, g = prediction[known].double(), target[known].double()
        error = (p - g).abs()
        self._means["abs"].add(error, images)
        self._square.add(error**2, images)
        for image in range(images):
            square = ((prediction[image] - target[image]).double() ** 2)[known[image]]
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
        found = {name: mean.pooled for name, mean in self._means.items()}
        found["rmse"] = self._square.pooled**0.5
        found |= {f"delta{k}": m.pooled for k, m in zip(POWERS, self._deltas, strict=True)}
        found |= {f"legacy_mtan_{k}": self._means[k].of_batches for k in ("abs", "rel")}
        found |= {f"legacy_libmtl_{k}": mean.by_images for k, mean in self._means.items()}
        legacy = zip(POWERS, self._legacy_deltas, strict=True)
        found |= {f"legacy_adashare_delta{k}": mean.pooled for k, mean in legacy}
        return found | {"legacy_astmt_rmse": self._image_rmse.pooled}


class RegressionMeter:
    """`abs` = mean |p - g| and `rmse` over the valid values of the whole set.

    `legacy_adashare_abs`: batch means weighted by images, as AdaShare reports keypoints and edges.
    """

    def __init__(self) -> None:
        self._error, self._square = Mean(), Mean()

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add maps [B, C, H, W] and their truth, NaN where unknown."""
        known = ~torch.isnan(target)
        error = (prediction[known].double() - target[known].double()).abs()
        self._error.add(error, len(target))
        self._square.add(error**2, len(target))

    def result(self) -> dict[str, float]:
        """The metrics; NaN without a valid value."""
        return {
            "abs": self._error.pooled,
            "rmse": self._square.pooled**0.5,
            "legacy_adashare_abs": self._error.by_images,
        }
