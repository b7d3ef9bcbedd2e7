"""Networks of images through the training, search and branching of tables."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from recmtl.errors import ConfigError
from recmtl.grid import Layout, Routes, prune
from recmtl.job.study import Study
from recmtl.job.work.items import search_settings, search_space
from recmtl.model import ModelSizes, save_model
from recmtl.search.search import search
from recmtl.search.tree_search import TreeSearchResult, search_tree
from recmtl.train.loop import train
from recmtl.train.problem import network_cost
from recmtl.vision.config import ImageNetworkConfig, StepLengths, TrunkShape
from recmtl.vision.job import IMAGE_PROBLEMS
from recmtl.vision.model import ImageModel, load_image_model, prune_image_model
from recmtl.vision.trunks import IMAGE_CATALOG
from tests.image_problems import TASKS, make_config, make_images

PROBLEM, CONFIG = make_images(), make_config()
SIZES = ModelSizes()


def fresh(layout: Layout | None = None, seed: int = 0) -> ImageModel:
    torch.manual_seed(seed)
    return PROBLEM.network(layout or PROBLEM.layout("shared_bottom"), SIZES)


def weights(model: ImageModel) -> list[torch.Tensor]:
    return list(model.state_dict().values())


def test_lengths_in_steps_count_the_batches_of_a_step() -> None:
    settings = replace(CONFIG.training, batch_size=8, accumulate=3)
    config = make_config(training=settings, steps=StepLengths(training=10, search=10))
    found = config.with_epochs(48)
    assert found.training.epochs == 5, "of two steps each"
    assert found.search.epochs == round(10 / -(-round(48 * (1.0 - config.search.policy_rows)) // 8))


@pytest.mark.parametrize("save_every", [0, 2])
def test_a_resumed_training_ends_with_the_same_bits(tmp_path: Path, save_every: int) -> None:
    settings = replace(CONFIG.training, save_every=save_every)
    layout = PROBLEM.layout("adashare")
    whole = fresh(layout)
    train(whole, PROBLEM, settings, seed=1)
    path = tmp_path / "state.safetensors"

    def stop(what: str, done: int, total: int, check: object) -> None:
        if done > len(PROBLEM.train) + 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(fresh(layout), PROBLEM, settings, seed=1, checkpoint=path, on_progress=stop)
    resumed = fresh(layout, seed=9)
    train(resumed, PROBLEM, settings, seed=1, checkpoint=path)
    assert all(torch.equal(a, b) for a, b in zip(weights(whole), weights(resumed), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adashare", "dynashare", "searched"])
def test_routes_are_searched_and_the_network_found_is_trained(name: str) -> None:
    space = search_space(name, CONFIG, PROBLEM)
    found = search(space, PROBLEM, search_settings(name, CONFIG), seed=0)
    layout = Layout.from_json(found.layout)
    assert layout == prune(space, found.routes).layout
    assert set(found.history[-1]["validation"]) == {task.name for task in TASKS}
    fitted = train(fresh(layout), PROBLEM, CONFIG.training, seed=0)
    assert np.isfinite(fitted.checks[-1].score)
    assert search(space, PROBLEM, search_settings(name, CONFIG), seed=0).routes == found.routes


def test_a_tree_is_found_from_the_features_of_each_stage() -> None:
    shape = TrunkShape(depths=(2, 1), widths=(6, 8), strides=(2, 2), norm="group")
    few = make_images(TASKS[:3], network=ImageNetworkConfig(trunk=shape, device="cpu"))
    found = search_tree(few, CONFIG, seed=0, rows=9)
    assert found.affinity.shape == (2, 3, 3)
    pieces = {
        name: replace(getattr(few, name), largest_batch=4) for name in ("train", "validation")
    }
    again = search_tree(replace(few, **pieces), CONFIG, seed=0, rows=9)
    np.testing.assert_allclose(again.affinity, found.affinity, rtol=1e-3)
    assert TreeSearchResult.from_json(found.to_json()).layout == found.layout
    few.network(found.layout, SIZES)


@pytest.mark.parametrize("name", IMAGE_CATALOG)
def test_cost_is_counted_without_a_network(name: str) -> None:
    layout = PROBLEM.layout(name)
    model = fresh(layout)
    assert network_cost(PROBLEM, layout, SIZES) == model.cost()
    assert model.cost().parameters == sum(p.numel() for p in model.parameters())


def test_a_saved_model_is_the_same_model(tmp_path: Path) -> None:
    model = fresh(PROBLEM.layout("dynashare"))
    train(model, PROBLEM, CONFIG.training, seed=0)
    save_model(model, tmp_path)
    again = load_image_model(tmp_path)
    assert PROBLEM.evaluate(again, "test") == PROBLEM.evaluate(model, "test")


def test_a_pruned_model_scores_the_same() -> None:
    space = PROBLEM.layout("adashare")
    model = fresh(space)
    full = Routes.full(space)
    last = full.layers[-1]
    routes = Routes((*full.layers[:-1], type(last)(last.edges, last.queries, (False,) * 6)))
    small = prune_image_model(model, routes)
    masked = PROBLEM.evaluate(model, "test", routes.decisions(space))
    for name, metrics in PROBLEM.evaluate(small, "test").items():
        assert metrics == pytest.approx(masked[name], rel=1e-4, nan_ok=True)
    assert small.cost().multiply_adds < model.cost().multiply_adds


def test_mixed_precision_trains_and_is_near_full_precision() -> None:
    network = ImageNetworkConfig(trunk=CONFIG.network.trunk, device="cpu", mixed=True)
    half = make_images(network=network)
    torch.manual_seed(0)
    model = half.network(half.layout("adashare"), SIZES)
    full = fresh(PROBLEM.layout("adashare"))
    images = torch.rand(3, 3, 16, 12)
    for one, other in zip(model.eval()(images), full.eval()(images), strict=True):
        torch.testing.assert_close(one.float(), other, rtol=0.1, atol=0.1)
        assert one.dtype == torch.bfloat16
    fitted = train(model, half, CONFIG.training, seed=0)
    assert np.isfinite(fitted.checks[-1].loss)
    found = search(half.layout("dynashare"), half, CONFIG, seed=0)
    assert len(found.candidates) >= 1


def test_one_task_alone_has_its_own_targets() -> None:
    alone = PROBLEM.only(TASKS[3])
    assert [task.name for task in alone.tasks] == ["depth"]
    both = PROBLEM.train.example(0, None).targets[3], alone.train.example(0, None).targets[0]
    assert np.array_equal(*both, equal_nan=True)
    study = Study(Path(), IMAGE_PROBLEMS, PROBLEM, CONFIG)
    assert study._layout_alone(alone).num_tasks == 1


def test_the_score_grows_with_every_metric() -> None:
    metrics = PROBLEM.evaluate(fresh(), "validation")
    before = PROBLEM.score(metrics)
    chosen = ("accuracy", "f1", "miou", "abs", "mean", "abs")
    for task, metric in zip(TASKS, chosen, strict=True):
        assert PROBLEM.primary(metrics)[task.name] == metrics[task.name][metric]
        step = 0.1 if metric in ("accuracy", "f1", "miou") else -0.1
        own = {**metrics[task.name], metric: metrics[task.name][metric] + step}
        assert PROBLEM.score({**metrics, task.name: own}) > before


def test_what_is_not_built_of_blocks_is_refused() -> None:
    with pytest.raises(ConfigError, match="ple: is not for images"):
        PROBLEM.layout("ple")
    with pytest.raises(ConfigError, match="no task 'shap'"):
        make_images(task_weights={"shap": 2.0})
    shape = TrunkShape(depths=(1,), widths=(6,), strides=(1,), dilations=(1,), rates=(1.0, 0.5))
    with pytest.raises(ConfigError, match="2 are given for 1 blocks"):
        make_images(network=ImageNetworkConfig(trunk=shape)).layout("dynashare")
