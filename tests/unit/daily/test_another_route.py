"""Whether another way to share is better: the rule, on made-up results, and the wirings."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recmtl.daily import another_route
from recmtl.daily.another_route import PRESENT, RouteTest, compare_wirings, wirings
from recmtl.grid import Layout, same_wiring
from recmtl.job.fit import ModelResult
from recmtl.job.work.items import fixed_layout
from recmtl.train.config import Config, Grid, Training
from recmtl.train.evidence import Evidence
from recmtl.train.loop import silent
from recmtl.train.problem import network_cost
from tests.tabular_problems import make_problem

CONFIG = Config(
    evidence=Evidence(bootstrap=50),
    grid=Grid(cells=3, depth=2, widths=(8,)),
    training=Training(batch_size=64, epochs=1),
)
PROBLEM = make_problem()


def present(name: str = "shared_bottom") -> Layout:
    return fixed_layout(name, CONFIG, PROBLEM)


def test_the_ways_to_share_cost_alike_and_none_is_the_present_one() -> None:
    layouts = LAYOUTS
    assert "shared_bottom" not in layouts and {"all_apart", "stem", "full_grid"} <= layouts.keys()
    costs = [network_cost(PROBLEM, layout, CONFIG.sizes) for layout in layouts.values()]
    target = float(network_cost(PROBLEM, present(), CONFIG.sizes).multiply_adds)
    assert all(0.5 < float(cost.multiply_adds) / target < 2.0 for cost in costs)
    every = [present(), *layouts.values()]
    for number, layout in enumerate(every):
        assert not any(same_wiring(layout, other) for other in every[:number])


LAYOUTS = dict(wirings(PROBLEM, CONFIG, present()))


def made_up(
    monkeypatch: pytest.MonkeyPatch, quality: dict[str, float], luck: float = 0.02
) -> list[tuple[str, int]]:
    """Trainings whose scores see the labels through noise; which are asked for."""
    asked: list[tuple[str, int]] = []
    monkeypatch.setattr(another_route, "wirings", lambda *_: LAYOUTS.items())
    labels = np.asarray(PROBLEM.validation.labels)

    def result(trainings: object, name: str, seed: int) -> ModelResult:
        asked.append((name, seed))
        random = np.random.default_rng([seed, len(name)])
        of_model = quality.get(name, 0.1) + luck * random.normal()
        scores = {}
        for column, label in (("p_click", 0), ("p_buy_given_click", 1), ("p_click_and_buy", 1)):
            seen = (
                of_model * np.nan_to_num(labels[:, label]) + random.normal(size=len(labels)) * 0.3
            )
            scores[column] = 1 / (1 + np.exp(-seen))
        scores["value_watch"] = np.full(len(labels), 3.0) + 0.01 * random.normal(size=len(labels))
        for value in ("1", "2", "3"):
            scores[f"p_stars_{value}"] = np.full(len(labels), 1 / 3)
        return ModelResult({}, {}, of_model, on_validation=scores)

    monkeypatch.setattr(another_route._Trainings, "of", result)
    return asked


def decided(folder: Path) -> RouteTest:
    return compare_wirings(PROBLEM, CONFIG, present(), folder, on_progress=silent)


def test_a_wiring_that_is_much_better_is_proven(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = made_up(monkeypatch, {"all_apart": 1.5, PRESENT: 0.1})
    test = decided(tmp_path)
    assert test.is_proven and test.rival == "all_apart"
    assert test.gain["verdict"] == "helped" and test.gain["low"] > 0
    later = {name for name, seed in asked if seed > CONFIG.seed}
    assert later == {"all_apart", PRESENT}  # the second round trains no other


def test_a_present_wiring_that_leads_is_kept_after_one_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = made_up(monkeypatch, {PRESENT: 1.5})
    test = decided(tmp_path)
    assert not test.is_proven and test.gain == {}
    assert {seed for _, seed in asked} == {CONFIG.seed}


def test_wirings_that_are_alike_are_hardly_ever_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proven = 0
    for seed in range(12):
        made_up(monkeypatch, {}, luck=0.05)
        config = replace(CONFIG, seed=100 * seed)
        test = compare_wirings(PROBLEM, config, present(), tmp_path, on_progress=silent)
        proven += test.is_proven
    assert proven <= 1


def test_what_was_trained_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    two = {name: LAYOUTS[name] for name in ("all_apart", "stem")}
    monkeypatch.setattr(another_route, "wirings", lambda *_: two.items())

    def progress(name: str, *_: object) -> None:
        calls.append(name)

    first = compare_wirings(PROBLEM, CONFIG, present(), tmp_path, seeds=2, on_progress=progress)
    assert calls
    calls.clear()
    again = compare_wirings(PROBLEM, CONFIG, present(), tmp_path, seeds=2, on_progress=progress)
    assert again == first and not calls
    assert not list((tmp_path / "checkpoints").glob("*"))
