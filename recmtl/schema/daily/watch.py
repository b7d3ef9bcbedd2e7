"""From when on a day differs too much from the training."""

from typing import Annotated

from pydantic import Field

from recmtl.errors import SchemaError
from recmtl.schema.settings import SHARE, settings

__all__ = ["WatchLimits"]

ABOVE_0 = Field(gt=0, le=1000)


@settings(SchemaError)
class WatchLimits:
    """Limits of `recmtl monitor`, each over what chance explains.

    Attributes:
        unknown: growth of the share of a feature's values without a known id.
        features: population stability index of a feature.
        scores: population stability index of a scored column.
        calibration: how far the mean prediction may be from the mean label, as a share of it.
        auc: fall of the AUC of a binary task, and of its GAUC.
        loss: growth of the RMSE of a regression, and of the log loss of classes, as a share of it.
        ignore: features that may differ.
    """

    unknown: Annotated[float, SHARE] = 0.1
    features: Annotated[float, ABOVE_0] = 0.25
    scores: Annotated[float, ABOVE_0] = 0.25
    calibration: Annotated[float, ABOVE_0] = 0.2
    auc: Annotated[float, SHARE] = 0.03
    loss: Annotated[float, ABOVE_0] = 0.2
    ignore: tuple[str, ...] = ()
