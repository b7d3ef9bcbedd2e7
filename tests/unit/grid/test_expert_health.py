"""The health of experts: measures against plain formulas, and a warning for each thing broken."""

import json
from dataclasses import asdict
from itertools import chain

import pytest
import torch
from torch import Tensor, nn

from recmtl.grid import CATALOG, Layer, Layout, SharingGrid, dynashare, ml_mmoe, mmoe, shared_bottom
from recmtl.grid.expert_health import ExpertHealth, expert_warnings, linear_cka, measure_health
from recmtl.grid.expert_usage import expert_names
from tests.grids import random_lanes, random_layout, scrambled

TASKS = ("click", "buy", "watch")
INPUT, ROWS, EXPERTS = 12, 300, 4


def network(layout: Layout | None = None, *, dropout: float = 0.0) -> SharingGrid:
    """A fresh network: equal gates, experts drawn apart from one another."""
    torch.manual_seed(2)
    layout = layout or mmoe(len(TASKS), experts=EXPERTS, widths=(16, 8))
    return SharingGrid(layout, input_width=INPUT, dropout=dropout).eval()


def rows_for(grid: SharingGrid, rows: int = ROWS) -> Tensor:
    torch.manual_seed(3)
    return torch.randn(rows, grid.layout.input_lanes, INPUT)


def told(grid: SharingGrid) -> list[str]:
    return expert_warnings(measure_health(grid, rows_for(grid)), grid.layout, TASKS)


@pytest.mark.parametrize("name", CATALOG)
def test_a_fresh_network_of_any_layout_is_healthy(name: str) -> None:
    grid = network(CATALOG[name].layout(len(TASKS), cells=5, widths=(16, 8), depth=2))
    assert told(grid) == []


@pytest.mark.parametrize("seed", range(30))
def test_any_layout_can_be_measured(seed: int) -> None:
    """Carried lanes, shortcuts, instance rates, several input lanes, edges heard again."""
    layout = random_layout(seed)
    grid = scrambled(layout)
    lanes = random_lanes(layout, rows=20)
    first = measure_health(grid, lanes)
    health = measure_health(grid, lanes, first)
    names = expert_names(layout)
    assert [len(row) for row in health.use] == [len(names)] * layout.num_tasks
    assert len(health.dead) == len(names)
    sizes = [layer.num_experts for layer in layout.layers if layer.num_experts]
    assert [len(matrix) for matrix in health.similarity] == sizes
    assert health.drift == [0.0] * layout.num_tasks
    numbers = [*chain(*health.use), *health.dead, *(e for e in health.entropy if e is not None)]
    assert all(0.0 <= number <= 1.0 + 1e-6 for number in numbers)
    assert ExpertHealth(**json.loads(json.dumps(asdict(health)))) == health
    expert_warnings(health, layout, [str(t) for t in range(layout.num_tasks)])


def tilt(grid: SharingGrid, logits: list[tuple[int, int, float]], *, depth: int = 0) -> None:
    """Give the gates of (lane, expert) pairs a constant logit, whatever the row."""
    gate = grid.layer(depth).gate
    for lane, expert, value in logits:
        gate.logit(-1, lane, expert)[1].data.fill_(value)


def test_a_task_that_hears_one_expert_has_collapsed() -> None:
    grid = network()
    tilt(grid, [(1, 2, 9.0)])
    [sentence] = told(grid)
    assert "gates of buy have collapsed onto expert 1.2: of 4 experts" in sentence
    assert "100%" in sentence


def test_a_task_with_one_expert_has_no_choice_to_collapse() -> None:
    assert told(network(shared_bottom(3, widths=(16, 8)))) == []


def test_an_expert_that_nobody_hears_is_starved() -> None:
    grid = network()
    tilt(grid, [(task, 3, -4.0) for task in range(3)])
    [sentence] = told(grid)
    assert "Expert 1.3 is starved" in sentence and "equal share is 25%" in sentence
    tilt(grid, [(0, 3, -2.0)])  # 4 percent of one task are enough
    assert told(grid) == []


def test_what_only_a_starved_expert_hears_is_starved_as_well() -> None:
    """Use is followed down from the heads, layer by layer."""
    grid = network(ml_mmoe(3, experts=3, levels=[(16,), (8,)]))
    tilt(grid, [(0, 2, -20.0), (1, 2, -20.0)])  # only lane 2 hears the lower expert 2
    assert told(grid) == []
    tilt(grid, [(task, 2, -20.0) for task in range(3)], depth=1)  # and nobody the expert above it
    assert [sentence[:21] for sentence in told(grid)] == [
        "Expert 1.2 is starved",
        "Expert 2.2 is starved",
    ]


@pytest.mark.parametrize("depth", [0, 1], ids=["hidden", "output"])
def test_an_expert_of_zeros_is_dead(depth: int) -> None:
    grid = network()
    with torch.no_grad():
        grid.layer(0).experts.biases[depth][1] = -1e4
    [sentence] = told(grid)
    assert sentence == "Expert 1.1 is dead: 100% of its units are zero on every row."


def test_a_few_zeros_are_no_death() -> None:
    grid = network()
    with torch.no_grad():
        grid.layer(0).experts.biases[0][1, 0, :8] = -1e4
    assert measure_health(grid, rows_for(grid)).dead == pytest.approx([0.0, 0.5, 0.0, 0.0], abs=0.2)
    assert told(grid) == []


def test_copies_of_an_expert_are_identical_however_their_units_are_ordered() -> None:
    grid = network()
    experts = grid.layer(0).experts
    with torch.no_grad():
        for copy, order in ((1, torch.arange(8)), (3, torch.randperm(8))):
            experts.weights[0][copy] = experts.weights[0][0]
            experts.weights[1][copy] = 3.0 * experts.weights[1][0][:, order]
    [sentence] = told(grid)
    assert "Experts 1.0, 1.1 and 1.3 are identical: their similarity is 1.0000" in sentence


