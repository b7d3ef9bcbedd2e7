"""A blend of networks: what it scores, costs and keeps."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from recmtl.errors import BundleError
from recmtl.model import BlendedModel, ModelSizes, TabularModel, load_blend, predict, save_blend
from recmtl.model.heads import AITM
from recmtl.train.config import Blend, Config
from tests.tabular_problems import ENCODING, make_model, make_problem

TASKS = 4
PLACES = ((0,), (1,), (2,), ())
"""Places of the forests' logits: the last task has none."""


def network(seed: int) -> TabularModel:
    torch.manual_seed(seed)
    model = make_model()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


def rows(extra: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    batch = next(make_problem().test.batches(batch_size=64, seed=None))
    ids, numeric = batch.inputs
    logits = torch.randn(len(ids), extra, generator=torch.Generator().manual_seed(0))
    return ids, torch.cat([numeric, logits], 1)


def mixed(forest: bool = False) -> BlendedModel:
    members = 3 if forest else 2
    weights = torch.rand(members, TASKS, generator=torch.Generator().manual_seed(1))
    if forest:
        weights[-1, 3] = 0
    weights /= weights.sum(0)
    places = PLACES if forest else None
    return BlendedModel([network(0), network(1)], weights, forest=places, fields=3)


def test_a_blend_is_the_weighted_sum_of_logits() -> None:
    blend, (ids, numeric) = mixed(forest=True), rows(3)
    first, second = (n(ids, numeric[:, :2]) for n in blend.networks)
    for task, blended in enumerate(blend(ids, numeric)):
        a, b, c = blend.weights[:, task].tolist()
        expected = a * first[task] + b * second[task]
        if task < 3:
            raw, spec = numeric[:, [2 + task]], blend.heads.specs[task]
            expected = expected + c * ((raw - spec.mean) / spec.std if task == 2 else raw)
        torch.testing.assert_close(blended, expected)


def test_identical_members_score_as_one_does() -> None:
    ids, numeric = rows()
    twins = BlendedModel([network(0), network(0)], torch.full((2, TASKS), 0.5))
    torch.testing.assert_close(
        twins.predict(ids, numeric), network(0).predict(ids, numeric), rtol=0, atol=1e-6
    )


def test_one_member_with_all_the_weight_scores_with_its_bits() -> None:
    ids, numeric = rows()
    weights = torch.tensor([[0.0] * TASKS, [1.0] * TASKS])
    alone = BlendedModel([network(0), network(1)], weights)
    assert torch.equal(alone.predict(ids, numeric), network(1).predict(ids, numeric))
    assert alone.cost() == network(1).cost(), "a network without weight is not run"


def test_the_joint_probability_is_the_product_down_the_funnel() -> None:
    blend, problem = mixed(), make_problem()
    scores = predict(blend, problem.test)
    product = scores["p_click"] * scores["p_buy_given_click"]
    np.testing.assert_allclose(scores["p_click_and_buy"], product, rtol=1e-5)


def test_costs_of_the_networks_add_up() -> None:
    costs = [network(seed).cost() for seed in (0, 1)]
    assert mixed().cost() == costs[0] + costs[1]


@pytest.mark.parametrize("forest", [False, True])
def test_what_was_saved_scores_the_same_bits(forest: bool, tmp_path: Path) -> None:
    blend, (ids, numeric) = mixed(forest), rows(3 * forest)
    (tmp_path / "model").mkdir()
    save_blend(blend, tmp_path)
    loaded = load_blend(tmp_path, fields=3)
    assert isinstance(loaded, BlendedModel) and not loaded.training
    assert torch.equal(loaded.predict(ids, numeric), blend.predict(ids, numeric))
    names = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file())
    of_networks = ["network.json", "weights.safetensors"]
    expected = [f"{place}/{name}" for place in ("members/1", "model") for name in of_networks]
    assert names == ["blend.json", *expected]


def test_a_network_alone_is_saved_as_ever(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    save_blend(network(0), tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model"]
    assert type(load_blend(tmp_path, fields=0)) is TabularModel


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"weights": {}}, "click"),
        ({"networks": 7}, "not a saved model"),
        ({"networks": 1}, "weights of shape"),
        ({"forest": [[0], [1], [2], [9, 9, 9]]}, "that are not there"),
        ({"forest": [[0], [], [2], []]}, "has not the logits of 'buy'"),
        ({"forest": "abc"}, "is no blend"),
        ({"forest": None}, "weights of shape"),
    ],
)
def test_a_forged_blend_is_refused(change: dict[str, object], fault: str, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    save_blend(mixed(forest=True), tmp_path)
    path = tmp_path / "blend.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(BundleError, match=fault):
        load_blend(tmp_path, fields=3)


def test_weights_that_are_no_weights_are_refused() -> None:
    for weights in ([[1.5] * TASKS, [-0.5] * TASKS], [[0.5] * TASKS, [0.4] * TASKS]):
        with pytest.raises(ValueError, match="negative, or do not sum to 1"):
            BlendedModel([network(0), network(1)], torch.tensor(weights))
    with pytest.raises(ValueError, match="negative, or do not sum to 1"):
        BlendedModel([network(0)], torch.full((1, TASKS), torch.nan))


def test_networks_of_joint_logits_are_refused() -> None:
    problem = make_problem()
    sizes = ModelSizes(embedding=4, tower=(6,), chain=AITM)
    joint = TabularModel(ENCODING, problem.heads, layout=make_model().grid.layout, sizes=sizes)
    with pytest.raises(ValueError, match="joint chain"):
        BlendedModel([joint.eval()], torch.ones(1, TASKS))
    with pytest.raises(ValueError, match=r"set sizes.chain.child to conditional, or blend"):
        Config(sizes=sizes, blend=Blend(enabled=True))
