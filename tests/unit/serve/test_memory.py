"""Scoring holds a bounded number of rows, however many there are."""

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.unit.serve.shop import make_bundle, make_log

PEAK = """
import resource, sys
from recmtl.serve import Scorer, score_parquet
score_parquet(Scorer.load(sys.argv[1]), sys.argv[2], sys.argv[3], part_rows=20_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def test_a_file_twice_as_large_takes_the_same_memory(tmp_path: Path) -> None:
    bundle, part = make_bundle(tmp_path / "bundle"), make_log(20_000)
    peaks = []
    for times in (5, 10):
        path = tmp_path / f"{times}.parquet"
        # One row group of all rows: not even that may be held at once.
        pq.write_table(pa.concat_tables([part] * times), path, row_group_size=10**7)
        command = [sys.executable, "-c", PEAK, str(bundle), str(path), str(tmp_path / f"o{times}")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout))
    assert peaks[1] - peaks[0] < 25, f"peaks in MB: {peaks}"
