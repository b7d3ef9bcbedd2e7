"""What all tests share: seeds, one thread, the opt-in for slow tests, the way to the real data."""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import recmtl as recmtl  # says how threads wait, before torch and lightgbm load

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MPLBACKEND", "Agg")

import hypothesis
import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
DEFAULT_DATA = ROOT.parent / "shared" / "data"

torch.set_num_threads(1)
hypothesis.settings.register_profile("fixed", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("fixed")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --runslow, --chaos and --kills."""
    parser.addoption("--runslow", action="store_true", help="run tests marked slow as well")
    parser.addoption("--chaos", action="store_true", help="run the long suites of tests/chaos")
    kills = "kills of the whole main job in tests/chaos/test_whole_job.py (10)"
    parser.addoption("--kills", type=int, default=10, help=kills)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip slow and chaos tests unless asked for; mark those that use the real data."""
    slow = pytest.mark.skip(reason="slow: runs with --runslow")
    chaos = pytest.mark.skip(reason="chaos: runs with --chaos (make chaos)")
    for item in items:
        if "real_data" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.real_data)
        if item.get_closest_marker("slow") and not config.getoption("--runslow"):
            item.add_marker(slow)
        if item.get_closest_marker("chaos") and not config.getoption("--chaos"):
            item.add_marker(chaos)


@pytest.fixture(autouse=True)
def fixed_seeds() -> None:
    """The same random numbers in every test, whatever ran before it."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture
def in_float64() -> Iterator[None]:
    """Tensors are made in float64."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Converted files of tests lie in a folder of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECMTL_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the real data sets; skips the test where there is none."""
    folder = Path(os.environ.get("RECMTL_DATA") or DEFAULT_DATA)
    if not folder.is_dir():
        pytest.skip(
            "no real data: set RECMTL_DATA to the folder that holds census_income and others"
        )
    return folder
