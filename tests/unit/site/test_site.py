"""The documentation site: docstrings become reStructuredText, public modules have a page."""

import importlib
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[3]


def part(name: str) -> ModuleType:
    """A module of docs/recmtl_docs, which is no installed package."""
    path = ROOT / "docs" / "recmtl_docs" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"recmtl_docs_{name}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


docstrings, api_pages = part("docstrings"), part("api_pages")


@pytest.mark.parametrize(
    ("line", "converted"),
    [
        ("Maps `[B, S, *F]` to rows.", "Maps ``[B, S, *F]`` to rows."),
        ("The product a * b of |x|.", r"The product a \* b of \|x\|."),
        ("Names that end in _logit or mean_ of x.", r"Names that end in _logit or mean\_ of x."),
        ("Many `Route`s.", r"Many ``Route``\ s."),
        ("* first `a*b`", "- first ``a*b``"),
        ("- a * b", r"- a \* b"),
        ("Already ``code``.", "Already ``code``."),
    ],
)
def test_prose_keeps_its_stars_and_its_code(line: str, converted: str) -> None:
    assert docstrings.rst([line]) == [converted]


def test_a_block_that_is_indented_after_an_empty_line_is_literal() -> None:
    text = ["A layer computes", "", "    y = a * b", "    z = |y|", "", "and *more*."]
    expected = ["A layer computes", "", "::", "", "    y = a * b", "    z = |y|", ""]
    assert docstrings.rst(text) == [*expected, r"and \*more\*."]


def test_a_section_is_no_block_and_a_block_within_it_is_one() -> None:
    text = ["Args:", "    a: one * two", "        and more.", "", "    b: other."]
    assert docstrings.rst(text) == [
        "Args:",
        r"    a: one \* two",
        "        and more.",
        "",
        "    b: other.",
    ]


def test_examples_and_tables_stay_as_they_are() -> None:
    example = [">>> f(*rows)  # `rows`", "'a*b'", ""]
    table = ["===  ===", "a    `b*c`", "===  ==="]
    assert docstrings.rst([*example, *table]) == [*example, *table]


def test_every_public_module_stands_on_one_page(tmp_path: Path) -> None:
    for name in ("recmtl", "pyproject.toml"):
        (tmp_path / name).symlink_to(ROOT / name)
    api_pages.write(tmp_path)
    folder = tmp_path / "docs" / "reference" / "api"
    text = "\n".join(file.read_text(encoding="utf-8") for file in folder.glob("*.md"))
    shown = [line.split()[-1] for line in text.splitlines() if line.startswith(".. automodule::")]
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in (ROOT / "recmtl").rglob("*.py")
        if not path.name.startswith("_") or path.name == "__init__.py"
    }
    assert sorted(shown) == sorted(modules - {"recmtl"})
    pages = {file.stem for file in folder.glob("*.md")} - {"index"}
    assert all(f"\n{page}\n" in (folder / "index.md").read_text() for page in pages)


def test_a_page_of_a_folder_that_is_gone_goes_and_others_are_left_alone(tmp_path: Path) -> None:
    for name in ("recmtl", "pyproject.toml"):
        (tmp_path / name).symlink_to(ROOT / name)
    api_pages.write(tmp_path)
    folder = tmp_path / "docs" / "reference" / "api"
    (folder / "gone.md").write_text("# gone\n")
    before = (folder / "grid.md").stat().st_mtime_ns
    api_pages.write(tmp_path)
    assert not (folder / "gone.md").exists()
    assert (folder / "grid.md").stat().st_mtime_ns == before


def test_a_face_links_its_names_to_where_they_are_defined() -> None:
    homes = api_pages._homes(ROOT, "recmtl.serve")
    assert homes["Scorer"] == "recmtl.serve.scoring.scorer.Scorer"
    for home in homes.values():
        module, _, name = home.rpartition(".")
        assert hasattr(importlib.import_module(module), name)
        assert sys.modules[module].__file__ is not None


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("sphinx")
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-q",
        "-W",
        "--keep-going",
        "-d",
        str(tmp_path / "d"),
    ]
    folders = ["-c", "docs", ".", str(tmp_path / "site")]
    built = subprocess.run([*command, *folders], cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    assert (tmp_path / "site" / "docs" / "index.html").is_file()
