"""Pages list their sections, run their own script only, and follow light and dark."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from recmtl.report.page import ON_DARK, Html, Section, figure, page, paragraph, section, table

CHROME = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))),
    None,
)
SVG = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><path stroke="#1f2933"/></svg>'


def test_contents_lead_to_every_section() -> None:
    sections = [section(f"Part {number}", paragraph("text")) for number in range(5)]
    markup = page("title", sections)
    links = re.findall(r'<a href="#([^"]+)">([^<]+)</a>', markup)
    assert links == [(f"part-{number}", f"Part {number}") for number in range(5)]
    assert re.findall(r'<section id="([^"]+)">', markup) == [link for link, _ in links]
    assert "<nav" not in page("title", sections[:2]), "a short page needs no contents"


@pytest.mark.parametrize("heading", ["点击", "<b>", "a & b's", ""])
def test_any_heading_has_a_place_that_links_can_name(heading: str) -> None:
    assert re.fullmatch(r"[a-z0-9-]+", Section(heading, paragraph("x")).id)


def test_the_policy_lets_the_browser_run_the_page_s_own_script_alone() -> None:
    markup = page("title", [])
    (script,) = re.findall(r"<script>(.*?)</script>", markup, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = re.findall(r'Content-Security-Policy" content="([^"]+)"', markup)[0]
    policy = policy.replace("&#39;", "'")
    assert policy.startswith("default-src 'none'; ") and policy.endswith(f"'sha256-{digest}'")


def test_cells_are_escaped_and_classed() -> None:
    markup = table(["a<b", "c"], [["<i>", "<u>"]], caption="<p>", kinds=[["", "best"]])
    assert "a&lt;b" in markup and '<td class="best">&lt;u&gt;</td>' in markup
    assert '<th scope="row">&lt;i&gt;</th>' in markup and "<caption>&lt;p&gt;" in markup


def test_numbers_have_true_minus_signs_and_names_keep_their_hyphens() -> None:
    words = ["-0.5 (-1.25 to -.5)", "searched-1", "2024-05-01", "to -3", "a -b"]
    (cells,) = (re.findall(r"<t[dh][^>]*>([^<]*)</t", table(["x"] * 5, [words]))[5:],)
    expected = ["\u22120.5 (\u22121.25 to \u2212.5)", *words[1:3], "to \u22123", "a -b"]
    assert cells == expected
    assert "\u2212" not in page("-1", [Html("<pre>a: -1</pre>")]).partition("<body")[2]


def test_a_picture_has_its_dark_colours_beside_the_light_ones() -> None:
    markup = figure(SVG, alt="a line")
    svg = base64.b64decode(re.findall(r"base64,([^\"]+)", markup)[0]).decode()
    assert 'stroke="var(--c1f2933,#1f2933)"' in svg
    assert f"--c1f2933:{ON_DARK['#1f2933']}" in svg and "prefers-color-scheme: dark" in svg
    assert svg.startswith("<svg ") and svg.endswith("</svg>")


@pytest.mark.skipif(CHROME is None, reason="no chromium or chrome on this machine")
def test_a_click_on_a_head_sorts_by_figures_and_what_has_none_comes_last(tmp_path: Path) -> None:
    rows = [["b", "1,200"], ["a", "\u22123.5"], ["d", "-"], ["c", "+20 (1 to 30)"]]
    markup = str(page("title", [table(["name", "value"], rows)]))
    probe = """<script>
    const names = () => [...document.querySelectorAll("tbody th")].map(c => c.textContent).join("");
    addEventListener("load", () => {
      const heads = document.querySelectorAll("thead th"), seen = [names()];
      for (const head of [heads[1], heads[1], heads[0]]) { head.click(); seen.push(names()); }
      document.title = JSON.stringify([...seen, heads[0].getAttribute("aria-sort")]);
    });</script>"""
    # The page's policy would refuse the probe.
    markup = re.sub(r"<meta http-equiv[^>]*>", probe, markup)
    (tmp_path / "page.html").write_text(markup)
    command = [CHROME or "", "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", (tmp_path / "page.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    seen = json.loads(re.findall(r"<title>(.*?)</title>", done.stdout)[0])
    assert seen == ["badc", "bcad", "acbd", "abcd", "ascending"]
