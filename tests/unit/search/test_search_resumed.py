"""A search that was stopped goes on to the same route and the same bits, and leaves nothing."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from recmtl.errors import DataError
from recmtl.grid import recmtl_grid
from recmtl.job.work.items import search_settings, search_space
from recmtl.search import search as search_module
from recmtl.search.search import SearchResult, search
from recmtl.search.tree_search import search_tree
from recmtl.train.config import Budget, Config, Grid, Search, Training
from tests.image_problems import make_config, make_images
from tests.tabular_problems import make_problem

PROBLEM, IMAGES = make_problem(rows=400), make_images()
CONFIG = Config(
    grid=Grid(cells=3, widths=(8, 4), max_edges=2),
    training=Training(batch_size=32, epochs=2),
    search=Search(epochs=3, warm_up=0.2, candidates=3, budget=Budget(share=0.4), race=False),
)
ONE_DRAW = replace(CONFIG, search=replace(CONFIG.search, estimator="reinforce", samples=1))
SPACE = recmtl_grid(4, cells=3, widths=(8, 4), depth=2)
RACED = recmtl_grid(4, cells=6, widths=(8, 4), depth=2)
RACE = replace(CONFIG, search=replace(CONFIG.search, race=True))


class Stopped(Exception):
    """Stands for a kill."""


def stop_after(calls: int, name: str = "") -> Callable[..., None]:
    told = 0

    def on_progress(what: object, *_: object, **__: object) -> None:
        nonlocal told
        told += str(what).startswith(name)
        if told > calls:
            raise Stopped

    return on_progress


def same(one: SearchResult, other: SearchResult) -> bool:
    return replace(one, seconds=0.0) == replace(other, seconds=0.0)


@pytest.mark.parametrize(
    ("save_every", "stops", "goes_on_at"), [(0, (3, 15), 9), (4, (3, 15), 12), (4, (6, 1), 4)]
)
def test_a_stopped_search_of_tables_goes_on(
    tmp_path: Path, save_every: int, stops: tuple[int, ...], goes_on_at: int
) -> None:
    config = replace(CONFIG, training=replace(CONFIG.training, save_every=save_every))
    whole, path = search(SPACE, PROBLEM, config, seed=3), tmp_path / "searched-3.safetensors"
    for calls in stops:
        with pytest.raises(Stopped):
            search(SPACE, PROBLEM, config, seed=3, checkpoint=path, on_progress=stop_after(calls))
    told: list[int] = []
    again = search(
        SPACE,
        PROBLEM,
        config,
        seed=3,
        checkpoint=path,
        on_progress=lambda *facts: told.append(facts[1]),
    )
    assert same(again, whole)
    assert told[0] == (goes_on_at + 1) * 32
    assert not list(tmp_path.iterdir())
    prices = [record["price"] for record in whole.history]
    assert len(set(prices)) == len(prices), "the budget binds"


def test_what_single_draws_are_compared_with_goes_on(tmp_path: Path) -> None:
    whole, path = search(SPACE, PROBLEM, ONE_DRAW, seed=3), tmp_path / "searched-3.safetensors"
    with pytest.raises(Stopped):
        search(SPACE, PROBLEM, ONE_DRAW, seed=3, checkpoint=path, on_progress=stop_after(15))
    assert same(search(SPACE, PROBLEM, ONE_DRAW, seed=3, checkpoint=path), whole)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adashare", "dynashare", "searched"])
def test_a_stopped_search_of_images_goes_on(tmp_path: Path, name: str) -> None:
    given = make_config()
    config = replace(given, training=replace(given.training, save_every=2))
    space, settings = search_space(name, config, IMAGES), search_settings(name, config)
    whole, path = search(space, IMAGES, settings, seed=1), tmp_path / f"{name}-1.safetensors"
    with pytest.raises(Stopped):
        search(space, IMAGES, settings, seed=1, checkpoint=path, on_progress=stop_after(5))
    assert len(list(tmp_path.iterdir())) == 1
    assert same(search(space, IMAGES, settings, seed=1, checkpoint=path), whole)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["adashare", "dynashare"])
def test_only_the_choice_is_left_of_a_search_that_was_stopped_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    config = make_config()
    space, settings = search_space(name, config, IMAGES), search_settings(name, config)
    whole, path = search(space, IMAGES, settings, seed=1), tmp_path / f"{name}-1.safetensors"
    with monkeypatch.context() as patched, pytest.raises(Stopped):
        patched.setattr(search_module, "choose_route", stop_after(0))
        search(space, IMAGES, settings, seed=1, checkpoint=path)
    told: list[str] = []
    again = search(
        space,
        IMAGES,
        settings,
        seed=1,
        checkpoint=path,
        on_progress=lambda *facts: told.append(facts[0]),
    )
    assert same(again, whole) and not told


@pytest.mark.slow
def test_a_stopped_race_goes_on_and_leaves_the_winner_s_training(tmp_path: Path) -> None:
    steps, path = list[str](), tmp_path / "searched-0.safetensors"
    whole = search(
        RACED,
        PROBLEM,
        RACE,
        seed=0,
        on_progress=lambda *facts: steps.append(facts[0]) if facts[0] == "race-0" else None,
    )
    stop, told = stop_after(30, "race"), list[str]()
    with pytest.raises(Stopped):
        search(RACED, PROBLEM, RACE, seed=0, checkpoint=path, on_progress=stop)
    again = search(
        RACED,
        PROBLEM,
        RACE,
        seed=0,
        checkpoint=path,
        on_progress=lambda *facts: told.append(facts[0]),
    )
    assert same(again, whole) and len(whole.race) > 6
    assert set(told) == {"race-0"}, "the search is over"
    left, a_round = len(steps) - 30, 7
    assert left <= len(told) < left + a_round, "no more than a part of one training is repeated"
    assert list(tmp_path.iterdir()) == [path]


def test_races_of_a_lost_search_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "searched-0.safetensors"
    path.with_suffix(".race.json").write_text("of another search")
    for name in ("found-mlp", "shared_bottom-mlp"):
        path.with_suffix(f".{name}.safetensors").write_bytes(b"of another search")
    assert same(
        search(RACED, PROBLEM, RACE, seed=0, checkpoint=path),
        search(RACED, PROBLEM, RACE, seed=0),
    )


def test_the_state_of_another_search_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "searched-0.safetensors"
    with pytest.raises(Stopped):
        search(SPACE, PROBLEM, CONFIG, seed=0, checkpoint=path, on_progress=stop_after(15))
    other = recmtl_grid(4, cells=4, widths=(8, 4), depth=2)
    with pytest.raises(DataError, match=r"searched-0\.search\.safetensors: not a checkpoint"):
        search(other, PROBLEM, CONFIG, seed=0, checkpoint=path)


def test_a_stopped_search_of_a_tree_goes_on(tmp_path: Path) -> None:
    whole, told = search_tree(PROBLEM, CONFIG, seed=0), list[str]()
    path, stop = tmp_path / "branched-0.safetensors", stop_after(30, "branches-")
    with pytest.raises(Stopped):
        search_tree(PROBLEM, CONFIG, seed=0, checkpoint=path, on_progress=stop)
    again = search_tree(
        PROBLEM, CONFIG, seed=0, checkpoint=path, on_progress=lambda *facts: told.append(facts[0])
    )
    assert again.tree == whole.tree
    assert (again.affinity == whole.affinity).all()
    assert {f"branches-{task.name}" for task in PROBLEM.tasks} - set(told) == {"branches-click"}
    assert not list(tmp_path.iterdir())
