"""Names from a log are shown as they are: no page, table, drawing or picture obeys them."""

import base64
import dataclasses
import html.parser
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recmtl.grid import draw_svg, draw_text, route_pictures, shared_bottom
from recmtl.report import ExpertUse, ReportInput, model_table, verdict_table, write_report
from recmtl.report.benchmark_page import benchmark_page, model_description, validation_page
from recmtl.report.tables import Markdown, code_block, markdown, markdown_table
from recmtl.vision.report import VisionReport, vision_table, write_vision_report
from tests.unit.report.test_benchmark_page import MANIFEST, RESULTS

HOSTILE = {
    "click": "<script>alert(1)</script>",
    "purchase": "a|b\"c'd&amp;<b>",
    "dislike": "`x` $\\frac{ [l](http://evil) -->",
    "watch_time": "two\nlines\t\x0b]]>",
    "rating": "点击 *_~ \u202e\u2028 end",
}
TAGS = {
    *("html", "head", "meta", "link", "title", "style", "body", "main", "section", "h1", "h2"),
    *("h3", "p", "div", "table", "caption", "thead", "tbody", "tr", "th", "td", "figure", "img"),
    *("details", "summary", "ul", "li", "dl", "dt", "dd", "code", "span", "nav", "ol", "a"),
    *("script", "strong", "pre"),
}
ATTRIBUTES = {"lang", "charset", "name", "content", "rel", "href", "class", "scope", "alt", "src"}
ATTRIBUTES |= {"id", "http-equiv", "aria-label"}
NAMES = st.text(max_size=20) | st.text("<>&\"'|`*_[]()$~#\\\n\t -!ab", max_size=20)


