"""How networks are trained: rows and steps, learning rates, weights of the tasks, when to stop."""

from dataclasses import field
from typing import Annotated, Literal

from pydantic import Field

from recmtl.errors import ConfigError
from recmtl.schema.settings import (
    COUNT,
    COUNT_OR_NONE,
    EXPONENT,
    RATE,
    SHARE,
    WEIGHT,
    changed,
    settings,
)

__all__ = ["USUAL_EPOCHS", "USUAL_SEARCH_EPOCHS", "Method", "StopMetric", "Training", "Weighting"]

USUAL_EPOCHS, USUAL_SEARCH_EPOCHS = 3, 2
"""Passes of a training and of a search where nothing is said and the table is not small."""
CHECKS_OF_LEAST_STEPS = 16

Decay = Annotated[float, Field(ge=0, lt=1)]
Method = Literal[
    "fixed",
    "uncertainty",
    "dwa",
    "famo",
    "gradnorm",
    "pcgrad",
    "mgda",
    "imtl_g",
    "aligned_mtl",
    "upgrad",
    "cagrad",
    "nash_mtl",
]
StopMetric = Literal["default", "auc", "gauc", "log_loss", "normalized_entropy", "rmse"]


@settings(ConfigError)
class Weighting:
    """How the losses of the tasks are weighed against one another, step by step.

    What is weighed is each task's loss times `weight / constant_loss ** balance`, so that 1 for
    every task is what `balance` alone gives. `docs/concepts/weighting.md` has the papers.

    Attributes:
        method: `fixed`: 1 for every task. `uncertainty`, `dwa`, `famo` and `gradnorm` weigh the
            losses. `pcgrad`, `mgda`, `imtl_g`, `aligned_mtl`, `upgrad`, `cagrad` (extra `torchjd`)
            and `nash_mtl` weigh the tasks' gradients where tasks share weights of the grid; all
            other weights follow the plain sum.
        learning_rate: of the weights that `uncertainty`, `famo` and `gradnorm` learn (Adam).
        temperature: of the softmax of `dwa`; larger is more even.
        period: steps over which `dwa` averages a loss before it compares it with the one before.
        asymmetry: exponent of `gradnorm`: how much faster a task is made to learn that lags behind.
        caution: of `cagrad`, the radius c around the mean gradient, as a share of its length.
    """

    method: Method = "fixed"
    learning_rate: Annotated[float, RATE] = 0.025
    temperature: Annotated[float, RATE] = 2.0
    period: Annotated[int, COUNT] = 100
    asymmetry: Annotated[float, WEIGHT] = 1.5
    caution: Annotated[float, SHARE] = 0.5

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={value!r}" for name, value in changed(self).items())
        return f"Weighting({values})"


