"""The network that training and search know: encoder, grid and heads in one module.

`Network` holds for any inputs and tasks; images build theirs on it. `TabularModel` is that of
tables: encoded columns to scored columns, pruned, saved and loaded here.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, field
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Protocol

import numpy as np
import torch
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from recmtl.data.batches import Batch, Labels, Rows
from recmtl.data.encoding import Encoding
from recmtl.errors import BundleError, ConfigError
from recmtl.grid import (
    Cost,
    Decision,
    Layout,
    Routes,
    SharingGrid,
    lane_widths,
    layout_cost,
    prune,
    prune_grid,
)
from recmtl.model.heads import Chain, HeadSpec, LateLabels, TabularHeads
from recmtl.model.sized_encoder import AnyEncoder, encoder_of
from recmtl.ranks import ranks
from recmtl.schema.settings import SIZE, settings

__all__ = [
    "InputEncoder",
    "ModelSizes",
    "Network",
    "TabularModel",
    "TaskHeads",
    "load_model",
    "predict",
    "prune_model",
    "save_model",
]

WEIGHTS = "weights.safetensors"
UNREADABLE = (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError)


class InputEncoder(Protocol):
    """A module that maps the tensors of a batch to the grid's input lanes."""

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Lanes `[B, S, *F]`."""

    def cost(self) -> Cost:
        """Parameters and multiply-adds an example."""

    def only(self, lanes: Sequence[int]) -> nn.Module:
        """The encoder of these lanes alone, with their part of the weights."""

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any:
        """Copy the weights of a `state_dict`."""


class TaskHeads(Protocol):
    """A module that maps task lanes to outputs and measures their loss."""

    def __call__(self, lanes: Tensor) -> list[Tensor]:
        """Task lanes `[B, T, *F]` to each task's outputs, from which losses and scores are made."""

    def losses(self, outputs: list[Tensor], labels: Labels, weight: Tensor) -> Tensor:
        """Mean loss `[T]` of each task over the rows with a label; 0 if there are none."""

    def label_weights(self, labels: Labels, weight: Tensor) -> Tensor:
        """Weight `[T]` of the labels over which `losses` takes each mean."""

    def loss_scale(self, balance: float) -> Tensor:
        """Factor `[T]` of each task's loss: `weight / constant_loss ** balance`."""

    def cost(self) -> Cost:
        """Parameters and multiply-adds an example."""

    def parameters(self) -> Iterable[nn.Parameter]:
        """The weights."""


class Network(nn.Module):
    """Maps the tensors of a batch to each task's outputs.

    Args:
        encoder: tensors of a batch to input lanes.
        grid: input lanes to task lanes.
        heads: task lanes to outputs.
    """

    encoder: InputEncoder
    heads: TaskHeads
    columns: tuple[str, ...]
    """Names of the `predictions`."""

    def __init__(self, encoder: InputEncoder, *, grid: SharingGrid, heads: TaskHeads) -> None:
        super().__init__()
        self.encoder, self.grid, self.heads = encoder, grid, heads

    def forward(self, *inputs: Tensor, decisions: Sequence[Decision] | None = None) -> list[Tensor]:
        """The outputs of the heads, `[B, ...]` for each task.

        Args:
            inputs: of a batch.
            decisions: which edges are kept and which lanes run, layer by layer; all by default.
        """
        return self.outputs(self.grid(self.encoder(*inputs), decisions), inputs)

    def outputs(self, lanes: Tensor, inputs: Sequence[Tensor]) -> list[Tensor]:
        """The outputs of the heads for task lanes `[B, T, *F]` of a batch with these tensors."""
        return self.heads(lanes)

    def predictions(
        self, batch: Batch, decisions: Sequence[Decision] | None = None
    ) -> Sequence[Tensor]:
        """What is predicted for a batch, `[B, ...]` each in the order of `columns`."""
        raise NotImplementedError

    def cost(self) -> Cost:
        """Parameters (embedding tables included) and multiply-adds an example."""
        grid = self.grid
        wiring = layout_cost(grid.layout, input_width=grid.input_width, pixels=grid.pixels)
        return self.encoder.cost() + wiring + self.heads.cost()

    def sparse_parameters(self) -> list[Tensor]:
        """Parameters whose gradients are sparse."""
        return []

    def to_json(self) -> dict[str, Any]:
        """What rebuilds the network, apart from its weights, as JSON data."""
        raise NotImplementedError


