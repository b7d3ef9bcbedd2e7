"""The Markdown page of a benchmark says what results.json says."""

from typing import Any

from recmtl.report.benchmark_page import benchmark_page, validation_page


def summary(mean: float, seeds: int = 3) -> dict[str, float]:
    return {"mean": mean, "std": 0.01, "seeds": seeds}


def gain(value: float, verdict: str) -> dict[str, Any]:
    return {"gain": value, "low": value - 0.01, "high": value + 0.01, "verdict": verdict}


COST = {"parameters": 1000.0, "multiply_adds": 2000.0, "train_s": 3.0, "score_rows_per_s": 4.0}
RESULTS: dict[str, Any] = {
    "fingerprint": "f" * 64,
    "tasks": {
        "click": {
            "searched": {"auc": summary(0.71234)},
            "mmoe": {"auc": summary(0.7)},
            "lightgbm": {"auc": summary(0.8, seeds=1)},
            "verdict": "helped",
        }
    },
    "verdicts": {
        "click": {
            "metric": "auc",
            "verdict": "helped",
            "single_task": gain(0.02, "helped"),
            "mmoe": gain(0.0123, "helped"),
            "lightgbm": gain(-0.05, "hurt"),
        }
    },
    "mean": {"tasks": ["click"], "verdict": "helped", "mmoe": gain(0.0003, "not proven")},
    "best_fixed": {
        "tasks": {"click": {"model": "mmoe", **gain(0.0123, "helped")}},
        "mean": {"model": "mmoe", **gain(0.0003, "not proven")},
    },
    "cost": {"searched": COST, "mmoe": COST, "lightgbm": {**COST, "multiply_adds": None}},
    "score": {"searched": summary(0.6), "mmoe": summary(0.5), "lightgbm": summary(0.7, seeds=1)},
    "sharing": {"tasks": ["click"], "overlap": [[1.0]], "std": [[0.0]], "seeds": 3},
}
MANIFEST = {"rows": {"train": 7000, "validation": 1500, "test": 1500}}


def test_every_model_has_a_line_with_quality_and_cost() -> None:
    page = benchmark_page("shop", RESULTS, MANIFEST)
    line = "| searched | 3 | 0.7123 ± 0.0100 | 0.6000 ± 0.0100 | 1,000 | 2,000 | 3 | 4 |"
    assert line in page
    assert "| LightGBM | 1 | 0.8000 | 0.7000 | 1,000 | - | 3 | 4 |" in page


def test_sharing_helps_or_hurts_but_another_kind_of_model_is_ahead_or_behind() -> None:
    page = benchmark_page("shop", RESULTS, MANIFEST)
    assert "| click | single task | +0.0200 | +0.0100 to +0.0300 | helped |" in page
    assert "| click | LightGBM | -0.0500 | -0.0600 to -0.0400 | behind |" in page


def test_the_best_fixed_model_stands_beside_the_searched_network() -> None:
    page = benchmark_page("shop", RESULTS, MANIFEST)
    assert "| click | MMoE | +0.0123 | +0.0023 to +0.0223 | ahead |" in page
    assert "| mean | MMoE | +0.0003 | -0.0097 to +0.0103 | not proven |" in page
    assert "leaves out" not in page
    rare = {**RESULTS, "mean": {**RESULTS["mean"], "tasks": []}}
    assert "the mean leaves out click" in benchmark_page("shop", rare, MANIFEST)


def test_every_gain_is_shown_and_proven_ones_stand_out() -> None:
    page = benchmark_page("shop", RESULTS, MANIFEST)
    assert "| over | click | mean |" in page
    assert "| MMoE | **+0.0123** | +0.0003 |" in page
    assert "| LightGBM | **-0.0500** | - |" in page


def test_agreement_of_the_searches_is_told_with_what_differs() -> None:
    differs = [{"tasks": ["click", "buy"], "lowest": 0.0, "highest": 0.5}]
    agreeing = {"agreement": 0.75, "agreement_of_random_routes": 0.2, "differs": differs}
    told = {**RESULTS, "sharing": {**RESULTS["sharing"], **agreeing}}
    page = benchmark_page("shop", told, MANIFEST)
    assert "of different seeds: 0.75; of random routes 0.20." in page
    assert "by click and buy (0.00 to 0.50)." in page
    assert "Agreement" not in benchmark_page("shop", RESULTS, MANIFEST)


def test_what_was_planted_is_told_where_it_is_known() -> None:
    planted = {"related": 0.8, "unrelated": 0.3, "gap_by_seed": [0.5, -0.25]}
    known = {**RESULTS, "sharing": {**RESULTS["sharing"], "planted": planted}}
    assert "share 0.80, others 0.30; difference by seed +0.50, -0.25" in benchmark_page(
        "shop", known, MANIFEST
    )
    assert "planted" not in benchmark_page("shop", RESULTS, MANIFEST).lower()


def test_the_page_of_validation_rows_needs_nothing_of_test_rows() -> None:
    parts = {name: RESULTS[name] for name in ("tasks", "cost", "score")}
    rows = {"rows": {"train": 7000, "validation": 1500}}
    page = validation_page("shop", parts, rows)
    assert "| searched | 3 | 0.7123 ± 0.0100 |" in page and "test" not in page
