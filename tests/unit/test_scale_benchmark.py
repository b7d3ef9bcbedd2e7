"""The benchmark of scale: its log is what it says, and its page judges the growth of memory."""

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from benchmarks.scale import simulated
from benchmarks.scale.page import STEPS, page


def size(rows: int, peak: float) -> dict[str, Any]:
    step = {"rows": rows, "wall_s": 120.0, "cpu_s": 100.0, "peak_mb": peak}
    return {**dict.fromkeys(STEPS, step), "disk_mb": {"log": 1.0, "encoded": 2.0, "scores": 3.0}}


@pytest.mark.parametrize(("longest", "verdict"), [(430.0, "reached"), (450.0, "missed")])
def test_the_page_judges_growth(longest: float, verdict: str) -> None:
    sizes = {"50000000": size(50_000_000, longest), "1000000": size(1_000_000, 400.0)}
    text = page({"sizes": sizes, "processor": "a processor"})
    assert "| 50 | " + f"{longest:,.0f} | 500 | 417 | 2.0 |" in text
    assert text.count(f"{longest / 400.0:.2f} times as high") == len(STEPS)
    assert text.replace("\n", " ").count(f"1.1: {verdict}.") == len(STEPS)
    assert text.index("| 1 | 400 |") < text.index("| 50 |")


def test_held_out_rows_do_not_grow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulated, "FILE_ROWS", 1000)
    monkeypatch.setattr(simulated, "HELD_OUT", 100)
    table = pq.read_table(simulated.write(tmp_path, 2500))
    parts = Counter(table["part"].to_pylist())
    assert parts == {"train": 2300, "validation": 100, "test": 100}
    assert set(simulated.schema().columns()) == set(table.column_names)
