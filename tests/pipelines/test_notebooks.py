"""The notebooks of examples/ run from the first cell to the last, with tiny networks."""

import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "docs"))

from recmtl_docs.notebooks import run_notebook  # noqa: E402

from tests.pipelines.conftest import TINY  # noqa: E402

NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
PARAMETERS = 'import recmtl\nrows = 2_500\nsettings = {"config": "tiny.yaml"}'


def test_there_are_notebooks_and_the_readme_lists_them() -> None:
    readme = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    assert len(NOTEBOOKS) >= 2
    assert all(f"({path.name})" in readme for path in NOTEBOOKS)


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_top_to_bottom(path: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    notebook = run_notebook(path, tmp_path, parameters=PARAMETERS)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    (report,) = tmp_path.glob("runs/*/report.html")
    assert report.stat().st_size > 10_000


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_a_notebook_shows_is_kept_with_it(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in cells), "make notebooks"
    assert not any(o.get("name") == "stderr" for cell in cells for o in cell.outputs)
    assert sum(bool(cell.outputs) for cell in cells) > len(cells) / 2
