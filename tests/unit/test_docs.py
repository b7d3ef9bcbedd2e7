"""The pages keep what they promise: links lead somewhere, and the table of folders is true."""

import json
import re
import tomllib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from benchmarks import past, planted_sources, pruning, search_cost, vision, weighting
from benchmarks.recovery.__main__ import page_of, read
from benchmarks.scale.page import page as scale_page
from benchmarks.serving.page import page as serving_page
from benchmarks.speed.page import page as speed_page

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md") if (ROOT / name).is_file()),
    *sorted(page for page in ROOT.glob("docs/**/*.md") if page.parent.name != "api"),
    *sorted(ROOT.glob("datasets/**/README.md")),
    *sorted(ROOT.glob("examples/README.md")),
    *sorted(ROOT.glob("examples/*.ipynb")),
]
FENCE = re.compile(r"^(```|~~~).*?^\1", re.DOTALL | re.MULTILINE)
CODE = re.compile(r"`[^`\n]*`")
LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(\s*<?([^)\s>]+)>?[^)]*\)")


def text_of(page: Path) -> str:
    """The text of a page; of a notebook, its cells of Markdown."""
    text = page.read_text(encoding="utf-8")
    if page.suffix != ".ipynb":
        return text
    cells = json.loads(text)["cells"]
    return "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")


def prose(text: str) -> str:
    """A page without its fenced blocks and indented code, in which brackets are no links."""
    lines, code = [], False
    for line in FENCE.sub("", text).splitlines():
        # An indented block begins after an empty line, and within a list it is a paragraph.
        code = line.startswith("    ") and (code or not lines or not lines[-1].strip())
        lines.append("" if code else line)
    return "\n".join(lines)


def links(text: str) -> list[str]:
    """Where the links of a page lead, in order."""
    return LINK.findall(CODE.sub("", prose(text)))


def anchors(text: str) -> set[str]:
    """The fragments under which GitHub shows the headings of a page."""
    headings = re.findall(r"^#{1,6}\s+(.+?)\s*#*$", FENCE.sub("", text), re.MULTILINE)
    slugs, seen = set(), Counter[str]()
    for heading in headings:
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        slugs.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return slugs


def broken(page: Path, *, root: Path = ROOT) -> list[str]:
    """The relative links of a page that lead to no file, or to no heading of one."""
    dead = []
    for link in links(text_of(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, fragment = unquote(link).partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or root not in target.parents:
            dead.append(f"{link}: no such file")
        elif fragment and fragment not in anchors(text_of(target)):
            dead.append(f"{link}: no such heading")
    return dead


def table_of_folders() -> list[str]:
    """The folders in the architecture's table of rooms, in its order."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = text.split("## The rooms")[1].split("\n## ")[0]
    cells = re.findall(r"^\| (`[^|]+) \|", table, re.MULTILINE)
    return re.findall(r"`([^`]+)/`", " ".join(cells))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    assert broken(page) == []


def test_a_dead_link_and_a_dead_heading_are_seen(tmp_path: Path) -> None:
    page, text = tmp_path / "page.md", "# One [b](two.md) `c`\n## Four, five\n## Four five\n"
    text += "[a](two.md) [b](#one-b-c) ![c](#three) [d](https://x.org/y) `[e](code.md)`\n\n"
    page.write_text(text + "    [f](code.md)\n\n```\n[g](code.md)\n```\n[h](two.md#four)\n")
    assert anchors(page.read_text()) == {"one-b-c", "four-five", "four-five-1"}
    lost = ["two.md", "two.md", "#three: no such heading", "two.md#four"]
    assert broken(page, root=tmp_path) == [
        line if ":" in line else f"{line}: no such file" for line in lost
    ]
    (tmp_path / "two.md").write_text("# Two\n")
    assert broken(page, root=tmp_path) == [
        "#three: no such heading",
        "two.md#four: no such heading",
    ]
    assert broken(page, root=tmp_path / "elsewhere")[0] == "two.md: no such file"


def test_the_table_of_folders_names_exactly_the_folders_of_the_package() -> None:
    folders = table_of_folders()
    rooms = {f"recmtl/{path.parent.name}" for path in ROOT.glob("recmtl/*/__init__.py")}
    assert {name for name in folders if name.startswith("recmtl/")} == rooms
    assert len(folders) == len(set(folders))
    assert all((ROOT / name).is_dir() for name in folders)
    assert "pipelines" in folders


def test_the_table_of_folders_stands_in_the_order_of_imports() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contract = settings["tool"]["importlinter"]["contracts"][0]
    assert contract["name"] == "Imports run downward only"
    rank = {
        name.strip(): number
        for number, layer in enumerate(contract["layers"])
        for name in re.split(r"[|:]", layer)
    }
    rooms = [name.removeprefix("recmtl/") for name in table_of_folders() if "/" in name]
    assert rooms == sorted(rooms, key=rank.__getitem__)


def test_every_page_stands_in_the_contents_of_the_site() -> None:
    """Sphinx says so only when the whole site is built."""
    docs = ROOT / "docs"
    listed = {"docs/index", "docs/README"}  # the latter is for who reads files
    for page in docs.rglob("*.md"):
        for contents in re.findall(r"^```\{toctree\}(.*?)^```", page.read_text(), re.S | re.M):
            for entry in contents.split("\n"):
                target = entry.strip().rpartition("<")[2].removesuffix(">")
                if target and not target.startswith(":"):
                    path = (page.parent / target.removesuffix(".md")).resolve()
                    listed.add(path.relative_to(ROOT).as_posix())
    pages = {p.relative_to(ROOT).with_suffix("").as_posix() for p in docs.rglob("*.md")}
    under = tuple(name[:-1] for name in listed if name.endswith("/*"))
    assert {p for p in pages - listed if not p.startswith(under)} == set()


def test_every_page_of_documentation_is_reached_from_the_readme() -> None:
    reached, waiting = set[Path](), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached:
            continue
        reached.add(page)
        here = links(text_of(page))
        paths = (unquote(link).partition("#")[0] for link in here)
        targets = (
            (page.parent / path).resolve() for path in paths if path.endswith((".md", ".ipynb"))
        )
        waiting += [target for target in targets if target.is_file()]
    assert set(PAGES) - reached == set()


FIGURES: dict[str, Callable[[Any], str]] = {
    "pruning": lambda figures: pruning.page(figures["arms"]),
    "scale": scale_page,
    "search_cost": search_cost.page,
    "past": past.page,
    "planted_sources": planted_sources.page,
    "serving": serving_page,
    "speed": speed_page,
    "vision_cpu": vision.page,
    "weighting": weighting.page,
}


@pytest.mark.parametrize("name", FIGURES)
def test_a_page_of_figures_is_what_the_code_makes_of_them(name: str) -> None:
    file = ROOT / "docs" / "benchmarks" / f"{name}.json"
    text = FIGURES[name](json.loads(file.read_text(encoding="utf-8")))
    assert text == file.with_suffix(".md").read_text(encoding="utf-8")


def test_the_page_of_planted_recovery_is_what_the_code_makes_of_the_trials() -> None:
    file = ROOT / "docs" / "benchmarks" / "recovery.json"
    assert page_of(read(file)) == file.with_suffix(".md").read_text(encoding="utf-8")
    assert set(FIGURES) | {"recovery"} == {path.stem for path in file.parent.glob("*.json")}
