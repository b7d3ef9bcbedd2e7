"""The formulas of the guide to Spark, held against what they size."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from recmtl.data.columns.numeric import TERMS, Moments
from recmtl.data.columns.vocabulary import Vocabulary
from recmtl.data.columns.vocabulary_file import write_values
from recmtl.data.encoded_log import row_bytes
from recmtl.data.statistics.keyed_sums import cells_table

GUIDE = Path(__file__).resolve().parents[3] / "docs" / "guides" / "spark.md"


@pytest.fixture(scope="module")
def guide() -> str:
    return " ".join(GUIDE.read_text(encoding="utf-8").split())


@pytest.mark.parametrize(("ids", "numbers", "labels"), [(24, 0, 2), (1, 1, 1), (30, 12, 7)])
def test_a_row_of_an_encoded_log(ids: int, numbers: int, labels: int, guide: str) -> None:
    assert "4 x (ids + numbers + labels) + 20" in guide
    widths = {"ids": ids, "numeric": numbers, "labels": labels}
    assert row_bytes(widths) == 4 * (ids + numbers + labels) + 20


@pytest.mark.parametrize("letters", [5, 20])
def test_an_id_on_disk(letters: int, guide: str, tmp_path: Path) -> None:
    assert "16 + letters" in guide
    texts = pc.utf8_lpad(pa.array(np.arange(50_000)).cast(pa.string()), letters, "0")
    values = texts.cast(pa.large_string())
    vocabulary = Vocabulary("id", "string", 1, None, values, np.ones(50_000, np.int64))
    write_values(tmp_path / "vocabularies.arrow", [vocabulary])
    size = (tmp_path / "vocabularies.arrow").stat().st_size
    assert size / 50_000 == pytest.approx(16 + letters, rel=0.02)


def test_a_key_and_period_of_statistics(guide: str) -> None:
    assert "8 x (2 + sums)" in guide
    cells = cells_table(
        np.arange(100, dtype=np.uint64), np.arange(100), np.zeros((100, 3), np.int64), "abc"
    )
    assert cells.nbytes == 100 * 8 * (2 + 3)


def test_the_moments_of_a_batch(guide: str) -> None:
    assert "48 a number for each 65,536 rows" in guide
    moments = Moments()
    for _ in range(7):
        moments.add(np.arange(65_536.0))
    assert len(moments._terms) * moments._terms.itemsize == 7 * 48 == 7 * 8 * TERMS
