"""Models that several contracts look at."""

import pytest

from tests.contracts.type_doors import USES
from tests.contracts.type_matrix import (
    Fitted,
    fitted_model,
)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Fitted]:
    """A model of every case and use."""
    folder = tmp_path_factory.mktemp("bundles")
    return [fitted_model(case, use, folder / f"{case.name} {use}") for case, use in USES]
