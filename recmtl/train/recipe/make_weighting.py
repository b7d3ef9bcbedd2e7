"""The weighting that a configuration names, for a network."""

from torch import nn

from recmtl.errors import ConfigError
from recmtl.model import Network
from recmtl.ranks import ranks
from recmtl.train.recipe.gradient_weights import CombinedGradients, GradNorm
from recmtl.train.recipe.gramian_weights import COMBINING, weigher
from recmtl.train.recipe.loss_weights import DynamicWeightAverage, Famo, Uncertainty
from recmtl.train.recipe.training import Training
from recmtl.train.recipe.weighting import TaskWeighting

__all__ = ["make_weighting"]


def make_weighting(model: Network, training: Training) -> TaskWeighting:
    """The weighting of `training.weighting`; a network for one task has nothing to weigh.

    Raises:
        ConfigError: the extra `torchjd`, which the method needs, is not installed; or several ranks
            train the network, each of which sees the losses of its part of the rows alone.
    """
    settings, scale = training.weighting, model.heads.loss_scale(training.balance)
    tasks = len(scale)
    if tasks == 1 or settings.method == "fixed":
        return TaskWeighting(tasks)
    if ranks().count > 1:
        raise ConfigError(
            f"training.weighting.method: {settings.method} weighs the tasks of one process only; "
            "train with one, or give fixed"
        )
    if settings.method in COMBINING:
        return CombinedGradients(tasks, grid=model.grid, weigh=weigher(settings))
    if settings.method == "gradnorm":
        constants = model.heads.loss_scale(0.0) / model.heads.loss_scale(1.0)
        first = scale * constants
        return GradNorm(tasks, settings=settings, first=first, layers=_matrices(model.grid))
    if settings.method == "dwa":
        return DynamicWeightAverage(tasks, settings=settings)
    kind = Famo if settings.method == "famo" else Uncertainty
    return kind(tasks, settings=settings)


def _matrices(grid: nn.Module) -> dict[str, nn.Parameter]:
    """The experts' matrices by name, the last first."""
    experts = [(f"grid.{n}", p) for n, p in grid.named_parameters() if ".experts." in n]
    matrices = ((n, p) for n, p in reversed(experts) if p.dim() > 2 and "bias" not in n)
    return {name: matrix for name, matrix in matrices if matrix.requires_grad}
