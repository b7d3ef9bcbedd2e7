"""A cluster of two executors, one of which is killed while it encodes: the log is the same."""

import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from recmtl.data.prepare import prepare
from recmtl.engines.spark import SparkEngine
from recmtl.schema import load_schema
from recmtl.simulate import simulate
from tests.chaos.local_spark import local_spark
from tests.unit.engines.pieces import differing_files
from tests.unit.engines.test_equal_logs import SIMULATED


def executors() -> list[int]:
    """The executors below this process."""
    lines = subprocess.run(
        ["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True
    )
    processes = [line.split(None, 2) for line in lines.stdout.splitlines()[1:]]
    mine, before = {os.getpid()}, 0
    while len(mine) > before:
        before = len(mine)
        mine |= {int(pid) for pid, parent, _ in processes if int(parent) in mine}
    return [
        int(pid)
        for pid, _, command in processes
        if int(pid) in mine and "CoarseGrainedExecutorBackend" in command
    ]


@pytest.mark.slow
def test_a_killed_executor_changes_no_byte(tmp_path: Path) -> None:
    simulate(tmp_path / "plain.parquet", 30_000, seed=1)
    table = pq.read_table(tmp_path / "plain.parquet")
    pq.write_table(table, tmp_path / "log.parquet", row_group_size=1000)
    schema = load_schema(SIMULATED)
    prepare(tmp_path / "log.parquet", schema, tmp_path / "whole")
    killed: list[int] = []

    def kill_one() -> None:
        while not list(tmp_path.glob(".spark.partial/unfinished/*-*.json")):
            time.sleep(0.05)
        killed.extend(executors()[:1])
        os.kill(killed[0], signal.SIGKILL)

    with local_spark("local-cluster[2,1,1024]"):
        killer = threading.Thread(target=kill_one, daemon=True)
        killer.start()
        log = prepare(
            tmp_path / "log.parquet", schema, tmp_path / "spark", engine=SparkEngine(pieces=30)
        )
    assert killed
    assert sum(log.manifest["rows"].values()) == 30_000
    assert differing_files(tmp_path / "whole", tmp_path / "spark") == []
