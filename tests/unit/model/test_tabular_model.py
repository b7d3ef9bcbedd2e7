"""A model on disk: the same bits back, and what is damaged is refused."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from recmtl.errors import BundleError
from recmtl.grid import Routes, recmtl_grid
from recmtl.model import TabularModel, load_model, prune_model, save_model
from tests.grids import random_routes
from tests.tabular_problems import TASKS, make_model, make_problem

PROBLEM = make_problem()
IDS = torch.from_numpy(PROBLEM.test.ids.astype("int64"))
NUMERIC = torch.from_numpy(PROBLEM.test.numeric)


def searched() -> TabularModel:
    space = recmtl_grid(len(TASKS), cells=3, widths=(8, 4), depth=2)
    return prune_model(make_model(space, problem=PROBLEM), random_routes(space, 2))


@pytest.fixture
def saved(tmp_path: Path) -> tuple[TabularModel, Path]:
    model = searched()
    save_model(model, tmp_path)
    return model, tmp_path


def test_a_loaded_model_scores_the_same_bits(saved: tuple[TabularModel, Path]) -> None:
    model, folder = saved
    again = load_model(folder)
    assert not again.training
    assert again.columns == model.columns
    assert again.cost() == model.cost()
    assert torch.equal(again.predict(IDS, NUMERIC), model.predict(IDS, NUMERIC))


def test_a_saved_model_is_json_and_safetensors(saved: tuple[TabularModel, Path]) -> None:
    _, folder = saved
    assert {file.name for file in folder.iterdir()} == {"network.json", "weights.safetensors"}
    network = json.loads((folder / "network.json").read_text())
    assert set(network) == {"encoding", "heads", "layout", "sizes"}


def cut(folder: Path) -> None:
    file = folder / "weights.safetensors"
    file.write_bytes(file.read_bytes()[:-64])


def change(folder: Path, part: str, **values: object) -> None:
    file = folder / "network.json"
    network = json.loads(file.read_text())
    network[part].update(values)
    file.write_text(json.dumps(network))


DAMAGES: dict[str, Callable[[Path], object]] = {
    "weights cut": cut,
    "weights empty": lambda folder: (folder / "weights.safetensors").write_bytes(b""),
    "weights missing": lambda folder: (folder / "weights.safetensors").unlink(),
    "json cut": lambda folder: (folder / "network.json").write_text('{"heads": ['),
    "json of another kind": lambda folder: (folder / "network.json").write_text("[]"),
    "json without heads": lambda folder: (folder / "network.json").write_text("{}"),
    "unknown key": lambda folder: change(folder, "layout", colour="red"),
    "other width": lambda folder: change(folder, "sizes", embedding=5),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_model_is_refused_in_one_line(
    saved: tuple[TabularModel, Path], damage: str
) -> None:
    _, folder = saved
    DAMAGES[damage](folder)
    with pytest.raises(BundleError, match="not a saved model") as refused:
        load_model(folder)
    assert str(folder) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_prediction_leaves_the_mode_as_it_was() -> None:
    model = searched().train()
    model.predict(IDS[:3], NUMERIC[:3])
    assert model.training
    model.eval()
    model.predict(IDS[:3], NUMERIC[:3])
    assert not model.training


def test_decisions_change_the_scores() -> None:
    space = recmtl_grid(len(TASKS), cells=3, widths=(8, 4), depth=2)
    model = make_model(space, problem=PROBLEM)
    full, some = (
        model.predict(IDS, NUMERIC, routes.decisions(space))
        for routes in (Routes.full(space), random_routes(space, 2))
    )
    assert torch.equal(full, model.predict(IDS, NUMERIC))
    assert not torch.equal(full, some)
