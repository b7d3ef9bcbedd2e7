"""Networks for images, each written a second time plainly: one pass a task, modules by hand."""

from collections.abc import Iterator, Sequence

import pytest
import torch
from torch import Tensor, nn

from recmtl.grid import (
    Decision,
    LayerRoutes,
    Layout,
    Routes,
    SharingGrid,
    full_decision,
    prune_grid,
)
from recmtl.grid.catalog import branched
from recmtl.grid.convolution_experts import ConvolutionExperts, Normalisation
from recmtl.policies import Tree
from recmtl.vision.trunks import IMAGE_CATALOG, Trunk, resnet, thin_vgg

TASKS, STEM, PIXELS = 3, 6, (11, 9)
DEPTHS, WIDTHS = (3, 4, 6, 3), (6, 8, 10, 12)
STRIDES, DILATIONS = (1, 2, 1, 1), (1, 1, 2, 4)
RESNET34 = Trunk(resnet(DEPTHS, widths=WIDTHS, stem=STEM), cells=3)


class BasicBlock(nn.Module):
    """As in AdaShare's code: the output of the second normalisation, nothing added inside."""

    def __init__(self, before: int, width: int, stride: int, dilation: int) -> None:
        super().__init__()
        shape = {"dilation": dilation, "padding": dilation, "bias": False}
        self.conv1 = nn.Conv2d(before, width, 3, stride, **shape)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, **shape)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))