@settings(ConfigError)
class Training:
    """How weights are trained; the same for every network.

    Attributes:
        batch_size: rows of a batch.
        accumulate: number of batches whose gradients make one step of a training, as if they were
            one batch (see `take_step`). Fewer batches left at the end of an epoch make a step, too.
            A search steps after each batch.
        epochs: the most passes over the train rows. None: 3, and on a small table as many as make
            `least_steps` steps; see `passes`.
        least_steps: the least number of steps for which passes are added if `epochs` is None;
            patience may end them sooner. Checks are then `least_steps` / 16 steps apart.
        learning_rate: of the dense weights.
        head_learning_rate: of the heads; None means `learning_rate`.
        optimizer: of the dense weights, fused; `adam` and `sgd` add weight decay to the gradient.
        betas: decay of the two moments; the first is the momentum of `sgd`.
        table_learning_rate: of the embedding rows of a batch (lazy Adam).
        weight_decay: of the dense weights; decoupled with `adamw`.
        clip: upper bound of the norm of all gradients of a step, with the gradients of equal table
            rows summed; 0 does not clip.
        warm_up: share of the steps in which learning rates rise linearly from zero.
        decay: whether learning rates fall to zero over the other steps, linearly; `cosine`: along
            half a cosine.
        step_every: number of steps after which learning rates are multiplied by `step_factor`,
            repeatedly and in place of `decay`; 0 never does.
        step_factor: see `step_every`.
        average: decay of the moving average of the weights, which checks measure and which a
            network ends with (`AveragedWeights`); .999 averages over some 1,000 steps. 0 averages
            none.
        checks: validation passes an epoch.
        balance: exponent b of the loss scale `weight / constant_loss ** b`: 0 adds plain losses, 1
            measures every task relative to its best constant prediction.
        weighting: how the losses of the tasks are weighed from step to step, on top of `balance`. A
            search keeps the fixed weights.
        patience: number of checks without a better validation score after which training stops.
        rate_weight: weight of the penalty on instance gates that miss their target rates
            (DynaShare uses 25).
        selection_weight: weight of the entropy of the selectors of `dselect_k`, which falls as they
            decide.
        gate_warm_up: share of the steps in which instance gates are held open before they learn.
        health_rows: validation rows on which the health of the experts is measured at each check;
            0 measures nothing.
        save_every: number of steps after which the state of a training or a search is saved within
            an epoch, counted from the first one; 0 saves at the end of each epoch only.
        rare_ids: of tables, the count k of an id that is replaced in half of its rows by the
            unknown row of its feature, in training: one with `count` train rows is with probability
            k / (count + k). 0 replaces none.
        rows: of tables, the most train rows that networks and baselines learn from: a random sample
            of them, the same for all. None: all rows.
        stop_metric: what `patience` watches and by which the seed of the bundled network is chosen:
            one metric, or one by task (`{click: gauc, watch: rmse}`). By default the mean over the
            tasks of AUC, and R2 of regressions; `recmtl.train.stop_metric` has the scale of others.
        stop_tasks: the tasks over which it is averaged; empty for all.
    """

    batch_size: Annotated[int, COUNT] = 1024
    accumulate: Annotated[int, COUNT] = 1
    epochs: Annotated[int, COUNT] | None = None
    least_steps: Annotated[int, COUNT_OR_NONE] = 400
    learning_rate: Annotated[float, RATE] = 3e-3
    head_learning_rate: Annotated[float, RATE] | None = None
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    table_learning_rate: Annotated[float, RATE] = 3e-3
    weight_decay: Annotated[float, WEIGHT] = 1e-5
    clip: Annotated[float, WEIGHT] = 0.0
    warm_up: Annotated[float, Field(ge=0, lt=1)] = 0.0
    decay: bool | Literal["cosine"] = True
    step_every: Annotated[int, COUNT_OR_NONE] = 0
    step_factor: Annotated[float, RATE] = 0.5
    average: Decay = 0.0
    checks: Annotated[int, Field(ge=1, le=10000)] = 2
    balance: Annotated[float, EXPONENT] = 0.5
    weighting: Weighting = field(default_factory=Weighting)
    patience: Annotated[int, COUNT] = 4
    rate_weight: Annotated[float, WEIGHT] = 25.0
    selection_weight: Annotated[float, WEIGHT] = 0.01
    gate_warm_up: Annotated[float, Field(ge=0, lt=1)] = 0.1
    health_rows: Annotated[int, COUNT_OR_NONE] = 1024
    save_every: Annotated[int, COUNT_OR_NONE] = 0
    rare_ids: Annotated[float, WEIGHT] = 0.0
    rows: Annotated[int, COUNT] | None = None
    stop_metric: StopMetric | dict[str, StopMetric] = "default"
    stop_tasks: tuple[str, ...] = ()

    def steps_a_pass(self, rows: int) -> int:
        """Number of steps of one pass over so many train rows."""
        return max(1, -(-rows // (self.batch_size * self.accumulate)))

    def passes(self, rows: int) -> int:
        """The most passes over so many train rows.

        >>> Training().passes(1_000_000), Training().passes(8_000), Training(epochs=3).passes(8_000)
        (3, 50, 3)
        """
        if self.epochs is not None:
            return self.epochs
        return max(USUAL_EPOCHS, -(-self.least_steps // self.steps_a_pass(rows)))

    def least_apart(self, rows: int) -> int:
        """Least number of steps between two checks or saves: 1 unless a table gets more passes."""
        extended = self.epochs is None and self.passes(rows) > USUAL_EPOCHS
        return max(1, self.least_steps // CHECKS_OF_LEAST_STEPS) if extended else 1
