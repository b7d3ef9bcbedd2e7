"""The benchmark of serving: its page says what its figures say, and its soak serves and watches."""

from pathlib import Path
from typing import Any

from benchmarks.serving import chaos
from benchmarks.serving.heard import ENGINES, HEARD, with_history
from benchmarks.serving.latency import OURS, THEIRS
from benchmarks.serving.page import ARMS, page
from benchmarks.serving.shop import ROOT
from benchmarks.serving.soak import SAMPLES, serve
from recmtl.schema import ListOf, load_schema
from tests.unit.serve.shop import USER, make_bundle, make_log

RATIO = {"median": 6.5, "low": 3.9, "high": 13.2}


def latency() -> dict[str, Any]:
    size = {
        "ours": {"parameters": 155604},
        "peer": {"parameters": 116732},
        "arms": {arm: {"p50_ms": 1.234, "p99_ms": 5.678} for arm in ARMS},
        "ratios": {other: dict.fromkeys(OURS, RATIO) for other in THEIRS},
    }
    facts = {"candidates": 300, "rounds": 20, "requests": 1000, "load": [0.1, 0.2]}
    return {**facts, "processor": "a processor", "sizes": {"64-32": size}}


def test_latency_has_a_line_an_arm() -> None:
    text = page({"latency": latency()})
    told = " | ".join(["6.5 (3.9 to 13.2)"] * 3)
    assert f"raw user and candidates to top 20 | 1.23 | 5.68 | {told}" in text
    assert "bare module | encoded rows to scores | 1.23 | 5.68 | - | - | - |" in text
    assert "Memory" not in text and "Chaos" not in text


def test_a_request_has_a_line_for_what_is_heard_and_an_engine() -> None:
    arms = [f"{heard}_{engine}" for heard in HEARD for engine in ENGINES]
    costs = {heard: {"network": 50_000} for heard in HEARD}
    costs["trees"]["leaves"] = 7200
    figures = {
        "candidates": 300, "rounds": 20, "requests": 1000, "processor": "a processor",
        "costs": costs, "arms": {arm: {"p50_ms": 1.5, "p99_ms": 3.25} for arm in arms},
        "ratios": {arm: {"median": 1.25, "low": 1.0, "high": 1.5} for arm in arms},
    }  # fmt: skip
    text = page({"heard": figures})
    assert "| trees | ONNX Runtime | 50,000 | 7,200 | 1.50 | 3.25 | 1.25 (1.00 to 1.50) |" in text
    assert text.count("| 50,000 | - |") == 6 and "20 rounds, 1,000 requests" in text


def test_the_list_of_items_is_read_against_the_candidate_and_no_other() -> None:
    plain = load_schema(ROOT / "datasets" / "simulated" / "schema.yaml")
    lists = {f.name: f for f in with_history(plain).features if isinstance(f, ListOf)}
    assert (lists["history"].pooling, lists["history"].target) == ("attention", "item_id")
    assert lists["tags"].pooling == "mean"
    assert len(with_history(plain).features) == len(plain.features)


def test_calibration_tells_before_and_after() -> None:
    def gain(after: float) -> dict[str, Any]:
        before = {"log_loss": 0.2, "ece": 0.01, "brier": 0.1}
        return {"p_click": {"before": before, "after": dict.fromkeys(before, after)}}

    gains = {"platt": gain(0.19), "isotonic": gain(0.18)}
    rows = {"train": 10, "validation": 5, "test": 4321}
    text = page({"calibration": {"kuairand_pure": {"rows": rows, "gains": gains}}})
    assert "| p_click | 0.20000 | 0.19000 | 0.18000 | 0.01000 | 0.19000 | 0.18000 |" in text
    assert "judged on 4,321" in text


def test_chaos_reads_what_pytest_wrote(tmp_path: Path) -> None:
    case = '<testcase name="test_spark"><skipped/></testcase>'
    suite = f'<testsuite tests="3" failures="1" errors="0" skipped="1" time="90">{case}</testsuite>'
    (tmp_path / "test_equal_scores.xml").write_text(f"<testsuites>{suite}</testsuites>")
    found = chaos.measure(tmp_path)
    text = page({"chaos": found})
    assert "to float32 rounding | 3 | 1 | test_spark | 1.5 |" in text
    assert text.count("not run") == len(chaos.SUITES) - 1


def test_threads_ask_and_memory_is_watched(tmp_path: Path) -> None:
    log = make_log(120)
    user = {name: log[name][3].as_py() for name in USER}
    bundle = make_bundle(tmp_path / "bundle")
    requests = [(user, log.drop_columns(USER))]
    found = serve(bundle, requests, seconds=2.0, by="p_click * p_buy_given_click")
    assert found["faults"] == [] and found["requests"] > 0
    assert len(found["series_s_mb"]) == SAMPLES
    assert found["last_third_mb"] - found["first_third_mb"] < 100
    assert "8 threads sent" in page({"soak": found})
    broken = serve(bundle, requests, seconds=0.1, by="p_nothing")
    assert broken["faults"][0].startswith("FormulaError: formula 'p_nothing': no column")


def test_every_suite_of_the_folder_is_on_the_page() -> None:
    files = {path.stem for path in (chaos.ROOT / "tests" / "chaos").glob("test_*.py")}
    assert files == {suite.partition("_kills_")[0] for suite in chaos.SUITES} - {"test"} | {
        "test_kills"
    }
