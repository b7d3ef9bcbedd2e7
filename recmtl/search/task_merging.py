"""Merge tasks that agree: give them the same edges in the last layer.

The shared weights hardly tell whether two tasks should share an expert, because neither head was
trained on the other's lane. So this asks how well a linear fit on either task's lane predicts what
the other task predicts; that does not depend on the labels' noise or on the trained heads.
"""

from dataclasses import replace

import numpy as np
import torch
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from torch import Tensor

from recmtl.data.batches import Rows
from recmtl.grid import Routes
from recmtl.grid.experts import pooled_features
from recmtl.search.supernet import Supernet

__all__ = ["agreeing_branches", "merge_agreeing_tasks", "task_agreement"]


def merge_agreeing_tasks(routes: Routes, supernet: Supernet, rows: Rows, *, least: float) -> Routes:
    """Give the tasks of a group the edges of its first task; their gates stay their own.

    Groups are joined closest first, as long as all tasks of a group agree with one another
    (complete linkage). Routes stay unchanged where the last layer is not searched.

    Args:
        routes: a frozen route.
        supernet: the trained weights.
        rows: on which agreement is measured.
        least: the `task_agreement` from which two tasks agree.
    """
    layer, top = supernet.layout.layers[-1], routes.layers[-1]
    if not layer.searched or layer.num_lanes < 2:
        return routes
    dendrogram = _dendrogram(task_agreement(routes, supernet, rows))
    groups = fcluster(dendrogram, 1.0 - least, "distance").tolist()
    edges = tuple(top.edges[groups.index(group)] for group in groups)
    return Routes((*routes.layers[:-1], replace(top, edges=edges)))


def agreeing_branches(agreement: Tensor, depths: int) -> list[list[int]]:
    """A tree in which tasks that agree part late: the branch of each task at each depth.

    At depth d are at most 2 ** d branches. A single task makes no tree.

    >>> agreeing_branches(torch.tensor([[1.0, 0.2, 0.9], [0.2, 1.0, 0.1], [0.9, 0.1, 1.0]]), 2)
    [[1, 1, 1], [1, 2, 1]]
    """
    if len(agreement) < 2:
        return []
    dendrogram = _dendrogram(agreement)
    return [fcluster(dendrogram, 2**depth, "maxclust").tolist() for depth in range(depths)]


def _dendrogram(agreement: Tensor) -> np.ndarray:
    """Groups of tasks joined closest first, by their least agreement (complete linkage)."""
    tree: np.ndarray = linkage(squareform(1.0 - agreement.numpy(), checks=False), "complete")
    return tree


@torch.no_grad()
def task_agreement(routes: Routes, supernet: Supernet, rows: Rows) -> Tensor:
    """How well the lanes of two tasks predict each other's outputs, `[T, T]`, from 0 to 1.

    It is the share of the variance of task i's outputs that a linear fit on the features of task
    j's lane explains, divided by the share that a fit on its own lane explains; of both directions
    the lower one counts. Outputs of images are averaged over their pixels.
    """
    batch = next(rows.batches(batch_size=len(rows), seed=None))
    encoded = supernet.model.eval().encoder(*batch.inputs)
    lanes = supernet.apply_layers(encoded, encoded, routes.decisions(supernet.layout))
    lanes = lanes[:, list(supernet.layout.readout)]
    features = pooled_features(lanes).double().cpu().unbind(1)
    outputs = [
        (output.flatten(2).mean(-1) if output.dim() > 2 else output).double().cpu()
        for output in supernet.model.heads(lanes)
    ]
    weight = batch.weight.double().cpu()
    weight = weight.mean(1) if weight.dim() == 2 else weight
    share = torch.tensor(
        [[_explained(output, lane, weight) for lane in features] for output in outputs]
    )
    share = torch.where(share > 0.0, share / share.diagonal().unsqueeze(1), 0.0)
    return torch.minimum(share, share.t()).clamp(0.0, 1.0)


def _explained(output: Tensor, features: Tensor, weight: Tensor) -> float:
    """Share of the variance of `[R, n]` that a linear fit on `[R, D]` explains; 0 of a constant.

    Rows count with their weight `[R]`.
    """
    if weight.min() == weight.max():
        predictors, targets = features - features.mean(0), output - output.mean(0)
    else:
        share = (weight / weight.sum()).unsqueeze(1)
        predictors, targets = (
            (values - (values * share).sum(0)) * share.sqrt() for values in (features, output)
        )
    total = float(targets.square().sum())
    fit = torch.linalg.lstsq(predictors, targets, driver="gelsd").solution
    residual = targets - predictors @ fit
    return 1.0 - float(residual.square().sum()) / total if total else 0.0
