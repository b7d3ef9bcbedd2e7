"""The race: halving on validation rows, resumed to the bit, and the training of the winner."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from recmtl.grid import Layout, Routes
from recmtl.search import race as race_module
from recmtl.search.entrants import Entrant
from recmtl.search.race import EntrantRecord, Race, race_files
from recmtl.search.search import SearchResult, search
from recmtl.train.config import Budget, Config, Grid, Search, Training
from recmtl.train.loop import OnProgress, silent, train
from recmtl.train.tabular_problem import TabularProblem
from recmtl.train.training_state import TrainingState
from tests.tabular_problems import TASKS, make_problem

PROBLEM = make_problem(rows=200)
GRID = Grid(cells=6, widths=(8, 4), depth=2)
SPACE = PROBLEM.layout("recmtl_grid", GRID)
CONFIG = Config(
    grid=GRID,
    training=Training(batch_size=64, epochs=2, health_rows=0),
    search=Search(epochs=1, refine=0, candidates=2),
)
NAMES = ("shared_bottom", "towers_apart", "embeddings_apart", "all_apart", "mmoe")


@pytest.fixture(autouse=True)
def short_trainings_have_every_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(race_module, "FEWEST_STEPS", 1)


def entrants(*names: str) -> list[Entrant]:
    layouts = {name: PROBLEM.layout(name, GRID) for name in names}
    return [Entrant(name, layout, Routes.full(layout)) for name, layout in layouts.items()]


def make_race(
    *names: str,
    checkpoint: Path | None = None,
    on_progress: OnProgress = silent,
    problem: TabularProblem = PROBLEM,
) -> Race:
    return Race(
        entrants(*names),
        None,
        problem=problem,
        config=CONFIG,
        seed=2,
        checkpoint=checkpoint,
        on_progress=on_progress,
    )


def planted(monkeypatch: pytest.MonkeyPatch, value: Callable[[Layout], list[float]]) -> None:
    """Scores [T] that depend on the layout alone, with a little noise by fold."""

    def fold_scores(model: object, folds: int) -> np.ndarray:
        noise = np.random.default_rng(0).normal(size=(1 + folds, len(TASKS))) * 1e-5
        return np.array(value(model.grid.layout)) + noise  # type: ignore[attr-defined]

    monkeypatch.setattr(type(PROBLEM), "fold_scores", lambda _, *facts: fold_scores(*facts))


def by_name(values: dict[str, float]) -> Callable[[Layout], list[float]]:
    titles = {PROBLEM.layout(name, GRID).name: value for name, value in values.items()}
    return lambda layout: [titles[layout.name]] * len(TASKS)


VALUES = dict(zip(NAMES, (0.7, 0.5, 0.6, 0.4, 0.65), strict=True))


def standings(table: list[EntrantRecord]) -> dict[tuple[str, str], tuple[str, float]]:
    return {(row["name"], row["experts"]): (row["standing"], row["trained"]) for row in table}


def test_the_best_wins_and_the_others_are_dropped_by_halves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    planted(monkeypatch, by_name(VALUES))
    winner, table = make_race(*NAMES).run()
    assert winner.name == "shared_bottom"
    assert standings(table) == {
        ("shared_bottom", "mlp"): ("won", 1.0),
        ("shared_bottom", "cross"): ("beaten", 1.0),
        ("mmoe", "mlp"): ("dropped", 0.5),
        ("embeddings_apart", "mlp"): ("dropped", 0.25),
        ("towers_apart", "mlp"): ("dropped", 0.25),
        ("all_apart", "mlp"): ("dropped", 0.25),
    }
    assert [row["score"] for row in table] == sorted((row["score"] for row in table), reverse=True)
    for row in table:
        weights = [*PROBLEM.score_weights.values()]
        assert row["score"] == pytest.approx(np.average([*row["tasks"].values()], weights=weights))
        assert list(row["tasks"]) == [task.name for task in TASKS] and 0 < row["loss"] < 10
        assert row["parameters"] > 0 and row["multiply_adds"] > 0


def test_a_race_looks_at_the_stop_tasks_alone() -> None:
    named = replace(PROBLEM, stop_tasks=("watch", "click"))
    winner, table = make_race("shared_bottom", "towers_apart", problem=named).run()
    assert all(list(row["tasks"]) == ["click", "watch"] for row in table)
    assert winner.name == max(table, key=lambda row: row["score"])["name"] == table[0]["name"]


@pytest.mark.parametrize(
    ("fewest", "trained"), [(2, {0.25, 0.5, 1.0}), (3, {0.5, 1.0}), (5, {1.0})]
)
def test_nobody_is_dropped_before_the_fewest_steps(
    fewest: int, trained: set[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    planted(monkeypatch, by_name(VALUES))
    monkeypatch.setattr(race_module, "FEWEST_STEPS", fewest)
    training = CONFIG.training
    rows = len(PROBLEM.train)
    assert training.steps_a_pass(rows) * training.passes(rows) == 8
    winner, table = make_race(*NAMES).run()
    assert winner.name == "shared_bottom" and {row["trained"] for row in table} == trained


def test_the_other_kind_of_experts_wins_where_it_is_better(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    of_wiring = by_name(VALUES)

    def value(layout: Layout) -> list[float]:
        crossed = layout.layers[0].experts == "cross"
        return [part + (0.01 if crossed else 0.0) for part in of_wiring(layout)]

    planted(monkeypatch, value)
    winner, table = make_race(*NAMES).run()
    assert (winner.name, winner.experts, table[0]["experts"]) == ("shared_bottom", "cross", "cross")


def test_a_veto_passes_the_win_on_and_at_last_to_the_network_that_shares_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    apart = PROBLEM.layout("all_apart", GRID).name

    def value(layout: Layout) -> list[float]:
        return [0.5] * 4 if layout.name == apart else [0.58, 0.58, 0.58, 0.35]

    planted(monkeypatch, value)
    winner, table = make_race("shared_bottom", "towers_apart", "mmoe", "cgc", "all_apart").run()
    assert winner.name == "all_apart" and table[0]["trained"] == 1.0
    vetoed = [row for row in table if row["standing"] == "vetoed"]
    assert len(vetoed) == 2
    assert all(row["why"].endswith("shares nothing on stars") for row in vetoed)


def test_the_winner_goes_on_from_where_the_race_left_it(tmp_path: Path) -> None:
    """Raced and then trained, a network is to the bit what it is when it is trained alone."""
    path = tmp_path / "searched.safetensors"
    (tmp_path / "searched.found-mlp.safetensors").write_text("left by a search that was killed")
    result = search(SPACE, PROBLEM, CONFIG, seed=2, checkpoint=path)
    assert list(tmp_path.iterdir()) == [path]
    layout = Layout.from_json(result.layout)
    raced, went_on, steps = trained(layout, checkpoint=path)
    alone, whole, _ = trained(layout)
    assert steps == 0 and went_on.rows == whole.rows
    assert all(torch.equal(raced[name], alone[name]) for name in alone)
    assert [check.epoch for check in went_on.checks] == [check.epoch for check in whole.checks]


def trained(
    layout: Layout, checkpoint: Path | None = None
) -> tuple[dict[str, Tensor], TrainingState, int]:
    steps = list[object]()
    torch.manual_seed(2)
    model = PROBLEM.network(layout, CONFIG.sizes)
    state = train(
        model,
        PROBLEM,
        CONFIG.training,
        seed=2,
        checkpoint=checkpoint,
        on_progress=lambda *facts: steps.append(facts),
    )
    return model.state_dict(), state, len(steps)


class Stopped(Exception):
    """Stands for a kill."""


@pytest.mark.parametrize("stop", [3, 14, 23])
def test_a_race_that_is_stopped_goes_on_to_the_same_table(tmp_path: Path, stop: int) -> None:
    winner, table = make_race(*NAMES).run()
    steps, path = list[str](), tmp_path / "searched-2.safetensors"

    def kill(*facts: object) -> None:
        steps.append(str(facts[0]))
        if len(steps) == stop:
            raise Stopped

    with pytest.raises(Stopped):
        make_race(*NAMES, checkpoint=path, on_progress=kill).run()
    assert race_files(path)
    again, same_table = make_race(*NAMES, checkpoint=path).run()
    assert (again, same_table) == (winner, table)
    assert list(tmp_path.iterdir()) == [path], "only the winner's training is left"


def test_a_race_killed_while_it_cleans_up_ends_as_it_would_have(tmp_path: Path) -> None:
    path = tmp_path / "searched-2.safetensors"
    race = make_race(*NAMES, checkpoint=path)
    winner, table = race.run()
    content = path.read_bytes()
    path.with_suffix(".race.json").write_text(json.dumps(race.results))
    assert make_race(*NAMES, checkpoint=path).run() == (winner, table)
    assert path.read_bytes() == content and list(tmp_path.iterdir()) == [path]


def test_what_is_raced_leaves_nothing_without_a_checkpoint(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert race_files(None) == []
    make_race("shared_bottom", "all_apart").run()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("budget", [None, Budget(share=0.6)])
def test_what_the_search_ends_with_is_the_winner_of_the_table(budget: Budget | None) -> None:
    config = replace(CONFIG, search=replace(CONFIG.search, budget=budget))
    result = search(SPACE, PROBLEM, config, seed=2)
    first = result.race[0]
    assert (first["name"], first["standing"]) == (result.winner, "won")
    assert [row["standing"] for row in result.race].count("won") == 1
    to_the_end = [row["score"] for row in result.race if row.get("trained") == 1.0]
    assert first["score"] == max(to_the_end), "no task vetoes here"
    copy = SearchResult.from_json(json.loads(json.dumps(result.to_json())))
    assert replace(copy, layout=result.layout) == result
    off = replace(config, search=replace(config.search, race=False))
    alone = search(SPACE, PROBLEM, off, seed=2)
    assert (alone.race, alone.winner) == ([], "found")
    if budget is not None:
        costs = [row["multiply_adds"] for row in result.race if "multiply_adds" in row]
        assert max(costs) < 1.11 * min(costs) and result.budget["met"]


def test_no_choice_of_a_search_depends_on_test_rows() -> None:
    """Test rows in another order, with other labels and features: the same route and winner."""
    order = np.random.default_rng(0).permutation(len(PROBLEM.test))
    test = PROBLEM.test.take(order)
    altered = replace(PROBLEM, test=replace(test, labels=1.0 - test.labels, numeric=-test.numeric))
    results = [search(SPACE, problem, CONFIG, seed=1) for problem in (PROBLEM, altered)]
    assert replace(results[0], seconds=0.0) == replace(results[1], seconds=0.0)
