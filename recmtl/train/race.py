"""The found route against all tasks together: each has its final training.

Shared weights judge all routes at the same widths, and hardly train what a task only listens to.
Whether it pays to share everything in wide experts, training must tell.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from recmtl.data.feed import Rows, batches
from recmtl.grid import Layout, Routes
from recmtl.model import Network
from recmtl.train.config import Config
from recmtl.train.loop import Watch, silent, train
from recmtl.train.problem import Problem
from recmtl.train.refine import FOLDS, surely

__all__ = ["beats", "raced_losses", "together"]


def together(found: Routes, space: Layout) -> Routes:
    """The route on which all lanes of a searched layer hear one edge: the first that nobody owns.

    What nobody owns stops no lane's gradient. Layers in which every edge is somebody's, or in which
    nothing is owned, stay as they were found.
    """
    layers = list(found.layers)
    for depth, layer in enumerate(space.layers):
        owned = {a for stopped in layer.stopped for a in stopped}
        common = [a for a in range(len(layer.applications)) if a not in owned]
        if layer.searched and owned and common:
            layers[depth] = replace(layers[depth], edges=((common[0],),) * layer.num_lanes)
    return Routes(tuple(layers))


def raced_losses(
    layout: Layout,
    *,
    material: Problem,
    config: Config,
    seed: int,
    checkpoint: Path | None = None,
    watch: Watch = silent,
) -> Tensor:
    """Normalised losses `[FOLDS, T]` of a trained network on parts of the validation rows.

    It is the training that the network will have if it wins, so that whoever has the checkpoint
    need not repeat it.

    Args:
        layout: the network, as large as it will be.
        material: what it is trained on.
        config: how.
        seed: of weights and batches.
        checkpoint: where the training's state is left.
        watch: told of progress.
    """
    torch.manual_seed(seed)
    model = material.network(layout, config.sizes)
    train(
        model,
        material,
        config.training,
        seed=seed,
        name=f"race-{seed}",
        watch=watch,
        checkpoint=checkpoint,
    )
    rows = range(len(material.validation))
    parts = [_losses(model.eval(), material.validation, rows[n::FOLDS]) for n in range(FOLDS)]
    return torch.stack(parts) * model.heads.loss_scale(1.0).cpu()


def beats(challenger: Tensor, champion: Tensor, *, saved: float) -> bool:
    """Whether losses `[FOLDS, T]` surely gain on the mean, and surely hurt no task.

    Args:
        challenger: losses of the one.
        champion: losses of the other.
        saved: what the challenger costs less, in units of loss.
    """
    gains = champion - challenger
    return bool(surely(gains.mean(1) + saved)) and not bool(surely(-gains).any())


@torch.no_grad()
def _losses(model: Network, split: Rows, rows: range) -> Tensor:
    total = torch.zeros(())
    for batch in batches(split, batch_size=split.at_once, seed=None, rows=np.array(rows)):
        losses = model.heads.losses(model(*batch.inputs), batch.labels, batch.weight)
        total = total + losses.cpu() * (len(batch) / len(rows))
    return total