def predict(
    model: Network,
    rows: Rows,
    *,
    batch_size: int = 4096,
    decisions: Sequence[Decision] | None = None,
) -> dict[str, np.ndarray]:
    """The predictions for all rows, `[R, ...]` by name, in the order of the rows."""
    by_batch = ranks().map(
        lambda batch: [column.numpy() for column in model.predictions(batch, decisions)],
        rows.batches(batch_size=batch_size, seed=None),
    )
    nothing = np.empty(0, np.float32)
    return {
        name: np.concatenate([columns[place] for columns in by_batch] or [nothing])
        for place, name in enumerate(model.columns)
    }


@settings(ConfigError)
class ModelSizes:
    """Widths, dropouts and funnel settings of a network, which its layout leaves open.

    Attributes:
        embedding: width of one field's embedding.
        tower: hidden widths of a head.
        dropout: share of an expert's activations dropped in training.
        field_dropout: share of whole input fields dropped in training.
        chain: how the children of a funnel depend on their parents.
        late_labels: how rows are learnt whose labels are late and whose windows are open: not at
            all (`unknown`), or by a model of the delay, `exponential` or with `importance` weights
            (`recmtl.model.heads.late`). Metrics and calibration read closed windows alone.
    """

    embedding: Annotated[int, SIZE] = 8
    tower: tuple[Annotated[int, SIZE], ...] = (32,)
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    field_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    chain: Chain = field(default_factory=Chain)
    late_labels: LateLabels = "unknown"

    def __post_init__(self) -> None:
        """Refuse two losses that correct one another's rows."""
        if self.late_labels != "unknown" and self.chain.counterfactual != "none":
            raise ValueError(
                "late_labels: a counterfactual loss takes an open window for no event; set "
                "chain.counterfactual to none, or late_labels to unknown"
            )


class TabularModel(Network):
    """Maps ids `[B, I]` and numbers `[B, N]` to each task's logits `[B, size]` and scored columns.

    Args:
        encoding: the encoded columns.
        heads: the tasks.
        layout: how they share.
        sizes: widths and dropouts.
    """

    encoder: AnyEncoder
    heads: TabularHeads

    def __init__(
        self, encoding: Encoding, heads: Sequence[HeadSpec], *, layout: Layout, sizes: ModelSizes
    ) -> None:
        encoder = encoder_of(
            encoding,
            size=sizes.embedding,
            lanes=layout.embedding_lanes,
            interactions=layout.interactions,
            dropout=sizes.field_dropout,
        )
        grid = SharingGrid(layout, input_width=encoder.width, dropout=sizes.dropout)
        task_heads = TabularHeads(
            heads,
            width=grid.output_width,
            tower=sizes.tower,
            chain=sizes.chain,
            late=sizes.late_labels,
            numbers=[number.name for number in encoding.numeric],
        )
        super().__init__(encoder, grid=grid, heads=task_heads)
        self.sizes, self.columns = sizes, task_heads.columns

    def outputs(self, lanes: Tensor, inputs: Sequence[Tensor]) -> list[Tensor]:
        """The logits for task lanes; models of labels may read a number of the row, too."""
        logits: list[Tensor] = self.heads(lanes, inputs[1])
        return logits

    @property
    def numbers(self) -> int:
        """Numbers that a row has, those of the encoding."""
        return self.encoder.encoding.numeric_columns

    @torch.inference_mode()
    def predict(
        self, ids: Tensor, numeric: Tensor, decisions: Sequence[Decision] | None = None
    ) -> Tensor:
        """Scored columns `[B, len(columns)]`, in evaluation mode."""
        if not self.training:
            return self.heads.scores(self(ids, numeric, decisions=decisions))
        self.eval()
        scores = self.heads.scores(self(ids, numeric, decisions=decisions))
        self.train()
        return scores

    def predictions(
        self, batch: Batch, decisions: Sequence[Decision] | None = None
    ) -> Sequence[Tensor]:
        """The scored columns `[B]` of a batch, as of `predict`."""
        ids, numeric = batch.inputs
        return self.predict(ids, numeric, decisions).unbind(1)

    def sparse_parameters(self) -> list[Tensor]:
        """The embedding table, or one of each size."""
        return self.encoder.tables

    def to_json(self) -> dict[str, Any]:
        """Encoding, heads, layout and sizes."""
        return {
            "encoding": json.loads(self.encoder.encoding.to_json()),
            "heads": [spec.to_json() for spec in self.heads.specs],
            "layout": self.grid.layout.to_json(),
            "sizes": asdict(self.sizes),
        }


