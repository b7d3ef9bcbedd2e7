"""The network for images: saved and loaded, refused, and started from a ResNet of the user."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from recmtl.errors import BundleError, ConfigError, DataError
from recmtl.model import ModelSizes, save_model
from recmtl.vision.config import ImageNetworkConfig, TrunkShape
from recmtl.vision.encoder import Stem
from recmtl.vision.model import ImageModel, load_image_model, load_pretrained
from tests.image_problems import TASKS, make_images

DEPTHS, WIDTHS = (1, 2), (6, 8)
SHAPE = TrunkShape(depths=DEPTHS, widths=WIDTHS, strides=(1, 2), dilations=(1, 1))
NETWORK = ImageNetworkConfig(stem=Stem("resnet", 6), trunk=SHAPE, device="cpu")
PROBLEM = make_images(TASKS[:2], network=NETWORK)


class Block(nn.Module):
    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        if stride > 1 or before != width:
            self.downsample = nn.Sequential(
                nn.Conv2d(before, width, 1, stride, bias=False), nn.BatchNorm2d(width)
            )

    def forward(self, x: Tensor) -> Tensor:
        passed = self.downsample(x) if hasattr(self, "downsample") else x
        return torch.relu(passed + self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x))))))


class PlainResNet(nn.Module):
    """With the names that ResNets usually have."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(6)
        self.layer1 = nn.Sequential(Block(6, 6, 1))
        self.layer2 = nn.Sequential(Block(6, 8, 2), Block(8, 8, 1))
        self.fc = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        found = torch.relu(self.bn1(self.conv1(x)))
        pooled = functional.max_pool2d(found, 3, 2, 1, ceil_mode=True)
        return self.layer2(self.layer1(pooled))


@pytest.fixture(scope="module")
def plain() -> PlainResNet:
    torch.manual_seed(0)
    network = PlainResNet()
    for _ in range(3):
        network(torch.randn(8, 3, 16, 12))
    return network.eval()


def model(name: str) -> ImageModel:
    return PROBLEM.network(PROBLEM.layout(name), ModelSizes()).eval()


@pytest.mark.parametrize("name", ["shared_bottom", "adashare", "separate"])
@pytest.mark.parametrize("kind", ["safetensors", "torch"])
def test_every_expert_starts_from_the_file(
    name: str, kind: str, plain: PlainResNet, tmp_path: Path
) -> None:
    path = tmp_path / f"resnet.{kind}"
    if kind == "torch":
        torch.save({"state_dict": plain.state_dict()}, path)
    else:
        save_file(plain.state_dict(), path)
    ours = model(name)
    load_pretrained(ours, path, DEPTHS)
    images = torch.rand(4, 3, 16, 12)
    normalised = (images - 0.5) / 0.3
    found = ours.grid(ours.encoder(images))
    for task in range(2):
        torch.testing.assert_close(found[:, task], plain(normalised), rtol=1e-4, atol=1e-5)


def test_the_network_is_built_with_them(plain: PlainResNet, tmp_path: Path) -> None:
    path = tmp_path / "resnet.safetensors"
    save_file(plain.state_dict(), path)
    network = ImageNetworkConfig(NETWORK.stem, SHAPE, device="cpu", pretrained=str(path))
    built = make_images(TASKS[:2], network=network)
    ours = built.network(built.layout("mmoe"), ModelSizes())
    own = ours.encoder.convolution
    assert own is not None
    torch.testing.assert_close(own.weights[0][0], plain.conv1.weight)


def test_a_mismatch_is_named(plain: PlainResNet, tmp_path: Path) -> None:
    path = tmp_path / "resnet.safetensors"
    weights = dict(plain.state_dict())
    save_file({**weights, "layer2.1.conv2.weight": torch.zeros(8, 4, 3, 3)}, path)
    with pytest.raises(DataError, match=r"layer2\.1\.conv2\.weight is \(8, 4, 3, 3\), not \(8, 8"):
        load_pretrained(model("adashare"), path, DEPTHS)
    del weights["layer1.0.bn2.running_var"]
    save_file(weights, path)
    with pytest.raises(DataError, match=r"has no layer1\.0\.bn2\.running_var"):
        load_pretrained(model("adashare"), path, DEPTHS)


