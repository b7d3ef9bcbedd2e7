"""The profile of a log: every column in its part, what it holds, and nothing that runs."""

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recmtl.data.describe import described
from recmtl.report.profile_page import profile_page, write_profile_page

ROWS = 300


class Cells(HTMLParser):
    """The rows of the tables, as texts."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.is_inside = False

    def handle_endtag(self, tag: str) -> None:
        self.is_inside = self.is_inside and tag not in ("td", "th")

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self.is_inside = True

    def handle_data(self, data: str) -> None:
        if self.is_inside:
            self.rows[-1][-1] += data.strip()


def page_of(tmp_path: Path, **columns: Any) -> str:
    pq.write_table(pa.table(columns), tmp_path / "log.parquet")
    return profile_page(described(str(tmp_path / "log.parquet")))


def rows_of(page: str) -> dict[str, list[str]]:
    parser = Cells()
    parser.feed(page)
    return {row[0]: row[1:] for row in parser.rows if row}


def test_every_column_is_shown_with_what_it_holds(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows = rows_of(
        page_of(
            tmp_path,
            click=np.arange(ROWS) % 4 == 0,
            price=np.where(np.arange(ROWS) % 10 == 0, np.nan, np.linspace(1, 3, ROWS)),
            city=["oslo"] * 225 + ["rome"] * 75,
            ts=np.arange(ROWS) + 10**9,
            same=[1] * ROWS,
            tags=[random.integers(0, 9, 2).tolist() for _ in range(ROWS)],
        )
    )
    assert rows["click"][:4] == ["true or false", "none", "2", "25.00% are 1"]
    assert rows["price"][:2] == ["numbers", "10.0%"]
    assert "median 2" in rows["price"][3] and len(rows["price"][4]) == 12
    assert rows["city"][3] == "oslo 75.0%, rome 25.0%"
    assert rows["tags"][3] == "2.0 a row"
    assert rows["ts"][-1].startswith("time: ")
    assert rows["same"][-1] == "constant"
    assert len(rows) >= 6


def test_names_and_values_of_a_stranger_cannot_run(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    page = page_of(tmp_path, click=[0, 1] * 50, **{evil: [evil, "<b>"] * 50})
    assert evil not in page and "<b>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_the_page_is_written_whole_and_says_how_much_it_saw(tmp_path: Path) -> None:
    pq.write_table(pa.table({"click": [0, 1] * 9, "x": range(18)}), tmp_path / "log.parquet")
    seen = described(str(tmp_path / "log.parquet"))
    write_profile_page(tmp_path / "page.html", seen)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "18 rows in one file; 2 columns, 2 of them without a gap." in page
    assert "of which the first" not in page
    for line in ("version: 1", "A draft to read and correct"):
        assert line in page
