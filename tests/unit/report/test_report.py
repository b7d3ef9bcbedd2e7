"""The page is one sound, safe file, and a real browser shows all of it at any width."""

import dataclasses
import json
import re
import shutil
import subprocess
import sys

import pytest

from recmtl.data.columns.gaps import GapCount
from recmtl.evaluate import assemble
from recmtl.grid import Routes
from recmtl.report import ReportInput, write_report
from recmtl.report.page import read_template
from recmtl.report.sections import data as data_sections
from recmtl.report.sections import models as sections
from recmtl.report.tables import words
from recmtl.search.search import SearchResult
from recmtl.search.vote import vote

CHROME = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))),
    None,
)
SECTIONS = (
    "All models",
    "Gains and losses by task",
    "Quality against cost",
    "The routes that the search found",
    "Expert use by task",
    "Health of the experts",
    "How the search went",
    "Calibration",
    "Cost",
    "Data",
    "How to read this page",
)
# Each page reports from inside a frame of a given width, since a headless window has a least width.
PROBE = """<script>
const faults = [];
addEventListener("error", e => faults.push(String(e.message || e.target.outerHTML)), true);
console.error = (...words) => faults.push(words.join(" "));
addEventListener("load", () => {
  const images = [...document.images];
  parent.postMessage({
    images: images.length,
    decoded: images.filter(i => i.complete && i.naturalWidth > 0).length,
    named: images.filter(i => i.alt.length > 10).length,
    width: innerWidth,
    needed: document.documentElement.scrollWidth,
    requests: performance.getEntriesByType("resource").map(r => r.name.slice(0, 60))
      .filter(name => !name.startsWith("data:")),
    faults: faults,
  }, "*");
});
</script>"""
FRAMES = """<!doctype html><title>frames</title><pre id="found"></pre><script>
const found = {};
addEventListener("message", e => {
  found[e.data.width] = e.data;
  document.getElementById("found").textContent = JSON.stringify(found);
});
</script>
<iframe src="probe.html" style="border:0;width:400px;height:800px"></iframe>
<iframe src="probe.html" style="border:0;width:1200px;height:800px"></iframe>"""


@pytest.fixture(scope="module")
def written(report_input, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(path, report_input)
    return path


def test_page_holds_every_section_task_model_and_verdict(written, report_input):
    markup = written.read_text()
    for title in SECTIONS:
        assert f"<h2>{title}</h2>" in markup
    for task, entry in report_input.results["tasks"].items():
        assert f'<h3>{task} <span class="mark">{entry["verdict"]}</span>' in markup
        for model in set(entry) - {"verdict"}:
            assert f'<th scope="row">{words(model)}</th>' in markup
    assert [p.name for p in written.parent.iterdir()] == ["report.html"]


def test_page_needs_nothing_from_outside(written):
    markup = written.read_text()
    assert not re.search(r"(?:src|href)\s*=\s*[\"'](?!data:|#)", markup)
    assert not re.search(r"url\(|@import|<link(?! rel=\"icon\" href=\"data:)", markup)
    assert "http" not in markup.replace("http-equiv", "")


def test_user_text_is_escaped(report_input, tmp_path):
    evil = '<img src=x onerror="alert(1)">'
    results = json.loads(json.dumps(report_input.results).replace('"click"', json.dumps(evil)))
    data = {**report_input.data, "warnings": [evil], "fingerprint": evil}
    changed = dataclasses.replace(report_input, results=results, data=data, title=evil)
    write_report(tmp_path / "report.html", changed)
    markup = (tmp_path / "report.html").read_text()
    assert evil not in markup
    assert "<img src=x" not in markup
    assert "&lt;img src=x" in markup


def test_rows_that_do_not_count_are_shown_the_largest_share_first(report_input):
    counts = [
        GapCount("train", "label_unknown", "click", "is_click", 5, 1000),
        GapCount("test", "class_unseen", "<stars>", "<b>stars</b>", 41, 80),
    ]
    manifest = {**report_input.data, "counts": [count.to_json() for count in counts]}
    manifest["weights"] = {"rows_of_weight_0": 1234}
    page = data_sections.data(manifest, report_input.results).markup
    assert "What does not count" in page and "<b>stars" not in page
    assert page.index("51.25%") < page.index("0.50%")
    assert "a class that no train row has" in page
    assert "1,234 rows of weight 0 were left out" in page
    assert "What does not count" not in data_sections.data(report_input.data, {}).markup


def test_what_did_not_fit_into_memory_is_counted(report_input):
    cost = {**report_input.results["cost"], "logistic": {"parameters": 3.0, "rows_left_out": 2e6}}
    page = sections.cost({**report_input.results, "cost": cost}).markup
    assert "“logistic” was fitted without 2,000,000 train rows" in page
    assert "<td>3</td>" in page, "a count has no decimals"
    assert "was fitted without" not in sections.cost(report_input.results).markup


def test_what_trees_cost_is_one_line_where_networks_hear_trees(report_input):
    trees = {"trees": 240, "leaves": 7200, "grow_cpu_s": 31.4, "cpu_us_per_row": 12.34,
             "multiply_adds": 98765}  # fmt: skip
    page = sections.cost({**report_input.results, "trees": trees}).markup
    assert "240 trees of together 7,200 leaves, grown in 31 CPU seconds" in page
    assert "12.3 microseconds of CPU a row, as long as 98,765 multiply-adds" in page
    assert "trees" not in sections.cost(report_input.results).markup


def contrast(colour: str, ground: str) -> float:
    """The ratio of WCAG 2.1 of two colours in hexadecimal digits, `#rrggbb` or `#rgb`."""
    light = []
    for name in (colour, ground):
        digits = name[1:] if len(name) == 7 else "".join(2 * digit for digit in name[1:])
        parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        light.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] + 0.05)
    return max(light) / min(light)


