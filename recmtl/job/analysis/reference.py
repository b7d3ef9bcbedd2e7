"""The test rows as a bundle scores them, with which it is watched later."""

import numpy as np

from recmtl.data.encoded_log import LogSplit
from recmtl.data.row_encoder import RowEncoder
from recmtl.job.handed_on import TrainedModels
from recmtl.model import TabularModel
from recmtl.serve.bundle.reference import Reference
from recmtl.serve.calibration.calibrators import Calibrators
from recmtl.serve.fixed_shape import FixedShapeModel

__all__ = ["bundle_reference", "reference_of"]


def reference_of(
    model: TabularModel,
    rows: LogSplit,
    *,
    encoder: RowEncoder,
    calibrators: Calibrators,
    encoded: LogSplit | None = None,
) -> Reference:
    """The reference of what is served.

    Args:
        model: what is served.
        rows: test rows, as the model reads them.
        encoder: the encoder of the bundle.
        calibrators: maps of the model's probabilities.
        encoded: the rows as `encoder` encodes them, where the model reads others.
    """
    encoded = rows if encoded is None else encoded
    scores = FixedShapeModel(model).scores(rows.ids, rows.numeric)
    calibrated = calibrators.apply(scores, np.asarray(encoded.ids))
    return Reference.of(encoded, encoder, scores=calibrated, columns=model.columns)


def bundle_reference(trained: TrainedModels, calibrators: Calibrators) -> Reference:
    """The reference of what a study serves."""
    return reference_of(
        trained.served,
        trained.served_problem.test,
        encoder=trained.encoder,
        calibrators=calibrators,
        encoded=trained.encoded("test"),
    )
