"""Gramians of the tasks' gradients to weights: methods of TorchJD, and Nash-MTL.

Every function maps a Gramian `[t, t]` to weights `[t]`. Readings: weights are multiplied by t where
a method's sum to 1, so that gradients without conflict and of equal length make the step of fixed
weights. Solvers under the GPL are avoided: the projection of UPGrad is a non-negative least squares
problem for SciPy, and Nash-MTL is solved by Newton's method, to the optimum rather than by a few
linearisations.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import nnls
from torch import Tensor

from recmtl.errors import ConfigError
from recmtl.train.recipe.training import Weighting

if TYPE_CHECKING:
    from torchjd.linalg import DualConeProjector

Floats = NDArray[Any]

__all__ = ["COMBINING", "nash_weights", "weigher"]

RIDGE = 1e-6
"""Added to the diagonal of a Gramian whose gradients may be linearly dependent."""
NEWTON_STEPS, SMALL = 100, 1e-10

COMBINING = ("pcgrad", "mgda", "imtl_g", "aligned_mtl", "upgrad", "cagrad", "nash_mtl")


def weigher(settings: Weighting) -> Callable[[Tensor], Tensor]:
    """What maps a Gramian to weights, for one of `COMBINING`.

    Raises:
        ConfigError: the extra `torchjd` is not installed.
    """
    if settings.method == "nash_mtl":
        return nash_weights
    try:
        from torchjd import aggregation  # an extra
    except ImportError as error:
        raise _missing(settings.method) from error
    if settings.method == "pcgrad":
        return _times(aggregation.PCGradWeighting(), tasks=False)
    if settings.method == "upgrad":
        return _times(aggregation.UPGradWeighting(projector=_projector()))
    if settings.method == "cagrad":
        try:
            return _times(aggregation.CAGradWeighting(c=settings.caution))
        except ImportError as error:
            raise _missing(settings.method) from error
    methods: dict[str, Callable[[], Callable[[Tensor], Tensor]]] = {
        "mgda": aggregation.MGDAWeighting,
        "imtl_g": aggregation.IMTLGWeighting,
        "aligned_mtl": aggregation.AlignedMTLWeighting,
    }
    return _times(methods[settings.method]())


def nash_weights(gramian: Tensor) -> Tensor:
    """Nash-MTL: the weights with `gramian @ w = 1 / w`, scaled to the sum of t.

    Navon et al. (ICML 2022), claim 3.1. They are the minimum of `w G w / 2 - sum log w`, a convex
    function, to which Newton's method with halved steps leads.

    >>> nash_weights(torch.tensor([[1.0, 0.0], [0.0, 4.0]])).tolist()  # lengths 1 and 2
    [1.3333333333333333, 0.6666666666666666]
    """
    matrix = _regular(gramian.double().numpy())
    weights: Floats = 1.0 / np.sqrt(matrix.diagonal())
    for _ in range(NEWTON_STEPS):
        slope = matrix @ weights - 1.0 / weights
        step: Floats = np.linalg.solve(matrix + np.diag(weights**-2.0), slope)
        length = _step_length(matrix, weights, step, float(slope @ step))
        if length == 0.0:
            break
        weights = weights - length * step
    return torch.from_numpy(len(weights) * weights / weights.sum())


def _regular(gramian: Floats) -> Floats:
    """The Gramian, or a little more than it if gradients depend linearly on one another."""
    if np.linalg.matrix_rank(gramian, hermitian=True) == len(gramian):
        return gramian
    ridge: Floats = RIDGE * gramian.diagonal().mean() * np.eye(len(gramian))
    return gramian + ridge


def _step_length(
    matrix: Floats,
    weights: Floats,
    step: Floats,
    decrement: float,
) -> float:
    """The longest of 1, 1/2, 1/4, ... that lowers the objective enough; 0 at the minimum."""

    def objective(at: Floats) -> float:
        return float(at @ matrix @ at / 2.0 - np.log(at).sum()) if np.all(at > 0) else np.inf

    length, here = 1.0, objective(weights)
    while decrement > SMALL**2 and length > SMALL:
        if objective(weights - length * step) <= here - 0.25 * length * decrement:
            return length
        length /= 2.0
    return 0.0


def _times(method: Callable[[Tensor], Tensor], *, tasks: bool = True) -> Callable[[Tensor], Tensor]:
    """A method, its weights multiplied by the number of tasks if they sum to 1."""

    def weights(gramian: Tensor) -> Tensor:
        return method(gramian) * (len(gramian) if tasks else 1)

    return weights


def _projector() -> "DualConeProjector":
    """Weights of the nearest vector in the dual cone, by SciPy instead of a solver under the GPL.

    Minimising `v G v` over v >= u is the least squares problem `|L x + L u|` over x = v - u >= 0
    with `G = L^T L`.
    """
    from torchjd.linalg import DualConeProjector  # an extra

    class LeastSquaresProjector(DualConeProjector):  # type: ignore[misc] # an extra
        def __call__(self, U: Tensor, G: Tensor) -> Tensor:  # TorchJD's names
            values, vectors = np.linalg.eigh(G.double().numpy())
            root = np.sqrt(values.clip(min=0.0))[:, None] * vectors.T
            rows = [row + nnls(root, -root @ row)[0] for row in U.double().numpy()]
            return torch.as_tensor(np.stack(rows), dtype=G.dtype)

    return LeastSquaresProjector()


def _missing(method: str) -> ConfigError:
    return ConfigError(
        f"training.weighting.method: {method} needs TorchJD: pip install 'recmtl[torchjd]', "
        "or choose another method"
    )