def prune_model(model: TabularModel, routes: Routes) -> TabularModel:
    """The smaller model of frozen routes, with the weights and the outputs of `model`."""
    grid = prune_grid(model.grid, routes)
    small = TabularModel(
        model.encoder.encoding, model.heads.specs, layout=grid.layout, sizes=model.sizes
    )
    small.encoder = model.encoder.only(prune(model.grid.layout, routes).inputs)
    small.heads.load_state_dict(model.heads.state_dict())
    small.grid.load_state_dict(grid.state_dict())
    return small.train(model.training)


def save_model(model: Network, folder: Path) -> None:
    """Write `network.json` and `weights.safetensors` into an existing folder."""
    (folder / "network.json").write_text(json.dumps(model.to_json(), indent=1))
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(weights, str(folder / WEIGHTS))


def load_model(folder: Path) -> TabularModel:
    """Rebuild the model that `save_model` wrote, in evaluation mode.

    Raises:
        BundleError: a file is missing or does not describe a model.
    """
    try:
        network = json.loads((folder / "network.json").read_text())
        heads = [HeadSpec.from_json(spec) for spec in network["heads"]]
        saved_sizes = network["sizes"]
        chain = Chain(**saved_sizes.get("chain", {}))  # version 0.1 had none
        sizes = ModelSizes(**{**saved_sizes, "tower": tuple(saved_sizes["tower"]), "chain": chain})
        encoding = Encoding.from_json(json.dumps(network["encoding"]))
        layout = Layout.from_json(network["layout"])
        _require_weights(folder / WEIGHTS, encoding, layout, heads=heads, sizes=sizes)
        model = TabularModel(encoding, heads, layout=layout, sizes=sizes)
        model.load_state_dict(load_file(str(folder / WEIGHTS)))
    except UNREADABLE as error:
        reason = str(error).partition("\n")[0]
        raise BundleError(f"{folder}: not a saved model: {reason}; save it again") from error
    return model.eval()


def _require_weights(
    path: Path,
    encoding: Encoding,
    layout: Layout,
    *,
    heads: Sequence[HeadSpec],
    sizes: ModelSizes,
) -> None:
    """Refuse sizes of which the file cannot hold the weights, before memory is taken for them."""
    lane = encoding.lane_width(sizes.embedding)
    apart = {name for sized in encoding.own_sizes for name in sized.fields}
    numeric = [field for field in encoding.numeric if field.name not in apart]
    bins = max((f.bins for f in numeric if f.encoding == "piecewise"), default=1)
    rows = encoding.table_rows + len(numeric) * bins
    rows += sum(field.size for field in encoding.vectors if field.name not in apart)
    embeddings = rows * sizes.embedding + sum(
        (sized.size - sizes.embedding) * count
        for sized in encoding.own_sizes
        for _, count in sized.blocks
    )
    tower = lane_widths(layout, lane)[-1], *sizes.tower
    weights = [
        embeddings * layout.embedding_lanes,
        layout_cost(layout, input_width=lane).parameters,
        len(heads) * sum(width * after for width, after in pairwise(tower)),
    ]
    stated, held = 4 * sum(weights), path.stat().st_size
    if min(weights) < 0 or stated > held:
        raise ValueError(f"states weights of {stated:,} bytes, and {path.name} holds {held:,}")
