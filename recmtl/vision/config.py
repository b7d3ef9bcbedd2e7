"""How to run a study on images: one strict YAML, that of tables with the data and the network."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch

from recmtl.errors import did_you_mean
from recmtl.grid.layout import Norm
from recmtl.train.config import Config
from recmtl.vision.encoder import Stem
from recmtl.vision.heads import HeadStyle
from recmtl.vision.trunks import IMAGE_CATALOG, Trunk, plain_cnn, resnet, thin_vgg

__all__ = ["ImageDataConfig", "ImageNetworkConfig", "StepLengths", "TrunkShape", "VisionConfig"]

MODELS = ("searched", "single_task", "random_route", "full_grid", *IMAGE_CATALOG)


@dataclass(frozen=True)
class ImageDataConfig:
    """Which images, and how many of them.

    Attributes:
        reader: one of `recmtl.vision.data.READERS`.
        folder: as the reader wants it; the command line may say it.
        options: of the reader.
        train_images: the most that are used, drawn at random once; 0 takes all.
        validation_images: likewise.
        test_images: likewise.
        threads: that read images; 0 reads in the process that trains.
        evaluated_at_once: images of a batch in evaluation.
    """

    reader: str = ""
    folder: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    train_images: int = 0
    validation_images: int = 0
    test_images: int = 0
    threads: int = 0
    evaluated_at_once: int = 64


@dataclass(frozen=True)
class TrunkShape:
    """The blocks of which every way to share is built.

    Attributes:
        kind: `resnet`, BasicBlocks; `plain`, for each width a convolution and pooling; `thin_vgg`.
        depths: blocks of each stage of a ResNet.
        widths: channels of each stage; the first is that of the whole thin VGG.
        strides: of each stage of a ResNet.
        dilations: likewise.
        norm: `batch`, statistics of each lane, or `group`.
        cells: columns of MMoE and of the searched grid; 0 takes one more than there are tasks.
        rates: for each block the share of images that DynaShare runs it for; by default 1 in the
            lower half and 0.55 above.
    """

    kind: Literal["resnet", "plain", "thin_vgg"] = "resnet"
    depths: tuple[int, ...] = (2, 2)
    widths: tuple[int, ...] = (32, 64)
    strides: tuple[int, ...] = (2, 2)
    dilations: tuple[int, ...] = (1, 1)
    norm: Norm = "batch"
    cells: int = 0
    rates: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Refuse stages that do not fit each other."""
        each = {len(self.depths), len(self.widths), len(self.strides), len(self.dilations)}
        if self.kind == "resnet" and len(each) != 1:
            raise ValueError("depths, widths, strides and dilations need one number a stage")
        if not self.widths or min(self.widths) < 1:
            raise ValueError(f"widths must be positive numbers, not {self.widths}")

    def built(self, stem: int, *, cells: int) -> Trunk:
        """The blocks after a stem of so many channels."""
        if self.kind == "plain":
            stages = plain_cnn(self.widths, norm=self.norm)
        elif self.kind == "thin_vgg":
            stages = thin_vgg(self.widths[0], hidden=2 * self.widths[0], norm=self.norm)
        else:
            stages = resnet(
                self.depths,
                widths=self.widths,
                strides=self.strides,
                dilations=self.dilations,
                stem=stem,
                norm=self.norm,
            )
        return Trunk(stages, self.cells or cells, self.rates)


@dataclass(frozen=True)
class ImageNetworkConfig:
    """Stem, trunk and heads, and where they are computed.

    Attributes:
        stem: before the experts.
        trunk: the experts.
        heads: after them.
        pretrained: file with the weights of a ResNet of the trunk's shape; none if empty.
        mixed: whether products are computed in bfloat16.
        device: `auto` takes a GPU where there is one.
    """

    stem: Stem = field(default_factory=Stem)
    trunk: TrunkShape = field(default_factory=TrunkShape)
    heads: HeadStyle = field(default_factory=HeadStyle)
    pretrained: str = ""
    mixed: bool = False
    device: Literal["auto", "cpu", "cuda"] = "auto"

    @property
    def pretrained_path(self) -> Path:
        """The file with the weights."""
        return Path(self.pretrained)

    def chosen_device(self) -> str:
        """`cpu` or `cuda`."""
        if self.device == "auto":
            return "cuda" if torch.cuda.is_available() else "cpu"
        return self.device


@dataclass(frozen=True)
class StepLengths:
    """Lengths in steps, as they are published, in place of passes; 0 leaves it to the passes.

    Attributes:
        training: of every network.
        search: of the weights in a search, warm-up included.
    """

    training: int = 0
    search: int = 0


@dataclass(frozen=True)
class VisionConfig(Config):
    """A study on images: what tables have, and the data, the network and the models compared.

    Attributes:
        data: which images.
        network: stem, trunk, heads.
        steps: lengths in steps, in place of `training.epochs` and `search.epochs`.
        task_weights: factor of each task's loss; 1 where a task is not named.
        compare: models of the study, each trained with `evidence.seeds` seeds.
        workers: one process, unless more are asked for: they would share one GPU.
    """

    data: ImageDataConfig = field(default_factory=ImageDataConfig)
    network: ImageNetworkConfig = field(default_factory=ImageNetworkConfig)
    steps: StepLengths = field(default_factory=StepLengths)
    task_weights: dict[str, float] = field(default_factory=dict)
    compare: tuple[str, ...] = ("single_task", "shared_bottom", "adashare")
    workers: int = 1

    def __post_init__(self) -> None:
        """Refuse names of no model."""
        super().__post_init__()
        for name in self.compare:
            if name not in MODELS:
                hint = did_you_mean(name, MODELS)
                raise ValueError(f"compare: no model {name!r}{hint}; there are {', '.join(MODELS)}")
        if "random_route" in self.compare and "searched" not in self.compare:
            raise ValueError("compare: random_route has the cost of searched, which is missing")

    def at(self, images: int) -> "VisionConfig":
        """With whole passes in place of steps, for a number of train images."""
        size, training, search = self.training.batch_size, self.training, self.search
        if self.steps.training:
            rows = size * training.accumulate
            passes = max(1, round(self.steps.training / -(-images // rows)))
            training = replace(training, epochs=passes)
        if self.steps.search:
            rows = max(1, round(images * (1.0 - search.policy_rows)))
            search = replace(search, epochs=max(1, round(self.steps.search / -(-rows // size))))
        return replace(self, training=training, search=search)

    def models(self) -> tuple[tuple[str, int], ...]:
        """Every model of the study and its number of seeds."""
        return tuple((name, self.evidence.seeds) for name in self.compare)
