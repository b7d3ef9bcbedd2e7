"""Tasks that say the same hear the same: what one's head says is linear in the other's lane.

The shared weights hardly tell whether two tasks should share an expert: neither head was trained
on the other's. What heads and labels do not match, a linear fit does.
"""

from dataclasses import replace

import torch
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from torch import Tensor

from recmtl.data.batches import Rows
from recmtl.grid import Routes
from recmtl.grid.experts import pooled_features
from recmtl.search.supernet import Supernet

__all__ = ["merge_agreeing_tasks", "task_agreement"]


def merge_agreeing_tasks(found: Routes, supernet: Supernet, rows: Rows, *, least: float) -> Routes:
    """The route on which tasks that agree hear what the first of them does, by gates of their own.

    Groups are joined closest first, while all of a group's tasks agree with one another (complete
    linkage). Routes stay as they were found where the last layer is not searched.

    Args:
        found: a frozen route.
        supernet: the trained weights.
        rows: on which agreement is measured.
        least: `task_agreement` from which tasks agree.
    """
    layer, top = supernet.layout.layers[-1], found.layers[-1]
    if not layer.searched or layer.num_lanes < 2:
        return found
    apart = 1.0 - task_agreement(found, supernet, rows)
    tree = linkage(squareform(apart.numpy(), checks=False), "complete")
    groups = fcluster(tree, 1.0 - least, "distance").tolist()
    edges = tuple(top.edges[groups.index(group)] for group in groups)
    return Routes((*found.layers[:-1], replace(top, edges=edges)))


@torch.no_grad()
def task_agreement(found: Routes, supernet: Supernet, rows: Rows) -> Tensor:
    """How much `[T, T]`, 0 to 1, each of two tasks' lanes tells of what the other task says.

    That is the variance of a task's outputs, averaged over an image's pixels, that a linear fit to
    the features of the other's lane explains, in units of what one to its own explains; of both
    directions the lesser.
    """
    batch = next(rows.batches(batch_size=len(rows), seed=None))
    encoded = supernet.model.eval().encoder(*batch.inputs)
    lanes = supernet.climb(encoded, encoded, found.decisions(supernet.layout))
    lanes = lanes[:, list(supernet.layout.readout)]
    features = pooled_features(lanes).double().cpu().unbind(1)
    said = [
        (says.flatten(2).mean(-1) if says.dim() > 2 else says).double().cpu()
        for says in supernet.model.heads(lanes)
    ]
    share = torch.tensor([[_explained(says, lane) for lane in features] for says in said])
    share = torch.where(share > 0.0, share / share.diagonal().unsqueeze(1), 0.0)
    return torch.minimum(share, share.t()).clamp(0.0, 1.0)


def _explained(said: Tensor, features: Tensor) -> float:
    """Share of the variance of `[R, n]` that a linear fit to `[R, D]` explains; 0 of a constant."""
    known, wanted = features - features.mean(0), said - said.mean(0)
    total = float(wanted.square().sum())
    rest = wanted - known @ torch.linalg.lstsq(known, wanted, driver="gelsd").solution
    return 1.0 - float(rest.square().sum()) / total if total else 0.0
