"""What MLflow is told of a bundle: the columns that it takes and gives, and rows as an example.

Every input column is optional and of any type in MLflow's words. Its own types would refuse or
change what a log has: whole numbers with a missing one, decimals, a frame whose prices happen to be
whole, dates with a zone. `recmtl.serve.request_rows` turns what comes into the fitted types, which
the model's metadata name.
"""

from typing import Any

import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema
from mlflow.types.schema import AnyType

from recmtl.serve.bundle.bundle import Bundle
from recmtl.serve.request_rows import json_rows

__all__ = ["input_example", "input_types", "signature"]

EXAMPLE_ROWS = 5
ANY = AnyType()  # type: ignore[no-untyped-call]  # MLflow leaves it untyped


def signature(bundle: Bundle) -> ModelSignature:
    """Optional columns of any type in, scored columns out."""
    inputs = [ColSpec(ANY, name, required=False) for name in bundle.input_types]
    scored = [ColSpec(DataType.float, name) for name in bundle.model.columns]
    return ModelSignature(Schema(inputs), Schema(scored))  # type: ignore[arg-type]  # a list of both


def input_types(bundle: Bundle) -> dict[str, Any]:
    """The fitted type of every input column, as people read it, for the model's metadata."""
    return {name: str(kind) for name, kind in bundle.input_types.items()}


def input_example(bundle: Bundle) -> pd.DataFrame:
    """A few golden rows, as a request in JSON holds them."""
    return json_rows(bundle.golden.slice(0, EXAMPLE_ROWS))
