"""Days that are added to the bundles of release 0.1, and jobs on them."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from recmtl.daily.parent import open_parent, settings_of
from recmtl.job.handed_on import JobContext
from recmtl.job.open_job import open_job
from recmtl.train.loop import OnProgress, silent

RELEASED = Path(__file__).resolve().parents[2] / "data" / "bundles" / "0.1"
CONFIG = """
grid: {cells: 3, depth: 2, widths: [8], max_edges: 2}
training: {batch_size: 64, epochs: 2, save_every: 2}
search: {epochs: 1, candidates: 2, refine: 0, race: false}
evidence: {bootstrap: 20}
"""

OpenJob = Callable[..., AbstractContextManager[JobContext]]


def rows_of_days(count: int, seed: int = 0, new_users: int = 0) -> pa.Table:
    """Rows like the golden ones of the bundles, some of them by users that are new."""
    random = np.random.default_rng(seed)
    golden = pa.ipc.open_file(RELEASED / "grid.arrow").read_all()
    inputs = golden.select([n for n in golden.schema.names if not n.startswith("expected:")])
    rows = inputs.take(pa.array(random.integers(0, golden.num_rows, count)))
    users = rows["user_id"].to_pylist()
    if new_users:
        known = next(type(user) for user in users if user is not None)
        for row in random.choice(count, count // 3, replace=False):
            users[row] = known(90_000 + int(random.integers(new_users)))
    taste = np.sin([hash_of(user) for user in users])
    clicked = random.random(count) < 1 / (1 + np.exp(-2 * taste))
    labels = {
        "clicked": clicked.astype(np.int64),
        "bought": (clicked & (random.random(count) < 0.4)).astype(np.int64),
        "watch_s": np.exp(random.normal(size=count) + taste),
        "stars": random.integers(1, 4, count),
        "request": random.integers(0, count // 4, count),
    }
    place = rows.schema.names.index("user_id")
    rows = rows.set_column(place, "user_id", pa.array(users, rows.schema.field("user_id").type))
    for name, values in labels.items():
        rows = rows.append_column(name, pa.array(values))
    return rows


def hash_of(value: int | str) -> int:
    return sum(str(value).encode())


@pytest.fixture
def days(tmp_path: Path) -> Path:
    """Added days with new users."""
    pq.write_table(rows_of_days(600, new_users=5), tmp_path / "days.parquet")
    return tmp_path / "days.parquet"


@pytest.fixture
def job_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OpenJob:
    """Opens an update of a bundle by days, in a folder."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    (tmp_path / "config.yaml").write_text(CONFIG)

    @contextmanager
    def opened(
        parent: Path, data: Path, out: Path, on_progress: OnProgress = silent
    ) -> Iterator[JobContext]:
        settings = settings_of(open_parent(parent), config=tmp_path / "config.yaml")
        with open_job(
            data=data,
            out=out,
            console=Console(quiet=True),
            on_progress=on_progress,
            **settings,
        ) as job:
            yield job

    return opened
