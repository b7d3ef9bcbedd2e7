"""The scorer behind MLflow's interface. MLflow runs this file when it loads the model.

`recmtl.tracking` logs it as a "model from code", so no object is pickled, and logs the bundle
beside it as an artifact. recmtl must be installed where the model is loaded.
"""

from typing import Any

import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from recmtl.errors import RecmtlError
from recmtl.serve.request_rows import request_rows
from recmtl.serve.scoring.scorer import Scorer

__all__ = ["BUNDLE", "Refusal", "ScorerModel"]

BUNDLE = "bundle"


class ScorerModel(PythonModel):
    """Maps rows with a bundle's input columns to its scored columns, as `Scorer.score` does."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load and verify the bundle."""
        self.scorer = Scorer.load(context.artifacts[BUNDLE])

    def predict(
        self,
        context: PythonModelContext,
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Score rows; an input column that is left out counts as missing in every row.

        Raises:
            Refusal: the rows cannot be scored.
        """
        try:
            rows = request_rows(model_input, self.scorer.bundle.input_types)
            scores = self.scorer.scores(rows)
        except RecmtlError as error:
            raise Refusal(str(error)) from None
        index = model_input.index if len(model_input) == len(scores) else None
        return pd.DataFrame(scores, index=index, columns=list(self.scorer.columns))


class Refusal(MlflowException):
    """What is wrong with rows, in one line, which MLflow's server answers with status 400."""

    def __init__(self, message: str) -> None:
        super().__init__(message, INVALID_PARAMETER_VALUE)

    @property
    def message(self) -> str:
        """The line."""
        return str(self.args[0])

    @message.setter
    def message(self, text: str) -> None:
        """Nothing: MLflow sets it once more, to put all rows of the request before the line."""


mlflow.models.set_model(ScorerModel())