def test_every_colour_of_text_is_readable_on_light_and_on_dark():
    assert contrast("#000", "#ffffff") == pytest.approx(21)
    style = read_template("style.css")
    themes = [dict(re.findall(r"--([a-z]+): (#[0-9a-f]+)", block)) for block in
              re.findall(r":root \{(.*?)\}", style, re.DOTALL)]  # fmt: skip
    assert len(themes) == 2 and themes[0].keys() == themes[1].keys()
    for theme in themes:
        for name in ("ink", "muted", "good", "bad", "open", "star", "link"):
            assert contrast(theme[name], theme["page"]) >= 4.5, (name, theme)
    used = re.sub(r":root \{.*?\}", "", style, flags=re.DOTALL)
    assert re.findall(r"#[0-9a-f]{3,6}\b", used) == [], "every colour has its theme"


def test_the_votes_of_the_races_are_shown():
    results = [
        SearchResult(
            Routes(()),
            winner=winner,
            race=[
                {"name": "shared_bottom", "standing": "won", "score": score},
                {"name": "towers_apart", "standing": "beaten", "score": 0.7},
            ],
        )
        for winner, score in (("shared_bottom", 0.8), ("towers_apart", 0.6))
    ]
    votes = vote(dict(enumerate(results)))
    page = sections.race({"sharing": {"race": votes}}).markup
    assert "seeds disagree: shared bottom, chosen by its mean, won 1 of 2 races" in page
    assert "0.7000 ± 0.1000" in page and "1 of 2" in page
    assert sections.race({"sharing": {}}) is None and sections.race({}) is None


def test_best_model_of_each_column_is_marked_by_its_own_direction(written, report_input):
    markup = written.read_text()
    marked = re.findall(r'<td class="best">([\d.]+)', markup)
    expected = []
    for task, metric, choose in (
        ("click", "auc", max),
        ("purchase", "auc", max),
        ("dislike", "auc", max),
        ("watch_time", "rmse", min),
        ("rating", "log_loss", min),
    ):
        entry = report_input.results["tasks"][task]
        expected.append(choose(m[metric]["mean"] for n, m in entry.items() if n != "verdict"))
    assert sorted(float(value) for value in marked) == pytest.approx(sorted(expected), abs=1e-4)


def test_same_input_gives_the_same_bytes(tmp_path):
    small = minimal()
    for name in ("one.html", "two.html"):
        write_report(tmp_path / name, small)
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()


def minimal():
    results = assemble(
        {"shared_bottom": {0: {"click": {"auc": 0.7}}}}, verdicts={}, cost={}, fingerprint="f"
    )
    return ReportInput(results=results)


