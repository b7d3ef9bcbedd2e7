"""How to build, search and train: one strict YAML, the same for every data set."""

from dataclasses import dataclass, field
from typing import Literal

from recmtl.model import Sizes

__all__ = ["Config", "Evidence", "Grid", "Search", "Training"]


@dataclass(frozen=True)
class Grid:
    """Sizes of the search space, and of the fixed models that it is compared with.

    Attributes:
        cells: experts a layer; 0 takes two more than there are tasks.
        depth: layers of the searched grid.
        widths: an expert's layers; cells above the first layer have the last width.
        max_edges: the most experts that one lane may listen to.
    """

    cells: int = 0
    depth: int = 2
    widths: tuple[int, ...] = (64, 32)
    max_edges: int = 3

    def __post_init__(self) -> None:
        """Refuse numbers that make no network."""
        _at_least(0, cells=self.cells)
        _at_least(1, depth=self.depth, max_edges=self.max_edges)
        if not self.widths or min(self.widths) < 1:
            raise ValueError(f"widths must be one or more positive numbers, not {self.widths}")


@dataclass(frozen=True)
class Training:
    """How weights are trained, the same for every network.

    Attributes:
        batch_size: rows of a step.
        epochs: the most passes over the train rows.
        learning_rate: of the dense weights (AdamW, fused).
        table_learning_rate: of the embedding rows of a batch (lazy Adam).
        weight_decay: decoupled, of the dense weights.
        decay: whether learning rates fall linearly to zero over all epochs.
        checks: validation passes an epoch.
        balance: exponent b of the loss scale `weight / constant_loss ** b`: 0 adds plain losses, 1
            measures every task against its best constant prediction.
        patience: checks without a better validation score before stopping.
    """

    batch_size: int = 1024
    epochs: int = 3
    learning_rate: float = 3e-3
    table_learning_rate: float = 3e-3
    weight_decay: float = 1e-5
    decay: bool = True
    checks: int = 2
    balance: float = 0.5
    patience: int = 4

    def __post_init__(self) -> None:
        """Refuse numbers with which nothing is trained."""
        counts = {"batch_size": self.batch_size, "epochs": self.epochs}
        _at_least(1, **counts, checks=self.checks, patience=self.patience)
        _above_zero(learning_rate=self.learning_rate, table_learning_rate=self.table_learning_rate)


@dataclass(frozen=True)
class Search:
    """How routes are searched.

    Attributes:
        epochs: passes over the weight rows, warm-up included.
        warm_up: share of the steps in which only weights are trained, on uniformly drawn routes.
        policy_rows: share of the train rows that only the policy sees.
        learning_rate: of the architecture parameters (Adam).
        temperature: of the relaxation at the start and at the end.
        anchor: initial logit of a lane's own edge alone; 0 starts uniform.
        run_odds: initial log odds that a lane runs where it might skip; 0 is AdaShare's.
        cost_weight: price of the full grid's multiply-adds, in units of the normalised loss.
        candidates: frozen routes compared on validation rows.
    """

    epochs: int = 3
    warm_up: float = 0.3
    policy_rows: float = 0.3
    learning_rate: float = 0.1
    temperature: tuple[float, float] = (2.0, 0.3)
    anchor: float = 4.0
    run_odds: float = -2.0
    cost_weight: float = 0.06
    candidates: int = 24

    def __post_init__(self) -> None:
        """Refuse numbers with which nothing is searched."""
        _at_least(1, epochs=self.epochs, candidates=self.candidates)
        _above_zero(learning_rate=self.learning_rate)
        if not (0.0 < self.policy_rows < 1.0 and 0.0 <= self.warm_up < 1.0):
            raise ValueError("policy_rows must lie between 0 and 1, warm_up from 0 to below 1")
        if len(self.temperature) != 2 or min(self.temperature) <= 0.0:
            raise ValueError("temperature must be two numbers above 0: at the start, at the end")


@dataclass(frozen=True)
class Evidence:
    """What the searched network is compared with.

    Attributes:
        seeds: networks trained for each model that the verdict rests on.
        control_seeds: networks trained for each other control.
        controls: fixed networks at equal data.
        baselines: models of other kinds, one a task.
        bootstrap: resamples of the test rows.
    """

    seeds: int = 3
    control_seeds: int = 1
    controls: tuple[Literal["shared_bottom", "mmoe", "ple", "full_grid", "random_route"], ...] = (
        "shared_bottom",
        "mmoe",
        "ple",
        "full_grid",
        "random_route",
    )
    baselines: tuple[Literal["lightgbm", "logistic"], ...] = ("lightgbm", "logistic")
    bootstrap: int = 200

    def __post_init__(self) -> None:
        """Refuse numbers with which nothing is judged."""
        _at_least(1, seeds=self.seeds, control_seeds=self.control_seeds)
        _at_least(2, bootstrap=self.bootstrap)


@dataclass(frozen=True)
class Config:
    """Everything that a run may vary; the schema says the rest.

    Attributes:
        sizes: widths and dropouts of every network.
        grid: the search space.
        training: how weights are trained.
        search: how routes are searched.
        evidence: what the result is compared with.
        seed: the first seed; the others count up from it.
        threads: of torch; 0 takes one a core. One is the default since it trains networks of this
            size faster than two: their products are small and threads wait for one another.
        rank_by: formula of the sample ranking; the first probability if empty.
    """

    sizes: Sizes = field(default_factory=lambda: Sizes(dropout=0.1))
    grid: Grid = field(default_factory=Grid)
    training: Training = field(default_factory=Training)
    search: Search = field(default_factory=Search)
    evidence: Evidence = field(default_factory=Evidence)
    seed: int = 0
    threads: int = 1
    rank_by: str = ""


def _at_least(least: int, **values: int) -> None:
    for name, value in values.items():
        if value < least:
            raise ValueError(f"{name} must be at least {least}, not {value}")


def _above_zero(**values: float) -> None:
    for name, value in values.items():
        if not value > 0.0:
            raise ValueError(f"{name} must be above 0, not {value}")
