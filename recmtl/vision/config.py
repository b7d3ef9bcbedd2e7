"""The configuration of a study on images: that of tables, plus the images and the network.

It is read from one strict YAML file. The names of the fields are the names in that file.
"""

from dataclasses import field, replace
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field

from recmtl.errors import ConfigError, did_you_mean
from recmtl.grid.layout import Norm
from recmtl.schema.settings import COUNT, COUNT_OR_NONE, SHARE, SIZE, WEIGHT, settings
from recmtl.train.config import Config
from recmtl.vision.encoder import Stem
from recmtl.vision.heads import HeadStyle
from recmtl.vision.trunks import IMAGE_CATALOG, Trunk, plain_cnn, resnet, thin_vgg

__all__ = ["ImageDataConfig", "ImageNetworkConfig", "StepLengths", "TrunkShape", "VisionConfig"]

MODELS = ("searched", "single_task", "random_route", "full_grid", *IMAGE_CATALOG)


@settings(ConfigError)
class ImageDataConfig:
    """Which images, and how many of them.

    Attributes:
        reader: one of `recmtl.vision.data.READERS`.
        folder: in the layout that the reader expects; `--data` on the command line overrides it.
        options: keyword arguments of the reader.
        train_images: number of train images to use, the same random ones in every run; 0 for all.
        validation_images: likewise.
        test_images: likewise.
        threads: number of threads that read images; with 0 the training thread reads them.
        evaluated_at_once: images of a batch in evaluation.
    """

    reader: str = ""
    folder: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    train_images: Annotated[int, COUNT_OR_NONE] = 0
    validation_images: Annotated[int, COUNT_OR_NONE] = 0
    test_images: Annotated[int, COUNT_OR_NONE] = 0
    threads: Annotated[int, Field(ge=0, le=4096)] = 0
    evaluated_at_once: Annotated[int, COUNT] = 64


@settings(ConfigError)
class TrunkShape:
    """The blocks from which every layout is built.

    Attributes:
        kind: `resnet`, BasicBlocks; `plain`, a convolution and pooling for each width; or
            `thin_vgg`.
        depths: blocks of each stage of a ResNet.
        widths: channels of each stage; a thin VGG has the first throughout.
        strides: stride of each stage of a ResNet.
        dilations: dilation of each stage of a ResNet.
        norm: `batch`, with statistics of each lane, or `group`.
        cells: columns of experts in MMoE and in the searched grid; 0 for one more than there are
            tasks.
        rates: for DynaShare, the share of the images for which each block runs; by default 1 in the
            lower half of the blocks and 0.55 above.
    """

    kind: Literal["resnet", "plain", "thin_vgg"] = "resnet"
    depths: tuple[Annotated[int, Field(ge=1, le=1000)], ...] = (2, 2)
    widths: tuple[Annotated[int, SIZE], ...] = (32, 64)
    strides: tuple[Annotated[int, Field(ge=1, le=64)], ...] = (2, 2)
    dilations: tuple[Annotated[int, Field(ge=1, le=1024)], ...] = (1, 1)
    norm: Norm = "batch"
    cells: Annotated[int, Field(ge=0, le=1024)] = 0
    rates: tuple[Annotated[float, SHARE], ...] = ()

    def __post_init__(self) -> None:
        """Refuse settings of different numbers of stages, and widths that are not positive."""
        stages = {len(self.depths), len(self.widths), len(self.strides), len(self.dilations)}
        if self.kind == "resnet" and len(stages) != 1:
            raise ValueError("depths, widths, strides and dilations need one number per stage")
        if not self.widths:
            raise ValueError("widths must be one or more numbers; give the width of each stage")

    def build(self, stem: int, *, cells: int) -> Trunk:
        """The trunk after a stem of `stem` channels, with `cells` columns by default."""
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


@settings(ConfigError)
class ImageNetworkConfig:
    """Stem, trunk and heads of the networks, and the device that computes them.

    Attributes:
        stem: the layers before the experts.
        trunk: the experts.
        heads: the layers after the experts.
        pretrained: file with the weights of a ResNet of the trunk's shape; empty for none.
        mixed: whether products are computed in bfloat16.
        device: `auto` takes a GPU if there is one.
    """

    stem: Stem = field(default_factory=Stem)
    trunk: TrunkShape = field(default_factory=TrunkShape)
    heads: HeadStyle = field(default_factory=HeadStyle)
    pretrained: str = ""
    mixed: bool = False
    device: Literal["auto", "cpu", "cuda"] = "auto"

    def resolve_device(self) -> str:
        """The device, `cpu` or `cuda`."""
        if self.device == "auto":
            return "cuda" if torch.cuda.is_available() else "cpu"
        return self.device


@settings(ConfigError)
class StepLengths:
    """Lengths in steps, in which they are published; 0 leaves the length in passes as it is.

    Attributes:
        training: steps of every network's training.
        search: weight steps of a search, warm-up included.
    """

    training: Annotated[int, COUNT_OR_NONE] = 0
    search: Annotated[int, COUNT_OR_NONE] = 0


@settings(ConfigError)
class VisionConfig(Config):
    """The configuration of a study on images.

    Attributes:
        data: which images.
        network: stem, trunk, heads and device.
        steps: lengths in steps, which replace `training.epochs` and `search.epochs`.
        task_weights: factor of each task's loss; 1 for a task without an entry.
        compare: models of the study; each is trained with `evidence.seeds` seeds.
        workers: number of processes; 1 by default, because several would share one GPU.
    """

    data: ImageDataConfig = field(default_factory=ImageDataConfig)
    network: ImageNetworkConfig = field(default_factory=ImageNetworkConfig)
    steps: StepLengths = field(default_factory=StepLengths)
    task_weights: dict[str, Annotated[float, WEIGHT]] = field(default_factory=dict)
    compare: tuple[str, ...] = ("single_task", "shared_bottom", "adashare")
    workers: Annotated[int, Field(ge=0, le=4096)] = 1
    presets: ClassVar = {}

    def __post_init__(self) -> None:
        """Refuse models that do not exist, and random routes without searched ones."""
        super().__post_init__()
        if self.search.race is None:
            object.__setattr__(self, "search", replace(self.search, race=False))
        if self.training.stop_metric != "default":
            raise ValueError("training.stop_metric is for tables; drop it, images have their own")
        if self.training.stop_tasks:
            raise ValueError("training.stop_tasks is for tables; drop it")
        if self.aim.enabled:
            raise ValueError("aim.enabled is for tables; drop aim")
        if self.blend.enabled:
            raise ValueError("blend.enabled is for tables; drop blend")
        if self.trees.enabled:
            raise ValueError("trees.enabled is for tables; drop trees, images have no columns")
        if self.evidence.resamples:
            raise ValueError("evidence.resamples is for tables; drop it")
        for name in self.compare:
            if name not in MODELS:
                hint = did_you_mean(name, MODELS)
                raise ValueError(f"compare: no model {name!r}{hint}; there are {', '.join(MODELS)}")
        if "random_route" in self.compare and "searched" not in self.compare:
            raise ValueError(
                "compare: random_route is drawn so as to differ from searched; name searched, too"
            )

    def with_epochs(self, images: int) -> "VisionConfig":
        """This configuration with lengths in whole passes over `images` train images."""
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
        """Every model of the study with its number of seeds."""
        return tuple((name, self.evidence.seeds) for name in self.compare)
