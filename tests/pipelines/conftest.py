"""One small run of the whole job, which several tests look at."""

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from recmtl.command.main import main
from recmtl.simulate import simulate

SCHEMA = Path(__file__).resolve().parents[2] / "datasets" / "simulated" / "schema.yaml"
CONFIG = """
sizes: {embedding: 4, tower: [8]}
grid: {cells: 3, depth: 2, widths: [8], max_edges: 2}
training: {batch_size: 512, epochs: 1}
search: {epochs: 1, candidates: 2}
evidence: {seeds: 1, control_seeds: 1, bootstrap: 20}
threads: 1
workers: 1
rank_by: p_click_and_purchase
"""
TINY = """
sizes: {embedding: 4, tower: [8]}
grid: {cells: 5, depth: 1, widths: [8], max_edges: 2}
training: {batch_size: 512, epochs: 1}
search: {epochs: 1, refine: 0, candidates: 2, race: false}
evidence: {seeds: 1, control_seeds: 1, controls: [], baselines: [logistic], bootstrap: 20,
           ablation_seeds: 0}
workers: 1
"""
"""Of examples and notebooks: hardly a search, and no proof."""


@dataclass(frozen=True)
class Done:
    """A finished job: its arguments, its output folder, and what it printed."""

    arguments: list[str]
    out: Path
    printed: str

    def again(self) -> str:
        """Run the same job once more; returns what it printed."""
        return run_main(self.arguments)


def run_main(arguments: list[str]) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert main(["run", *arguments]) == 0
    return printed.getvalue()


@pytest.fixture(scope="module")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A tracking store of this module's own, whatever the environment names."""
    folder = tmp_path_factory.mktemp("tracking")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"):
            patch.delenv(name, raising=False)
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        patch.chdir(folder)
        yield uri


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, tracking: str) -> Done:
    """The job on a simulated log of 6,000 rows with tiny networks."""
    folder = tmp_path_factory.mktemp("job")
    simulate(folder / "log.parquet", 6000, users=300, items=150, row_group_rows=1500)
    (folder / "config.yaml").write_text(CONFIG)
    arguments = ["--data", str(folder / "log.parquet"), "--schema", str(SCHEMA)]
    arguments += ["--config", str(folder / "config.yaml"), "--out", str(folder / "out")]
    return Done(arguments, folder / "out", run_main(arguments))
