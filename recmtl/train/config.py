"""How to build, search and train: one strict YAML, the same for every data set."""

from dataclasses import dataclass, field
from typing import Literal

from recmtl.errors import did_you_mean
from recmtl.grid.catalog import CATALOG
from recmtl.model import ModelSizes
from recmtl.policies import Estimator, SkipVariant

__all__ = ["Budget", "Config", "Evidence", "Grid", "Search", "Skips", "Training"]


@dataclass(frozen=True)
class Grid:
    """Sizes of the search space, and of the fixed models that it is compared with.

    Attributes:
        cells: experts a layer; 0 takes two more than there are tasks.
        depth: layers of the searched grid.
        widths: an expert's layers; cells above the first layer have the last width.
        max_edges: the most experts that one lane may listen to.
        embeddings: of the searched grid: one embedding of everything for all columns, or one for
            each task's column beside that of the others, so that routes choose among them.
        experts: of the searched grid on its input: perceptrons, or cross features (DCN-V2).
    """

    cells: int = 0
    depth: int = 2
    widths: tuple[int, ...] = (64, 32)
    max_edges: int = 3
    embeddings: Literal["shared", "apart"] = "shared"
    experts: Literal["mlp", "cross"] = "mlp"

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
        batch_size: rows of a batch.
        accumulate: batches whose gradients make one step of a training, as if they were one batch
            (see `take_step`); those left at the end of a pass make a step, too. A search steps
            after each batch.
        epochs: the most passes over the train rows.
        learning_rate: of the dense weights.
        head_learning_rate: of the heads, if another.
        optimizer: of the dense weights, fused; `adam` and `sgd` add weight decay to the gradient.
        betas: decay of the moments; the first is the momentum of `sgd`.
        table_learning_rate: of the embedding rows of a batch (lazy Adam).
        weight_decay: of the dense weights; decoupled with `adamw`.
        clip: bound of the norm of all gradients of a step, table rows summed; 0 has none.
        decay: whether learning rates fall linearly to zero over all epochs.
        step_every: steps after which learning rates are multiplied by `step_factor`, again and
            again, in place of `decay`; 0 does not.
        step_factor: see there.
        checks: validation passes an epoch.
        balance: exponent b of the loss scale `weight / constant_loss ** b`: 0 adds plain losses, 1
            measures every task against its best constant prediction.
        patience: checks without a better validation score before stopping.
        rate_weight: price of missing the target rates of instance gates (DynaShare's 25).
        gate_warm_up: share of the steps in which instance gates are held open, before they learn.
        health_rows: validation rows on which the health of the experts is measured at each check;
            0 measures none.
        save_every: steps after which the state of a training or a search is saved within a pass,
            counted from its first pass; 0 saves at the end of each pass alone.
    """

    batch_size: int = 1024
    accumulate: int = 1
    epochs: int = 3
    learning_rate: float = 3e-3
    head_learning_rate: float | None = None
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    betas: tuple[float, float] = (0.9, 0.999)
    table_learning_rate: float = 3e-3
    weight_decay: float = 1e-5
    clip: float = 0.0
    decay: bool = True
    step_every: int = 0
    step_factor: float = 0.5
    checks: int = 2
    balance: float = 0.5
    patience: int = 4
    rate_weight: float = 25.0
    gate_warm_up: float = 0.1
    health_rows: int = 1024
    save_every: int = 0

    def __post_init__(self) -> None:
        """Refuse numbers with which nothing is trained."""
        for name in ("batch_size", "accumulate", "epochs", "checks", "patience"):
            _at_least(1, **{name: getattr(self, name)})
        for name in ("clip", "health_rows", "save_every", "step_every"):
            _at_least(0, **{name: getattr(self, name)})
        if len(self.betas) != 2 or not all(0.0 <= beta < 1.0 for beta in self.betas):
            raise ValueError("betas must be two numbers from 0 to below 1")
        if not 0.0 <= self.gate_warm_up < 1.0:
            raise ValueError("gate_warm_up must lie from 0 to below 1")
        _above_zero(learning_rate=self.learning_rate, table_learning_rate=self.table_learning_rate)


@dataclass(frozen=True)
class Budget:
    """What the found network may cost, encoder, grid and heads together: one of three figures.

    Attributes:
        multiply_adds: of one example.
        parameters: embedding tables included.
        share: of the full grid's network, above 0 and at most 1.
        of: what `share` is a share of.
    """

    multiply_adds: int | None = None
    parameters: int | None = None
    share: float | None = None
    of: Literal["multiply_adds", "parameters"] = "multiply_adds"

    def __post_init__(self) -> None:
        """Refuse anything but one figure that a network can have."""
        given = [v for v in (self.multiply_adds, self.parameters, self.share) if v is not None]
        if len(given) != 1:
            raise ValueError("budget needs one of multiply_adds, parameters or share")
        _above_zero(budget=given[0])
        if self.share is not None and self.share > 1.0:
            raise ValueError(f"share must be at most 1, not {self.share}")


@dataclass(frozen=True)
class Skips:
    """How a search learns which lanes to skip (AdaShare).

    Attributes:
        variant: whose losses: AdaShare's paper's or its code's.
        sparsity: weight of the sparsity term.
        sharing: weight of the sharing term; meant for layouts whose lanes are the tasks.
        hard: whether a draw runs or skips, or mixes both softly as in AdaShare's code.
        curriculum: share of the policy's steps over which layers are opened one by one from the
            last; 0 opens all at once.
        most: share of the full space's multiply-adds that the chosen route may cost; lanes that
            coincide are computed, and counted, once.
    """

    variant: SkipVariant = "paper"
    sparsity: float = 0.0
    sharing: float = 0.0
    hard: bool = True
    curriculum: float = 0.0
    most: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a curriculum that would never end, and a route that may cost nothing."""
        if not 0.0 < self.most <= 1.0:
            raise ValueError(f"most must lie above 0 and at most at 1, not {self.most}")
        if not 0.0 <= self.curriculum <= 1.0:
            raise ValueError(f"curriculum must lie between 0 and 1, not {self.curriculum}")


@dataclass(frozen=True)
class Search:
    """How routes are searched.

    Attributes:
        epochs: passes over the weight rows, warm-up included.
        warm_up: share of the steps in which only weights are trained, on routes drawn from where
            the policy starts; lanes under a curriculum and instance gates run meanwhile.
        policy_rows: share of the train rows that only the policy sees.
        estimator: how the route policy learns.
        samples: draws of the policy a step; several are each other's baseline.
        baseline_decay: of the moving average that is the baseline of a single draw.
        learning_rate: of the architecture parameters (Adam).
        temperature: of the relaxation at the start and at the end.
        anchor: initial logit of a lane's own edge alone; 0 starts uniform.
        run_odds: initial log odds that a lane runs where it might skip; 0 is AdaShare's.
        skips: the rest about skipping.
        edge_price: of keeping all edges; hard concrete gates only (SNR's L0 penalty).
        balance: exponent of the loss scale of the policy's losses, as of `training.balance`; their
            mean over the tasks is what the policy minimises.
        cost_weight: price of the full grid's multiply-adds, in units of the normalised loss; with a
            budget the price with which the search begins.
        budget: what the found network may cost; none leaves it to `cost_weight`.
        refine: rounds in which the most probable route is improved lane by lane on validation
            rows, by changes that surely gain.
        candidates: frozen routes compared on validation rows where none is refined.
        agree: tasks hear the same columns where a linear fit to either's lane explains at least
            this share of what the other says; 0 leaves routes as they were found, 0.75 told related
            tasks from others on planted logs.
        race: whether the found route and all tasks together, in the first common column, are both
            trained at their final size; together they stay where that surely gains on the mean and
            surely hurts no task. The winner need not be trained again. Without it the search is
            trusted.
        branches: what a branched tree may cost: 0 is one branch, 1 all tasks apart.
        branches_of: what `branches` is a share of.
        judged_rows: validation rows on which routes are compared and refined; more cost more than
            they tell.
    """

    epochs: int = 2
    warm_up: float = 0.3
    policy_rows: float = 0.3
    estimator: Estimator = "straight_through"
    samples: int = 1
    baseline_decay: float = 0.9
    learning_rate: float = 0.1
    temperature: tuple[float, float] = (2.0, 0.3)
    anchor: float = 4.0
    run_odds: float = -2.0
    skips: Skips = field(default_factory=Skips)
    edge_price: float = 0.0
    balance: float = 1.0
    cost_weight: float = 0.03
    budget: Budget | None = None
    refine: int = 2
    candidates: int = 12
    agree: float = 0.0
    race: bool = False
    judged_rows: int = 10_000
    branches: float = 0.5
    branches_of: Literal["multiply_adds", "parameters"] = "multiply_adds"

    def __post_init__(self) -> None:
        """Refuse numbers with which nothing is searched."""
        _at_least(1, epochs=self.epochs, candidates=self.candidates, samples=self.samples)
        _at_least(1, judged_rows=self.judged_rows)
        _at_least(0, refine=self.refine)
        _above_zero(learning_rate=self.learning_rate)
        for name in ("agree", "branches"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} must lie between 0 and 1, not {getattr(self, name)}")
        if not 0.0 <= self.baseline_decay < 1.0:
            raise ValueError("baseline_decay must lie between 0 and 1")
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
        controls: other networks at equal data: any of the catalog, `full_grid`, `random_route`.
        baselines: models of other kinds, one a task.
        bootstrap: resamples of the test rows.
        budget: multiply-adds that every network has, as a share of the full grid's, embeddings and
            heads included: fixed networks are widened or narrowed to it, the search keeps to it;
            single-task networks have it together. 0 leaves every network as large as it is.
    """

    seeds: int = 3
    control_seeds: int = 1
    controls: tuple[str, ...] = ("shared_bottom", "mmoe", "ple", "full_grid", "random_route")
    baselines: tuple[Literal["lightgbm", "logistic"], ...] = ("lightgbm", "logistic")
    bootstrap: int = 200
    budget: float = 0.0

    def __post_init__(self) -> None:
        """Refuse names of no network, and numbers with which nothing is judged."""
        _at_least(1, seeds=self.seeds, control_seeds=self.control_seeds)
        _at_least(2, bootstrap=self.bootstrap)
        known = (*CATALOG, "full_grid", "random_route")
        for name in self.controls:
            if name not in known:
                hint = did_you_mean(name, known)
                raise ValueError(
                    f"controls: no network {name!r}{hint}; there are {', '.join(known)}"
                )
        if not 0.0 <= self.budget <= 1.0:
            raise ValueError(f"budget must lie between 0 and 1, not {self.budget}")


@dataclass(frozen=True)
class Calibration:
    """How the bundle's probabilities are calibrated, on validation rows.

    Attributes:
        method: none, `platt` (two numbers a head) or `isotonic` (a staircase a head).
        segment: categorical feature whose frequent values get maps of their own; none if empty.
        min_rows: validation rows that a map needs; a value with fewer shares that of all rows.
        kept_negatives: share of the negative rows that the log has kept, by binary task.
    """

    method: Literal["none", "platt", "isotonic"] = "none"
    segment: str = ""
    min_rows: int = 1000
    kept_negatives: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse numbers with which nothing is calibrated."""
        _at_least(1, min_rows=self.min_rows)
        for name, kept in self.kept_negatives.items():
            if not 0.0 < kept <= 1.0:
                raise ValueError(f"kept_negatives of {name} must lie in (0, 1], not {kept}")


@dataclass(frozen=True)
class Serving:
    """What the bundle brings along for fast answers.

    Attributes:
        user: input columns that a request gives once, for `Ranker.rank_request`.
        onnx: whether the network is added as ONNX; needs the packages of `recmtl[onnx]`.
    """

    user: tuple[str, ...] = ()
    onnx: bool = False


@dataclass(frozen=True)
class Config:
    """Everything that a run may vary; the schema says the rest.

    Attributes:
        sizes: widths and dropouts of every network.
        grid: the search space.
        training: how weights are trained.
        search: how routes are searched.
        evidence: what the result is compared with.
        calibration: of the bundle's probabilities.
        serving: what the bundle brings along for fast answers.
        seed: the first seed; the others count up from it.
        threads: of PyTorch and LightGBM; 0 takes one a core, or one in each of several processes.
            One is the default since it trains networks of this size faster than two: their products
            are small and threads wait for one another.
        workers: processes that train the models of a study, with the same results; 0 takes one a
            core, at most 8.
        rank_by: formula of the sample ranking; the first probability if empty.
    """

    sizes: ModelSizes = field(default_factory=lambda: ModelSizes(dropout=0.1))
    grid: Grid = field(default_factory=Grid)
    training: Training = field(default_factory=Training)
    search: Search = field(default_factory=Search)
    evidence: Evidence = field(default_factory=Evidence)
    calibration: Calibration = field(default_factory=Calibration)
    serving: Serving = field(default_factory=Serving)
    seed: int = 0
    threads: int = 1
    workers: int = 0
    rank_by: str = ""

    def models(self) -> tuple[tuple[str, int], ...]:
        """Every model of a study and its number of seeds."""
        evidence = self.evidence
        judged = [(name, evidence.seeds) for name in ("searched", "single_task")]
        controls = [(name, evidence.control_seeds) for name in evidence.controls]
        return (*judged, *controls, *((name, 1) for name in (*evidence.baselines, "constant")))

    def __post_init__(self) -> None:
        """Refuse numbers with which nothing runs."""
        _at_least(0, threads=self.threads, workers=self.workers)


def _at_least(least: int, **values: float) -> None:
    for name, value in values.items():
        if not value >= least:
            raise ValueError(f"{name} must be at least {least}, not {value}")


def _above_zero(**values: float) -> None:
    for name, value in values.items():
        if not value > 0.0:
            raise ValueError(f"{name} must be above 0, not {value}")