def test_what_is_no_file_of_tensors_is_refused(tmp_path: Path) -> None:
    class Strange:
        pass

    path = tmp_path / "resnet.pt"
    for content in (Path("a path"), {"weights": "none"}, Strange()):
        try:
            torch.save(content, path)
        except AttributeError:
            path.write_bytes(b"damaged")
        with pytest.raises(DataError, match=r"resnet\.pt"):
            load_pretrained(model("adashare"), path, DEPTHS)
    with pytest.raises(DataError, match="cannot be read"):
        load_pretrained(model("adashare"), tmp_path / "missing.safetensors", DEPTHS)


@pytest.mark.parametrize("name", ["mmoe", "adashare"])
def test_a_loaded_model_has_the_outputs_bits_and_cost_of_the_saved_one(
    name: str, tmp_path: Path
) -> None:
    saved = model(name)
    save_model(saved, tmp_path)
    loaded = load_image_model(tmp_path)
    images = torch.rand(3, 3, 16, 12)
    for before, after in zip(saved(images), loaded(images), strict=True):
        assert torch.equal(before, after)
    assert loaded.cost() == saved.cost() and loaded.to_json() == saved.to_json()
    assert not loaded.training and loaded.columns == tuple(task.name for task in TASKS[:2])


@pytest.mark.parametrize("part", ["heads", "channels", "sizes", "layout"])
def test_a_saved_model_without_a_part_is_refused(part: str, tmp_path: Path) -> None:
    save_model(model("shared_bottom"), tmp_path)
    path = tmp_path / "network.json"
    network = json.loads(path.read_text())
    del network[part]
    path.write_text(json.dumps(network))
    with pytest.raises(BundleError, match=r"not a saved image model: .*; save it again"):
        load_image_model(tmp_path)


def test_a_folder_without_weights_or_with_those_of_another_network_is_refused(
    tmp_path: Path,
) -> None:
    with pytest.raises(BundleError, match="not a saved image model"):
        load_image_model(tmp_path)
    save_model(model("shared_bottom"), tmp_path)
    (tmp_path / "other").mkdir()
    save_model(model("separate"), tmp_path / "other")
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes((tmp_path / "other" / "weights.safetensors").read_bytes())
    with pytest.raises(BundleError, match="not a saved image model"):
        load_image_model(tmp_path)
    weights.unlink()
    with pytest.raises(BundleError, match="not a saved image model"):
        load_image_model(tmp_path)


def test_a_layout_of_several_input_lanes_is_refused() -> None:
    layout = replace(PROBLEM.layout("shared_bottom"), input_lanes=2)
    with pytest.raises(ConfigError, match="has 2 input lanes, but images are one; take a layout"):
        PROBLEM.network(layout, ModelSizes())


def test_mean_and_deviation_travel_with_the_model() -> None:
    ours = model("shared_bottom")
    shifted = ImageModel(
        replace(PROBLEM.channels, mean=(0.1, 0.2, 0.3)),
        PROBLEM.heads,
        layout=ours.grid.layout,
        sizes=ours.sizes,
    ).eval()
    weights = {n: t for n, t in ours.state_dict().items() if n != "encoder.mean"}
    shifted.load_state_dict(weights, strict=False)
    images = torch.rand(3, 3, 16, 12)
    moved = images - (0.5 - torch.tensor((0.1, 0.2, 0.3))).view(3, 1, 1)
    for plain_output, output in zip(ours(images), shifted(moved), strict=True):
        torch.testing.assert_close(output, plain_output, rtol=1e-4, atol=1e-5)
