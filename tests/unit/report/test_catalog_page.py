"""The catalog's page in the documentation is the one that the code writes."""

import runpy
import sys
from pathlib import Path

import pytest

from recmtl.grid.catalog import CATALOG
from recmtl.report.catalog_page import catalog_page

PAGE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "catalog.md"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == catalog_page(), (
        "python -m recmtl.report.catalog_page > docs/reference/catalog.md"
    )


def test_the_command_writes_the_page(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "recmtl.report.catalog_page", raising=False)
    runpy.run_module("recmtl.report.catalog_page", run_name="__main__")
    assert capsys.readouterr().out == catalog_page()


def test_every_entry_has_a_row_and_a_drawing() -> None:
    page = catalog_page()
    for name in CATALOG:
        assert page.count(f"\n| [{name}](#{name}) |") == 1
        assert page.count(f"\n## {name}\n") == 1
    assert page.count("```text\n") == len(CATALOG)


def test_a_row_says_what_the_layout_says() -> None:
    (row,) = (line for line in catalog_page().splitlines() if line.startswith("| [ple]"))
    assert "| 1 → 4 → 3 | 5 → 5 | the input, then its lane | 3 or 5 of 5, then 3 of 5 |" in row
    assert "| softmax(input), then softmax(lane) | 1 | 1 |" in row