class PlainResNet(nn.Module):
    """The trunk of ResNet-34 as AdaShare runs it for one task under a policy `[blocks]`."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks, self.downs = nn.ModuleList(), nn.ModuleList()
        before = STEM
        for depth, width, stride, dilation in zip(DEPTHS, WIDTHS, STRIDES, DILATIONS, strict=True):
            for number in range(depth):
                step = stride if number == 0 else 1
                self.blocks.append(BasicBlock(before, width, step, dilation))
                down: nn.Module = nn.Identity()
                if number == 0 and (stride != 1 or before != width or dilation in (2, 4)):
                    convolution = nn.Conv2d(before, width, 1, stride, bias=False)
                    down = nn.Sequential(convolution, nn.BatchNorm2d(width))
                self.downs.append(down)
                before = width

    def forward(self, x: Tensor, policy: Sequence[Tensor]) -> Tensor:
        for block, down, u in zip(self.blocks, self.downs, policy, strict=True):
            residual = down(x)
            found = torch.relu(residual + block(x))
            x = found * u + residual * (1 - u)
        return x


def batch_norms(module: nn.Module) -> Iterator[nn.BatchNorm2d]:
    return (part for part in module.modules() if isinstance(part, nn.BatchNorm2d))


@torch.no_grad()
def put(experts: ConvolutionExperts, convs: Sequence[nn.Conv2d], norms: Sequence[nn.BatchNorm2d]):
    """Copy plain modules into expert 0."""
    for depth, (conv, norm) in enumerate(zip(convs, norms, strict=True)):
        experts.weights[depth][0] = conv.weight
        if conv.bias is not None:
            experts.biases[depth][0] = conv.bias
        own = experts.norms[depth]
        assert isinstance(own, Normalisation)
        own.scale[0], own.shift[0] = norm.weight, norm.bias


def pair(name: str = "adashare", trunk: Trunk = RESNET34) -> tuple[SharingGrid, PlainResNet]:
    """A grid of the catalog and the plain trunk with the same drawn weights, in training."""
    torch.manual_seed(0)
    plain = PlainResNet().double()
    with torch.no_grad():
        for norm in batch_norms(plain):
            norm.weight.uniform_(0.5, 1.5)
            norm.bias.normal_(std=0.3)
    grid = SharingGrid(IMAGE_CATALOG[name](TASKS, trunk), input_width=STEM, pixels=PIXELS).double()
    for depth, (block, down) in enumerate(zip(plain.blocks, plain.downs, strict=True)):
        layer = grid.layer(depth)
        assert isinstance(layer.experts, ConvolutionExperts)
        assert (layer.projection is not None) == isinstance(down, nn.Sequential)
        put(layer.experts, (block.conv1, block.conv2), (block.bn1, block.bn2))
        if layer.projection is not None:
            put(layer.projection, (down[0],), (down[1],))
    return grid, plain


def images(rows: int = 4) -> Tensor:
    torch.manual_seed(1)
    return torch.randn(rows, STEM, *PIXELS, dtype=torch.float64)


def deciding(layout: Layout, policy: Tensor) -> list[Decision]:
    """Decisions that run lane t of layer l with `policy[l, t]`."""
    full = [full_decision(layer) for layer in layout.layers]
    runs = zip(full, policy, strict=True)
    return [Decision(d.keep.double(), d.query.double(), run.unsqueeze(0)) for d, run in runs]


def test_a_dilated_stage_has_a_projection_although_its_shape_stays() -> None:
    stages = resnet((2, 2), widths=(6, 6), strides=(1, 1), dilations=(1, 2), stem=6)
    assert [[block.has_projection for block in stage] for stage in stages] == [
        [False, False],
        [True, False],
    ]


def test_soft_adashare_is_one_pass_a_task_with_gradients() -> None:
    grid, plain = pair()
    policy = torch.rand(16, TASKS, dtype=torch.float64).requires_grad_()
    own = policy.detach().clone().requires_grad_()
    found = grid(images().unsqueeze(1), deciding(grid.layout, own))
    expected = torch.stack([plain(images(), policy[:, t]) for t in range(TASKS)], 1)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    weight = torch.randn_like(found)
    torch.autograd.backward([(found * weight).sum(), (expected * weight).sum()])
    torch.testing.assert_close(own.grad, policy.grad, rtol=1e-7, atol=1e-7)
    for depth, block in enumerate(plain.blocks):
        experts = grid.layer(depth).experts
        assert isinstance(experts, ConvolutionExperts)
        gradient = experts.weights[0].grad
        torch.testing.assert_close(gradient[0], block.conv1.weight.grad, rtol=1e-6, atol=1e-7)


def test_all_select_is_hard_sharing() -> None:
    grid, plain = pair()
    shared, _ = pair("shared_bottom")
    ones = torch.ones(16, dtype=torch.float64)
    found = grid(images().unsqueeze(1))
    for task in range(TASKS):
        torch.testing.assert_close(found[:, task], plain(images(), ones), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found, shared(images().unsqueeze(1)), rtol=1e-9, atol=1e-9)


def policies() -> list[Tensor]:
    torch.manual_seed(5)
    return [(torch.rand(16, TASKS) < share).double() for share in (0.3, 0.5, 0.8)]


@pytest.mark.parametrize("policy", policies())
def test_a_fixed_policy_is_the_network_written_by_hand(policy: Tensor) -> None:
    """Trained some steps under the policy, then evaluated: masked, pruned and by hand."""
    grid, plain = pair()
    passes = [PlainResNet().double() for _ in range(TASKS)]
    routes = Routes(
        tuple(
            LayerRoutes(layer.edges, (-1,) * TASKS, tuple(bool(u) for u in row))
            for layer, row in zip(grid.layout.layers, policy, strict=True)
        )
    )
    decisions = deciding(grid.layout, policy)
    for own in passes:
        own.load_state_dict(plain.state_dict())
    for step in range(3):
        rows = images() * (1.0 + step)
        with torch.no_grad():
            grid(rows.unsqueeze(1), decisions)
            for task, own in enumerate(passes):
                own(rows, policy[:, task])
    lanes = images(6).unsqueeze(1)
    small = prune_grid(grid, routes).eval()
    masked, pruned = grid.eval()(lanes, decisions), small(lanes)
    hand = [own.eval()(images(6), policy[:, task]) for task, own in enumerate(passes)]
    torch.testing.assert_close(masked, torch.stack(hand, 1), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(pruned, masked, rtol=1e-9, atol=1e-9)
    with torch.no_grad():
        torch.testing.assert_close(small(lanes), masked, rtol=1e-9, atol=1e-9)


class PlainVGG(nn.Sequential):
    """Thin VGG-16: convolution, ReLU, normalisation; two linear layers likewise."""

    def __init__(self, width: int, hidden: int, flat: int) -> None:
        parts: list[nn.Module] = []
        before = 3
        for number in range(1, 14):
            parts += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(width)]
            parts += [nn.MaxPool2d(2)] if number in (2, 4, 7, 10, 13) else []
            before = width
        parts += [nn.Flatten(), nn.Linear(flat * width, hidden), nn.ReLU(), nn.BatchNorm1d(hidden)]
        parts += [nn.Linear(hidden, hidden), nn.ReLU(), nn.BatchNorm1d(hidden)]
        super().__init__(*parts)


def test_thin_vgg_is_the_network_written_by_hand() -> None:
    torch.manual_seed(2)
    plain = PlainVGG(4, 5, flat=2).double()
    layout = IMAGE_CATALOG["shared_bottom"](2, Trunk(thin_vgg(4, hidden=5), cells=1))
    grid = SharingGrid(layout, input_width=3, pixels=(64, 32)).double()
    parts = [p for p in plain if isinstance(p, nn.Conv2d | nn.Linear)]
    with torch.no_grad():
        for depth, part in enumerate(parts):
            experts = grid.layer(depth).experts
            assert isinstance(experts, ConvolutionExperts)
            experts.weights[0][0] = part.weight.view(experts.weights[0].shape[1:])
            experts.biases[0][0] = part.bias
    rows = torch.randn(3, 3, 64, 32, dtype=torch.float64)
    found, expected = grid(rows.unsqueeze(1)), plain(rows)
    torch.testing.assert_close(found[:, 1, :, 0, 0], expected, rtol=1e-8, atol=1e-8)
    found = grid.eval()(rows.unsqueeze(1))
    torch.testing.assert_close(found[:, 0, :, 0, 0], plain.eval()(rows), rtol=1e-8, atol=1e-8)


def test_the_published_celeba_tree_is_a_network_of_the_published_size() -> None:
    """Branch counts of the published model; with 40 heads `Linear(128, 1)` it has 8,830,248."""
    counts = (1,) * 6 + (2,) * 5 + (3, 10, 18, 33)
    finest = [task * 33 // 40 for task in range(40)]
    tree = Tree.of([[min(branch, count - 1) for branch in finest] for count in counts])
    assert tree.counts == counts
    layout = branched(tree.partitions(), levels=thin_vgg(64))
    with torch.device("meta"):
        grid = SharingGrid(layout, input_width=3, pixels=(224, 224))
    heads = 40 * (128 + 1)
    assert sum(p.numel() for p in grid.parameters()) + heads == 8_830_248
    assert grid.output_width == 128 and grid.output_pixels == (1, 1)
