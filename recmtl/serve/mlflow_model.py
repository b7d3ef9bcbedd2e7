"""The scorer behind MLflow's interface. MLflow runs this file when it loads the model.

`recmtl.tracking` logs it as a "model from code", so no object is pickled, and logs the bundle
beside it as an artifact. recmtl must be installed where the model is loaded.
"""

from typing import Any

import mlflow
import pandas as pd
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from recmtl.serve.scoring.scorer import Scorer

__all__ = ["BUNDLE", "ScorerModel"]

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
        """Score rows; an input column that is left out counts as missing in every row."""
        absent = [name for name in self.scorer.input_columns if name not in model_input.columns]
        frame = model_input.assign(**dict.fromkeys(absent)) if absent else model_input
        scores: pd.DataFrame = self.scorer.score(frame)
        return scores


mlflow.models.set_model(ScorerModel())