def test_networks_that_were_not_trained_enough_are_said_in_words():
    results = {**minimal().results, "training": {"warnings": ["<ple> is behind"]}}
    markup = sections.training(results).markup
    assert "Not trained enough" in markup and "&lt;ple&gt; is behind" in markup
    assert sections.training({"training": {"warnings": []}}) is None
    assert sections.training({}) is None, "results of 0.1 do not say"


def test_missing_parts_are_left_out(tmp_path):
    write_report(tmp_path / "report.html", minimal())
    markup = (tmp_path / "report.html").read_text()
    headings = ["Does sharing help?", "All models", "Data", "How to read this page"]
    assert re.findall("<h2>(.*?)</h2>", markup) == headings
    assert "no verdict" in markup


def test_failed_write_keeps_the_old_page_and_leaves_no_piece(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        write_report(path, dataclasses.replace(minimal(), title="\ud800"))
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.skipif(CHROME is None, reason="no chromium or chrome on this machine")
def test_a_browser_decodes_all_pictures_without_overflow_or_error(written, tmp_path):
    markup = written.read_text().replace("<head>", f"<head>{PROBE}", 1)
    (tmp_path / "probe.html").write_text(markup)
    frames = tmp_path / "frames.html"
    frames.write_text(FRAMES)
    command = [CHROME, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1300,2000"]
    command += ["--virtual-time-budget=20000", "--dump-dom", frames.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = json.loads(re.search(r'<pre id="found">(.*?)</pre>', done.stdout).group(1))
    assert sorted(found) == ["1200", "400"]
    for width, seen in found.items():
        assert seen["images"] == seen["decoded"] == seen["named"] >= 20
        assert seen["needed"] <= int(width)
        assert seen["requests"] == seen["faults"] == []
    assert "CONSOLE" not in done.stderr


@pytest.mark.skipif(CHROME is None, reason="no chromium or chrome on this machine")
def test_a_browser_paints_the_page(written, tmp_path):
    shot = tmp_path / "page.png"
    command = [CHROME, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1200,2000"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", f"--screenshot={shot}", written.as_uri()]
    subprocess.run(command, capture_output=True, timeout=120, check=True)
    from matplotlib.image import imread

    pixels = imread(shot)[:, :, :3]
    assert pixels[0, 0].min() == 1  # white paper
    assert 0.02 < (pixels.min(axis=2) < 0.9).mean() < 0.5  # and ink on it


def test_importing_the_package_loads_neither_matplotlib_nor_torch():
    code = "import sys, recmtl.evaluate; print({'matplotlib', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.slow
def test_the_bundle_is_shown_before_and_after_calibration(report_input, tmp_path):
    before = {"log_loss": 0.54321, "brier": 0.2, "ece": 0.05}
    gain = {"before": before, "after": {"log_loss": 0.51234, "brier": 0.19, "ece": 0.01}}
    told = {"method": "isotonic", "segment": "city", "columns": {"p_click": gain}}
    for curves in (report_input.reliability, {}):
        results = {**report_input.results, "calibration": told}
        content = dataclasses.replace(report_input, results=results, reliability=curves)
        write_report(tmp_path / "page.html", content)
        page = (tmp_path / "page.html").read_text()
        assert "calibrated (isotonic, by city): fitted on validation rows" in page
        assert "<td>0.54321</td><td>0.51234</td>" in page
        assert page.count("<h2>Calibration</h2>") == 1
    write_report(tmp_path / "page.html", report_input)
    assert "fitted on validation rows" not in (tmp_path / "page.html").read_text()


def test_the_weights_of_a_blend_stand_in_a_table_of_the_page() -> None:
    assert sections.blend({}) is None
    taken = {"weights": {"searched-0": 0.4, "forest": 0.6}, "gain": 0.0123, "error": 0.002}
    left = {"weights": {"searched-0": 1.0, "forest": 0.0}, "gain": None, "error": None}
    tasks = {"click": {**taken, "taken": True}, "<b>": {**left, "taken": False}}
    html = sections.blend({"blend": {"members": ["searched-0", "forest"], "tasks": tasks}})
    assert html is not None
    assert "<td>0.40</td><td>0.60</td><td>+0.01230 ± 0.00200</td><td>blended</td>" in html.markup
    assert "&lt;b&gt;" in html.markup and "<td>-</td><td>one network</td>" in html.markup
