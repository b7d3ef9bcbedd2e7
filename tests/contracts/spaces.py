"""Search spaces, tables and images, with every policy and every mixture of policies in them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from recmtl.grid import INPUT, Decision, Layer, Layout, SharingGrid
from recmtl.grid.experts import pooled_features
from recmtl.grid.network import GridLayer
from recmtl.policies import Policy, RoutePolicy, SkipPolicy

TASKS, WIDTH = 3, 4
EVERYONE = tuple(range(TASKS))
HEIGHT, BREADTH = 3, 2
"""Pixels of an image lane, `[B, S, WIDTH, HEIGHT, BREADTH]`."""
MAX_EDGES = 2


def tree(*, rate: float = 1.0) -> Layout:
    """AdaShare's: a stem, then two blocks that each task runs or skips; tasks are alike."""
    stem = Layer(WIDTH, ((0, 0),), ((0,),) * TASKS, gate="one")
    block = Layer(
        WIDTH,
        tuple((0, task) for task in EVERYONE),
        tuple((task,) for task in EVERYONE),
        gate="one",
        shortcut=EVERYONE,
        rate=rate,
    )
    return Layout("skips", (stem, block, block), EVERYONE)


def cells() -> Layout:
    """Routes alone: lanes that differ in edges, then a softmax gate with a searched query."""
    first = Layer(
        WIDTH,
        tuple((e, 0) for e in range(4)),
        ((0, 1, 2, 3), (0, 2, 3), (1,)),
        gate="one",
        searched=True,
    )
    return Layout("routes", (first, _mixing()), EVERYONE)


def both(*, rate: float = 1.0) -> Layout:
    """Skips below routes, and a layer in which both decide; with a rate, examples do too."""
    skips, mixing = tree(rate=rate), _mixing()
    layers = (*skips.layers[:2], replace(mixing, shortcut=(0, None, 2), rate=rate), mixing)
    return Layout("routes and skips", layers, EVERYONE)


def _mixing() -> Layer:
    """Every task listens to some of three experts and looks at the input or at its own lane."""
    return Layer(
        WIDTH,
        tuple((e, e) for e in EVERYONE),
        (EVERYONE,) * TASKS,
        queries=tuple((INPUT, lane) for lane in EVERYONE),
        searched=True,
    )


@dataclass(frozen=True)
class Case:
    """A search space, the policies in it, and what the lanes are."""

    name: str
    layout: Layout
    build: Callable[[Layout], Policy]
    image: bool = False

    def policy(self, *, seed: int = 0, scale: float = 1.0) -> Policy:
        """The policy in float64 with drawn architecture parameters."""
        torch.manual_seed(seed)
        policy = self.build(self.layout).double()
        with torch.no_grad():
            for parameter in policy.parameters():
                parameter.normal_(std=scale)
        return policy

    def network(self, *, seed: int = 1) -> SharingGrid:
        """A float64 network with drawn weights, in evaluation."""
        torch.manual_seed(seed)
        network = SharingGrid(self.layout, input_width=WIDTH)
        if self.image:
            as_images(network)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.normal_(std=0.7)
        network = network.double().eval()
        run_for_half(network, self.lanes())
        return network

    def lanes(self, *, rows: int = 6, seed: int = 2) -> Tensor:
        """Input lanes `[rows, 1, WIDTH]`, or `[rows, 1, WIDTH, HEIGHT, BREADTH]`."""
        torch.manual_seed(seed)
        size = (WIDTH, HEIGHT, BREADTH) if self.image else (WIDTH,)
        return torch.randn(rows, 1, *size, dtype=torch.float64)


@torch.no_grad()
def run_for_half(network: SharingGrid, lanes: Tensor) -> None:
    """Shift the instance gates so that about half of the examples run."""
    source = pooled_features(lanes).flatten(1)
    for depth in range(len(network.layers)):
        layer, odds = network.layer(depth), list[Tensor]()
        if layer.instance is not None:
            hook = layer.instance.last.register_forward_hook(
                lambda *pooled_features, o=odds: o.append(pooled_features[2])
            )
            layer.instance(lanes)
            hook.remove()
            layer.instance.last.bias -= odds[0].median()
        lanes = layer(lanes, source, None)


def as_images(network: SharingGrid) -> None:
    """Give every layer convolutions in place of products."""
    for depth, layer in enumerate(network.layout.layers):
        network.layers[depth] = GridLayer(
            layer, Convolutions(layer.applications), lane_width=WIDTH, input_width=WIDTH
        )


class Convolutions(nn.Module):
    """Lanes `[B, S, C, H, W]` to the applications' outputs `[B, A, C, H, W]`."""

    def __init__(self, applications: Sequence[tuple[int, int]]) -> None:
        super().__init__()
        self.applications = tuple(applications)
        experts = max(expert for expert, _ in applications) + 1
        self.weights = nn.Parameter(torch.empty(experts, WIDTH, WIDTH, 3, 3))

    def forward(self, lanes: Tensor) -> Tensor:
        """Each expert on the lane that it reads."""
        outputs = [
            functional.relu(functional.conv2d(lanes[:, lane], self.weights[expert], padding=1))
            for expert, lane in self.applications
        ]
        return torch.stack(outputs, 1)

    def needed_outputs(self, lanes: Tensor, wanted: Tensor) -> Tensor:
        """The same, rows that nobody wants are zero."""
        return self(lanes) * wanted.to(lanes).view(*wanted.shape, 1, 1, 1)


def route(estimator: str) -> Callable[[Layout], Policy]:
    return lambda layout: RoutePolicy(layout, max_edges=MAX_EDGES, estimator=estimator)


def skip(variant: str, *, hard: bool) -> Callable[[Layout], Policy]:
    weights = {"sparsity": 0.05, "sharing": 0.1}
    return lambda layout: SkipPolicy(layout, variant=variant, hard=hard, **weights)


def together(*builders: Callable[[Layout], Policy]) -> Callable[[Layout], Policy]:
    def build(layout: Layout) -> Policy:
        first, *rest = (builder(layout) for builder in builders)
        for policy in rest:
            first = first & policy
        return first

    return build


ESTIMATORS = ("straight_through", "reinforce", "hard_concrete")
SKIPS = {
    f"skip {variant}, {'hard' if hard else 'soft'}": skip(variant, hard=hard)
    for variant in ("paper", "code")
    for hard in (True, False)
}


def _cases() -> list[Case]:
    found = [Case(f"route {e}", cells(), route(e)) for e in ESTIMATORS]
    found += [Case(name, tree(), build) for name, build in SKIPS.items()]
    found += [Case(f"{name}, instance", tree(rate=0.5), build) for name, build in SKIPS.items()]
    for estimator in ESTIMATORS:
        for name, build in SKIPS.items():
            mixture = together(route(estimator), build)
            found.append(Case(f"route {estimator} & {name}", both(), mixture))
        mixture = together(skip("code", hard=True), route(estimator))
        found.append(Case(f"route {estimator} & skip & instance", both(rate=0.4), mixture))
    images = [replace(c, name=f"{c.name}, images", image=True) for c in found if _on_images(c)]
    return found + images


def _on_images(case: Case) -> bool:
    return "&" not in case.name or "instance" in case.name or "code, soft" in case.name


CASES = _cases()


def drawn(policy: Policy, temperature: float | None, *, draws: int) -> list[list[Decision]]:
    """Several decisions of a policy without gradients."""
    with torch.no_grad():
        return [policy(temperature) for _ in range(draws)]