def test_examples_that_skip_starve_what_they_skip() -> None:
    """A layer that no example runs is heard by nobody; the layers beside it are as before."""
    grid = network(dynashare(3, widths=(16,), rates=(0.5, 0.5), hidden=(8,)))
    gated = [d for d in range(len(grid.layers)) if grid.layer(d).instance is not None]
    with torch.no_grad():
        grid.layer(gated[-1]).instance.last.bias.fill_(-50.0)
        grid.layer(gated[0]).instance.last.bias.fill_(50.0)
    health = measure_health(grid, rows_for(grid))
    names = expert_names(grid.layout)
    skipped, run = (names.index(f"{d + 1}.0") for d in (gated[-1], gated[0]))
    assert [row[skipped] for row in health.use] == [0.0] * 3
    assert [row[run] for row in health.use] == [1.0] * 3
    [sentence] = expert_warnings(health, grid.layout, TASKS)
    assert f"Expert {names[skipped]} is starved" in sentence


def test_use_is_the_share_of_examples_that_run() -> None:
    grid = network(dynashare(1, widths=(16,), rates=(0.5,), hidden=(8,)))
    lanes = rows_for(grid)
    with torch.no_grad():
        ran = grid.layer(1).instance(grid.layer(0)(lanes, lanes.flatten(1), None)).mean().item()
    assert 0.0 < ran < 1.0
    assert measure_health(grid, lanes).use == [[1.0, pytest.approx(ran, abs=1e-5)]]


def test_entropy_is_one_for_equal_gates_and_zero_for_one_expert() -> None:
    grid = network()
    tilt(grid, [(1, 2, 60.0), (2, 0, 1.0)])
    p = torch.tensor([1.0, 0.0, 0.0, 0.0]).softmax(0)
    expected = float(-(p * p.log()).sum() / torch.tensor(4.0).log())
    entropy = measure_health(grid, rows_for(grid)).entropy
    assert entropy == pytest.approx([1.0, 0.0, expected], abs=1e-5)


def test_a_network_without_gates_has_no_entropy() -> None:
    grid = network(shared_bottom(3, widths=(16,)))
    assert measure_health(grid, rows_for(grid)).entropy == [None, None, None]


def test_drift_is_the_mean_change_of_use() -> None:
    grid = network()
    before = measure_health(grid, rows_for(grid))
    assert before.drift is None
    tilt(grid, [(0, 1, 2.0)])
    after = measure_health(grid, rows_for(grid), before)
    shares = torch.tensor([0.0, 2.0, 0.0, 0.0]).softmax(0)
    assert after.drift == pytest.approx([float((shares - 0.25).abs().mean()), 0.0, 0.0], abs=1e-5)


def plain_cka(x: Tensor, y: Tensor) -> float:
    """`||Y'X||^2 / (||X'X|| ||Y'Y||)`, Frobenius norms of centred features."""
    x, y = x - x.mean(0), y - y.mean(0)
    return float((y.t() @ x).norm() ** 2 / ((x.t() @ x).norm() * (y.t() @ y).norm()))


def test_similarity_is_centred_kernel_alignment() -> None:
    x, y = torch.randn(50, 4).double(), torch.randn(50, 7).double()
    rotation = torch.linalg.qr(torch.randn(4, 4).double())[0]
    flat = torch.ones(50, 3).double()
    found = linear_cka([x, y, 5.0 * x @ rotation + 2.0, flat])
    assert float(found[0, 1]) == pytest.approx(plain_cka(x, y), abs=1e-12)
    assert float(found[0, 2]) == pytest.approx(1.0, abs=1e-12)
    assert found[3].tolist() == [0.0] * 4
    torch.testing.assert_close(found, found.t())


def test_measuring_leaves_the_network_and_the_random_numbers_alone() -> None:
    grid = network(dropout=0.5).train()
    lanes, state = rows_for(grid), torch.get_rng_state()
    one, two = measure_health(grid, lanes), measure_health(grid, lanes)
    assert one == two == measure_health(grid.eval(), lanes)
    assert torch.equal(torch.get_rng_state(), state)
    assert measure_health(grid.train(), lanes) == one
    assert grid.training and grid.layer(0).experts.training
    assert all(p.grad is None for p in grid.parameters())


class Convolutions(nn.Module):
    """Experts for images: lane 0 `[B, S, C, H, W]` to `[B, A, C', H, W]`."""

    def __init__(self, experts: int) -> None:
        super().__init__()
        self.parts = nn.ModuleList(nn.Conv2d(3, 6, 3, padding=1) for _ in range(experts))

    def forward(self, lanes: Tensor) -> Tensor:
        return torch.stack([part(lanes[:, 0]).relu() for part in self.parts], 1)


def test_experts_for_images_are_measured_by_channel() -> None:
    layer = Layer(6, applications=((0, 0), (1, 0)), edges=((0,), (1,)), gate="one")
    grid = SharingGrid(Layout("images", (layer,), readout=(0, 1)), input_width=3).eval()
    grid.layer(0).experts = Convolutions(2)
    with torch.no_grad():
        grid.layer(0).experts.parts[1].bias[:3] = -1e4
    health = measure_health(grid, torch.randn(20, 1, 3, 5, 5))
    assert health.dead == [0.0, 0.5]
    assert health.use == [[1.0, 0.0], [0.0, 1.0]]
    assert 0.0 < health.similarity[0][0][1] < 1.0
