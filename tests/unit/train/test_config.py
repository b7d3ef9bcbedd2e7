"""Every value with which nothing could be built, trained, searched or judged is refused by name."""

from collections.abc import Callable

import pytest

from recmtl.train.config import (
    Budget,
    Calibration,
    Config,
    Evidence,
    Grid,
    Search,
    Skips,
    Training,
)

REFUSED = [
    (Grid, {"cells": -1}, "cells: must be at least 0, not -1"),
    (Grid, {"depth": 0}, "depth: must be at least 1, not 0"),
    (Grid, {"max_edges": 0}, "max_edges: must be at least 1, not 0"),
    (Grid, {"widths": ()}, "widths must be one or more numbers"),
    (Grid, {"widths": (4, 0)}, r"widths\[1\]: must be at least 1, not 0"),
    (Training, {"epochs": 0}, "epochs: must be at least 1, not 0"),
    (Training, {"save_every": -1}, "save_every: must be at least 0, not -1"),
    (Training, {"betas": (0.9, 1.0)}, r"betas\[1\]: must be below 1, not 1.0"),
    (Training, {"betas": (0.9,)}, "betas: has too few values"),
    (Training, {"gate_warm_up": 1.0}, "gate_warm_up: must be below 1, not 1.0"),
    (Training, {"learning_rate": 0.0}, "learning_rate: must be above 0, not 0.0"),
    (
        Training,
        {"table_learning_rate": float("nan")},
        "rate: must be a finite number",
    ),
    (Budget, {}, "budget needs one of multiply_adds, parameters or share"),
    (Budget, {"share": 0.5, "parameters": 9}, "budget needs one of"),
    (Budget, {"multiply_adds": 0}, "multiply_adds: must be at least 1, not 0"),
    (Budget, {"share": 1.1}, "share: must be at most 1, not 1.1"),
    (Skips, {"most": 0.0}, "most: must be above 0, not 0.0"),
    (Skips, {"curriculum": 1.5}, "curriculum: must be at most 1, not 1.5"),
    (Search, {"samples": 0}, "samples: must be at least 1, not 0"),
    (Search, {"judged_rows": 0}, "judged_rows: must be at least 1, not 0"),
    (Search, {"refine": -1}, "refine: must be at least 0, not -1"),
    (Search, {"agree": 1.5}, "agree: must be at most 1, not 1.5"),
    (Search, {"branches": -0.1}, "branches: must be at least 0, not -0.1"),
    (Search, {"baseline_decay": 1.0}, "baseline_decay: must be below 1"),
    (Search, {"policy_rows": 1.0}, "policy_rows: must be below 1"),
    (Search, {"warm_up": 1.0}, "warm_up: must be below 1"),
    (Search, {"temperature": (1.0, 0.0)}, r"temperature\[1\]: must be above 0"),
    (Evidence, {"seeds": 0}, "seeds: must be at least 1, not 0"),
    (Evidence, {"bootstrap": 1}, "bootstrap: must be at least 2, not 1"),
    (Evidence, {"controls": ("mmo",)}, "controls: no network 'mmo'.*mmoe"),
    (Evidence, {"budget": 1.5}, "budget: must be at most 1, not 1.5"),
    (Calibration, {"min_rows": 0}, "min_rows: must be at least 1, not 0"),
    (Calibration, {"kept_negatives": {"click": 0.0}}, "kept_negatives.click: must be above 0"),
    (Config, {"threads": -1}, "threads: must be at least 0, not -1"),
    (Config, {"workers": -1}, "workers: must be at least 0, not -1"),
]


@pytest.mark.parametrize(("kind", "values", "message"), REFUSED, ids=lambda v: str(v)[:40])
def test_a_value_that_makes_no_sense_is_refused(
    kind: Callable[..., object], values: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**values)


def test_the_ends_of_every_range_are_allowed() -> None:
    Grid(cells=0, widths=(1,))
    Training(betas=(0.0, 0.0), gate_warm_up=0.0, clip=0.0)
    Budget(share=1.0)
    Skips(most=1.0, curriculum=1.0)
    Search(agree=1.0, branches=0.0, warm_up=0.0, baseline_decay=0.0)
    Evidence(bootstrap=2, budget=1.0)
    Calibration(kept_negatives={"click": 1.0})


def test_the_models_of_a_study_come_with_their_seeds() -> None:
    controls = ("mmoe", "random_route")
    evidence = Evidence(seeds=4, control_seeds=2, controls=controls, baselines=("logistic",))
    assert Config(evidence=evidence).models() == (
        ("searched", 4),
        ("single_task", 4),
        ("mmoe", 2),
        ("random_route", 4),
        ("logistic", 1),
        ("constant", 1),
    )
    models = dict(Config(evidence=Evidence(seeds=4, controls=("mmoe",))).models())
    assert models["lightgbm"] == models["mmoe"] == 4, "as many as the networks have"
