"""The weights of the tasks over a training, as a record that is kept, tracked and drawn."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from recmtl.train.recipe.training import Training
from recmtl.train.training_state import TrainingState

__all__ = ["stretch_length", "weight_curves", "weight_record"]

MOST_STRETCHES = 200


def stretch_length(steps: int) -> int:
    """Number of steps over which weights are averaged before they are kept.

    >>> stretch_length(30), stretch_length(10_000)
    (1, 50)
    """
    return max(1, -(-steps // MOST_STRETCHES))


def weight_record(
    state: TrainingState, settings: Training, *, rows: int, tasks: Sequence[str]
) -> dict[str, Any]:
    """The weights of a training as JSON data; empty if they were fixed.

    `epochs` are the ends of stretches of equally many steps, and `weights` `[stretches, T]` the
    means over them, of `tasks`. Of `gradnorm`, `layer` names the weights that tasks share last.

    Args:
        state: of the training.
        settings: with which it was trained.
        rows: number of train rows.
        tasks: their names.
    """
    if not state.weights:
        return {}
    a_pass = settings.steps_a_pass(rows)
    every = stretch_length(a_pass * settings.passes(rows))
    return {
        "method": settings.weighting.method,
        "tasks": list(tasks),
        "epochs": [every * number / a_pass for number in range(1, len(state.weights) + 1)],
        "weights": state.weights,
        **state.weighting,
    }


def weight_curves(record: Mapping[str, Any]) -> Iterator[tuple[float, dict[str, float]]]:
    """Epoch and `weight.<task>` of each stretch of a `weight_record`, for a tracker."""
    for epoch, weights in zip(record.get("epochs", ()), record.get("weights", ()), strict=True):
        yield (
            epoch,
            {f"weight.{t}": w for t, w in zip(record["tasks"], weights, strict=True)},
        )
