"""The Markdown page of a benchmark says what results.json says."""

from typing import Any

from recmtl.job.benchmark import benchmark_page


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
            "lightgbm": {"auc": summary(0.8, seeds=1)},
            "verdict": "helped",
        }
    },
    "verdicts": {
        "click": {
            "metric": "auc",
            "verdict": "helped",
            "single_task": gain(0.02, "helped"),
            "lightgbm": gain(-0.05, "hurt"),
        }
    },
    "cost": {"searched": COST, "lightgbm": {**COST, "multiply_adds": None}},
    "sharing": {"tasks": ["click"], "overlap": [[1.0]], "std": [[0.0]], "seeds": 3},
}
MANIFEST = {"rows": {"train": 7000, "validation": 1500, "test": 1500}}


def test_every_model_has_a_line_with_quality_and_cost() -> None:
    page = benchmark_page("shop", RESULTS, MANIFEST)
    assert "| searched | 3 | 0.7123 ± 0.0100 | 1,000 | 2,000 | 3 | 4 |" in page
    assert "| LightGBM | 1 | 0.8000 | 1,000 | - | 3 | 4 |" in page


def test_sharing_helps_or_hurts_but_another_kind_of_model_is_ahead_or_behind() -> None:
    page = benchmark_page("shop", RESULTS, MANIFEST)
    assert "| click | single task | +0.0200 | +0.0100 to +0.0300 | helped |" in page
    assert "| click | LightGBM | -0.0500 | -0.0600 to -0.0400 | behind |" in page


def test_what_was_planted_is_told_where_it_is_known() -> None:
    planted = {"related": 0.8, "unrelated": 0.3, "gap_by_seed": [0.5, -0.25]}
    known = {**RESULTS, "sharing": {**RESULTS["sharing"], "planted": planted}}
    assert "share 0.80, others 0.30; difference by seed +0.50, -0.25" in benchmark_page(
        "shop", known, MANIFEST
    )
    assert "planted" not in benchmark_page("shop", RESULTS, MANIFEST).lower()
