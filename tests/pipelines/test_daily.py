"""The examples for cron and Airflow, run as they stand: a first champion, an update, a backtest."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from mlflow.tracking import MlflowClient

from recmtl.serve.bundle import load_bundle
from recmtl.simulate import simulate
from tests.pipelines.conftest import SCHEMA, TINY

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "daily"
TWO_DAYS_MS = 2 * 86_400_000
NAMES = [f"2026-01-{day:02}" for day in range(1, 15, 2)]


class _Dag:
    """As much of Airflow as the example needs: tasks belong to the DAG that is open."""

    open: "_Dag"

    def __init__(self, name: str, *, schedule: str, **_: Any) -> None:
        self.name, self.schedule, self.tasks = name, schedule, dict[str, str]()

    def __enter__(self) -> "_Dag":
        _Dag.open = self
        return self

    def __exit__(self, *_: object) -> None:
        pass


def _operator(*, task_id: str, bash_command: str, cwd: str) -> None:
    assert cwd == "{{ var.value.recmtl_folder }}"
    _Dag.open.tasks[task_id] = bash_command


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The commands of the DAGs' tasks, by name."""
    airflow, bash = ModuleType("airflow"), ModuleType("airflow.operators.bash")
    airflow.DAG, bash.BashOperator = _Dag, _operator  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "airflow", airflow)
    monkeypatch.setitem(sys.modules, "airflow.operators", ModuleType("airflow.operators"))
    monkeypatch.setitem(sys.modules, "airflow.operators.bash", bash)
    spec = importlib.util.spec_from_file_location("airflow_dag", EXAMPLE / "airflow_dag.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {**module.update.tasks, **module.backtest.tasks}


@pytest.fixture
def folder(tmp_path: Path, tracking: str) -> Path:
    """What the head of `daily.sh` asks for: schema, configuration, a file a day."""
    simulate(tmp_path / "log.parquet", 4200, users=200, items=100)
    log = pq.read_table(tmp_path / "log.parquet")
    (tmp_path / "days").mkdir()
    first = pc.min(log["time_ms"]).as_py() // TWO_DAYS_MS * TWO_DAYS_MS
    for number, name in enumerate(NAMES):
        low = first + number * TWO_DAYS_MS
        rows = pc.and_(
            pc.greater_equal(log["time_ms"], low), pc.less(log["time_ms"], low + TWO_DAYS_MS)
        )
        pq.write_table(log.filter(rows), tmp_path / "days" / f"{name}.parquet")
    shutil.copy(EXAMPLE / "daily.sh", tmp_path)
    shutil.copy(SCHEMA, tmp_path / "schema.yaml")
    (tmp_path / "config.yaml").write_text(TINY.replace("baselines: [logistic]", "baselines: []"))
    return tmp_path


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    settings = {
        "MODEL": "simulated",
        "WINDOW": "5",
        "PERIOD": str(TWO_DAYS_MS),
        "RETIRE": str(90 * TWO_DAYS_MS),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(EXAMPLE.parents[1]),
    }
    environment = {**os.environ, **settings}
    return subprocess.run(
        ["sh", "-c", command], cwd=folder, env=environment, capture_output=True, text=True
    )


@pytest.mark.slow
def test_a_champion_is_kept_fresh_by_the_commands_of_the_examples(
    folder: Path, commands: dict[str, str], tracking: str
) -> None:
    day = NAMES[-1]
    later, days = folder / f"{day}.parquet", folder / "days"
    (days / later.name).rename(later)
    began = run("sh daily.sh first", folder)
    assert began.returncode == 0, began.stderr
    assert champion(tracking) == ("1", 1)

    # A day that cannot be learned from leaves the champion as it was, and no bundle.
    pq.write_table(without_clicks(pq.read_table(later)), folder / "days" / "empty.parquet")
    failed = run(commands["update"].replace("{{ ds }}", "empty"), folder)
    assert failed.returncode == 2 and "error: days/empty.parquet" in failed.stderr
    assert champion(tracking) == ("1", 1)
    assert not (folder / "runs" / "empty" / "bundle").exists()
    (days / "empty.parquet").unlink()

    later.rename(days / later.name)
    updated = run(commands["update"].replace("{{ ds }}", day), folder)
    assert updated.returncode == 0, updated.stderr
    assert "update 1:" in updated.stdout and "the wiring" in updated.stdout
    bundle, parent = (load_bundle(folder / "runs" / n / "bundle") for n in (day, "first"))
    assert bundle.lineage[0]["parent"] == parent.fingerprint
    tags = MlflowClient(tracking).get_model_version("simulated", "2").tags
    assert (tags["update.parent"], tags["update.number"]) == (parent.fingerprint, "1")
    is_promoted = tags["champion"].startswith("promoted")
    assert champion(tracking) == ("2" if is_promoted else "1", 2)

    tested = run(commands["backtest"].replace("{{ ds }}", "sunday"), folder)
    assert tested.returncode in (0, 3), tested.stderr
    results = json.loads((folder / "runs" / "backtest-sunday" / "backtest.json").read_text())
    assert len(results["days"]) == 2
    assert results["strategies"].keys() == {"frozen", "warm", "scratch"}
    behind = any(g["verdict"] == "hurt" for g in results["strategies"]["warm"]["gains"].values())
    assert tested.returncode == (3 if behind else 0)


def champion(tracking: str) -> tuple[str, int]:
    """The champion's version, and how many versions there are."""
    client = MlflowClient(tracking)
    versions = client.search_model_versions("name='simulated'")
    return str(client.get_model_version_by_alias("simulated", "champion").version), len(versions)


def without_clicks(rows: pa.Table) -> pa.Table:
    place = rows.schema.names.index("click")
    zeros = pa.array([0] * rows.num_rows, rows.schema.field("click").type)
    return rows.set_column(place, "click", zeros)