class Page(html.parser.HTMLParser):
    """The tags, attributes, texts and pictures of a page."""

    def __init__(self, markup: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.texts: list[str] = []
        self.pictures: list[str] = []
        self.feed(markup)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        for name, value in attrs:
            if name == "src":
                self.pictures.append(base64.b64decode(str(value).partition("base64,")[2]).decode())
            if name == "alt":
                self.texts.append(str(value))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def renamed(content: Any) -> Any:
    """The content with the tasks' names replaced, wherever they are a whole text or a key."""
    if isinstance(content, dict):
        return {HOSTILE.get(key, key): renamed(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [renamed(value) for value in content]
    return HOSTILE.get(content, content) if isinstance(content, str) else content


def is_inert(svg: str) -> bool:
    """Whether a picture is well formed and holds shapes and text only."""
    kinds = {element.tag.rpartition("}")[2] for element in ET.fromstring(svg).iter()}
    return not kinds & {"script", "a", "foreignObject", "iframe", "b"}


def test_the_report_shows_hostile_names_and_obeys_none(
    report_input: ReportInput, tmp_path: Path
) -> None:
    tasks = tuple(HOSTILE.values())
    use = report_input.expert_use
    data = {**renamed(report_input.data), "warnings": [*tasks], "fingerprint": tasks[0]}
    columns = {f"p_{name}": {"before": gain, "after": gain} for name in tasks}
    results = {
        **renamed(json.loads(json.dumps(report_input.results))),
        "calibration": {"method": "platt", "segment": tasks[0], "columns": columns},
        "sharing": {
            "tasks": list(tasks[:2]),
            "overlap": [[1.0, 0.5], [0.5, 1.0]],
            "std": [[0.0, 0.0], [0.0, 0.0]],
            "seeds": 2,
        },
    }
    content = dataclasses.replace(
        report_input,
        results=results,
        data=data,
        title=tasks[0],
        search_history=renamed(report_input.search_history),
        health=renamed(report_input.health),
        reliability=renamed(report_input.reliability),
        expert_use=ExpertUse(use.use, tasks, [*tasks, *"abc"]) if use else None,
        routes=route_pictures(shared_bottom(5, widths=(4,)), tasks),
    )
    write_report(tmp_path / "report.html", content)
    page = Page((tmp_path / "report.html").read_text())
    assert page.tags <= TAGS, page.tags - TAGS
    assert page.attributes <= {*ATTRIBUTES, "tabindex"}
    texts = "\n".join(page.texts)
    assert [name for name in tasks if name not in texts] == []
    assert len(page.pictures) >= 15 and all(map(is_inert, page.pictures))


gain = {"log_loss": 0.5, "brier": 0.2, "ece": 0.05}


def cells(line: str) -> int:
    """Cells of a line of a Markdown table."""
    return len(re.findall(r"(?<!\\)\|", line)) - 1


@given(name=NAMES)
def test_markdown_shows_a_name_on_one_line_in_one_cell(name: str) -> None:
    shown = markdown(name)
    assert len(shown.splitlines()) <= 1
    assert not re.search(r"[<>]", shown)
    assert not re.search(r"(?<!\\)(\\\\)*[`*\[\]|~$]", shown)
    head, rule, row, _ = markdown_table([name, "b"], [[name, Markdown("**1**")]])
    assert cells(head) == cells(rule) == cells(row) == 2 and row.endswith("| **1** |")


@given(name=NAMES, other=NAMES)
def test_a_block_of_code_cannot_be_closed_by_what_it_shows(name: str, other: str) -> None:
    block = code_block(f"{name}\n{other}")
    assert block[-1] == block[0].removesuffix("text") and block[-1] not in block[1:-1]


@pytest.mark.parametrize("name", HOSTILE.values())
def test_pages_of_markdown_and_tables_of_text_keep_their_form(name: str) -> None:
    results = json.loads(json.dumps(RESULTS).replace('"click"', json.dumps(name)))
    sharing = {**RESULTS["sharing"], "tasks": [name], "agreement": 0.5}
    sharing["differs"] = [{"tasks": [name, name], "lowest": 0.1, "highest": 0.2}]
    results["sharing"] = sharing
    pages = [benchmark_page(name, results, MANIFEST), validation_page(name, results, MANIFEST)]
    pages.append(model_description(results, MANIFEST, data=name, routes=f"{name} <- expert 0"))
    plain_pages = [benchmark_page("a", RESULTS, MANIFEST), validation_page("a", RESULTS, MANIFEST)]
    for page in pages:
        before_code = page.split("\n```")[0]
        assert "<script" not in before_code
        assert not re.search(r"(?<!\\)\]\(", before_code)
    for page, plain in zip(pages, plain_pages, strict=False):
        tables = [[cells(s) for s in p.splitlines() if s.startswith("|")] for p in (page, plain)]
        assert tables[0] == tables[1]
    for table in (model_table(results), verdict_table(results)):
        assert len(table.splitlines()) == len(table.split("\n"))
        assert len(model_table(results).splitlines()) == 2 + len(results["score"])


@given(name=NAMES)
def test_drawings_keep_their_lines_and_are_well_formed(name: str) -> None:
    layout = shared_bottom(2, widths=(4,))
    assert len(draw_text(layout, (name, "b")).splitlines()) == len(
        draw_text(layout, ("a", "b")).splitlines()
    )
    assert is_inert(draw_svg(layout, (name, "b")))


def test_the_page_of_a_study_on_images_shows_hostile_names_and_obeys_none(tmp_path: Path) -> None:
    names = list(HOSTILE.values())
    cell = {"mean": 0.5, "std": 0.1, "seeds": 2}
    cost = {"parameters": 1.0, "multiply_adds": 2.0, "train_s": 3.0, "score_rows_per_s": 4.0}
    results = {
        "fingerprint": "f",
        "tasks": {name: {"searched": {"accuracy": cell}} for name in names},
        "primary": dict.fromkeys(names, "accuracy"),
        "score": {"searched": cell},
        "gains": {},
        "cost": {"searched": cost},
        "share": {"of": "searched", "multiply_adds": {"searched": 1.0}},
    }
    pictures = {name: draw_svg(shared_bottom(1, widths=(4,)), (name,)) for name in names}
    write_vision_report(tmp_path / "page.html", VisionReport(names[0], results, pictures))
    page = Page((tmp_path / "page.html").read_text())
    assert page.tags <= TAGS and page.attributes <= {*ATTRIBUTES, "tabindex"}
    assert all(map(is_inert, page.pictures))
    assert len({cells(line) for line in vision_table(results).splitlines()[:3]}) == 1
