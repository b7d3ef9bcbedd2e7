"""The configuration of a run: sizes, search, training, evidence, calibration and serving.

One strict YAML file fills these dataclasses; the schema describes the data, and this file never
does. Every class refuses values with which nothing could be built or trained.
"""

from dataclasses import dataclass, field
from typing import Literal

from recmtl.errors import did_you_mean
from recmtl.grid.catalog import CATALOG
from recmtl.model import ModelSizes
from recmtl.policies import Estimator, SkipVariant

__all__ = [
    "Budget",
    "Calibration",
    "Config",
    "Evidence",
    "Grid",
    "Search",
    "Serving",
    "Skips",
    "Training",
]


@dataclass(frozen=True)
class Grid:
    """Sizes of the search space and of the fixed models with which it is compared.

    Attributes:
        cells: experts a layer; 0 means two more than there are tasks.
        depth: layers of the searched grid.
        widths: widths of an expert's layers; above the first layer experts have the last width.
        max_edges: the most experts whose outputs one lane may read.
        embeddings: of the searched grid. `shared`: all lanes read one set of embeddings. `apart`:
            each task has a set of its own beside the shared one, and routes choose among them.
        experts: kind of the searched grid's first experts: `mlp`, or `cross` features (DCN-V2).
    """

    cells: int = 0
    depth: int = 2
    widths: tuple[int, ...] = (64, 32)
    max_edges: int = 3
    embeddings: Literal["shared", "apart"] = "shared"
    experts: Literal["mlp", "cross"] = "mlp"

    def __post_init__(self) -> None:
        """Refuse sizes of which no network can be built."""
        _at_least(0, cells=self.cells)
        _at_least(1, depth=self.depth, max_edges=self.max_edges)
        if not self.widths or min(self.widths) < 1:
            raise ValueError(f"widths must be one or more positive numbers, not {self.widths}")


@dataclass(frozen=True)
class Training:
    """How weights are trained; the same for every network.

    Attributes:
        batch_size: rows of a batch.
        accumulate: number of batches whose gradients make one step of a training, as if they were
            one batch (see `take_step`). Fewer batches left at the end of an epoch make a step, too.
            A search steps after each batch.
        epochs: the most passes over the train rows.
        learning_rate: of the dense weights.
        head_learning_rate: of the heads; None means `learning_rate`.
        optimizer: of the dense weights, fused; `adam` and `sgd` add weight decay to the gradient.
        betas: decay of the two moments; the first is the momentum of `sgd`.
        table_learning_rate: of the embedding rows of a batch (lazy Adam).
        weight_decay: of the dense weights; decoupled with `adamw`.
        clip: upper bound of the norm of all gradients of a step, with the gradients of equal table
            rows summed; 0 does not clip.
        decay: whether learning rates fall linearly to zero over all epochs.
        step_every: number of steps after which learning rates are multiplied by `step_factor`,
            repeatedly and in place of `decay`; 0 never does.
        step_factor: see `step_every`.
        checks: validation passes an epoch.
        balance: exponent b of the loss scale `weight / constant_loss ** b`: 0 adds plain losses, 1
            measures every task relative to its best constant prediction.
        patience: number of checks without a better validation score after which training stops.
        rate_weight: weight of the penalty on instance gates that miss their target rates
            (DynaShare uses 25).
        gate_warm_up: share of the steps in which instance gates are held open before they learn.
        health_rows: validation rows on which the health of the experts is measured at each check;
            0 measures nothing.
        save_every: number of steps after which the state of a training or a search is saved within
            an epoch, counted from the first one; 0 saves at the end of each epoch only.
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
        """Refuse values with which nothing can be trained."""
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
    """The most that the searched network may cost, with encoder and heads: one of three figures.

    Attributes:
        multiply_adds: per example.
        parameters: embedding tables included.
        share: share of the cost of the full grid's network, above 0 and at most 1.
        of: the cost of which `share` is a share.
    """

    multiply_adds: int | None = None
    parameters: int | None = None
    share: float | None = None
    of: Literal["multiply_adds", "parameters"] = "multiply_adds"

    def __post_init__(self) -> None:
        """Refuse anything but one positive figure."""
        figures = [v for v in (self.multiply_adds, self.parameters, self.share) if v is not None]
        if len(figures) != 1:
            raise ValueError("budget needs one of multiply_adds, parameters or share")
        _above_zero(budget=figures[0])
        if self.share is not None and self.share > 1.0:
            raise ValueError(f"share must be at most 1, not {self.share}")


@dataclass(frozen=True)
class Skips:
    """How a search learns which lanes to skip (AdaShare).

    Attributes:
        variant: the losses of AdaShare's `paper` or of its `code`.
        sparsity: weight of the sparsity term.
        sharing: weight of the sharing term; meant for layouts with one lane a task.
        hard: whether a draw either runs or skips a lane; False mixes both as in AdaShare's code.
        curriculum: share of the policy's steps over which layers become searchable one by one,
            starting with the last; 0 opens all of them at once.
        most: the most that the chosen route may cost, as a share of the full space's multiply-adds.
            Lanes that coincide are computed and counted once.
    """

    variant: SkipVariant = "paper"
    sparsity: float = 0.0
    sharing: float = 0.0
    hard: bool = True
    curriculum: float = 0.0
    most: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a curriculum that never ends, and a route that may cost nothing."""
        if not 0.0 < self.most <= 1.0:
            raise ValueError(f"most must lie above 0 and at most at 1, not {self.most}")
        if not 0.0 <= self.curriculum <= 1.0:
            raise ValueError(f"curriculum must lie between 0 and 1, not {self.curriculum}")


@dataclass(frozen=True)
class Search:
    """How routes are searched.

    Attributes:
        epochs: passes over the weight rows, warm-up included.
        warm_up: share of the steps in which only weights are trained, on routes drawn from the
            initial policy; lanes under a curriculum and instance gates run meanwhile.
        policy_rows: share of the train rows that only the policy sees.
        estimator: gradient estimator of the route policy.
        samples: draws of the policy a step; several draws serve as each other's baseline.
        baseline_decay: decay of the moving average that is the baseline of a single draw.
        learning_rate: of the architecture parameters (Adam).
        temperature: of the relaxation, at the start and at the end.
        anchor: initial logit of the subset that holds a lane's own edge alone; 0 starts uniform.
        run_odds: initial log odds that a lane that may skip runs; AdaShare starts at 0.
        skips: how skipping is learned.
        edge_price: weight of the penalty on kept edges; hard concrete gates only (SNR's L0).
        balance: exponent of the scale of the policy's losses, like `training.balance`; the policy
            minimises their mean over the tasks.
        cost_weight: price of the full grid's multiply-adds in units of the normalised loss; with a
            budget, the price at the start of the search.
        budget: the most that the network may cost; None leaves the cost to `cost_weight`.
        refine: rounds in which the most probable route is improved lane by lane on validation rows,
            by changes whose gain is statistically certain.
        candidates: number of frozen routes compared on validation rows if none is refined.
        agree: tasks are merged into the same columns if a linear fit to either task's lane explains
            at least this share of the other's output. 0 merges none; 0.75 separated related from
            unrelated tasks on planted logs.
        race: whether the searched route and full sharing (all tasks in the first common column) are
            both trained at their final size. Full sharing wins if it surely gains on the mean and
            surely hurts no task; the winner need not be trained again.
        branches: cost of a branched tree, from 0 (one branch) to 1 (all tasks apart).
        branches_of: the cost of which `branches` is a share.
        judged_rows: validation rows on which routes are compared and refined.
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
        """Refuse values with which nothing can be searched."""
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
    """The models with which the searched network is compared.

    Attributes:
        seeds: number of networks trained for each model of the verdict.
        control_seeds: number of networks trained for each other control.
        controls: other networks on equal data: any of the catalog, `full_grid`, `random_route`.
        baselines: models of other kinds, one a task.
        bootstrap: number of resamples of the test rows.
        budget: multiply-adds of every network as a share of the full grid's network, embeddings and
            heads included. Fixed networks are widened or narrowed to it, the search stays within
            it, and the single-task networks share it. 0 leaves every network at its own size.
    """

    seeds: int = 3
    control_seeds: int = 1
    controls: tuple[str, ...] = ("shared_bottom", "mmoe", "ple", "full_grid", "random_route")
    baselines: tuple[Literal["lightgbm", "logistic"], ...] = ("lightgbm", "logistic")
    bootstrap: int = 200
    budget: float = 0.0

    def __post_init__(self) -> None:
        """Refuse unknown networks, and values with which nothing can be judged."""
        _at_least(1, seeds=self.seeds, control_seeds=self.control_seeds)
        _at_least(2, bootstrap=self.bootstrap)
        networks = (*CATALOG, "full_grid", "random_route")
        for name in self.controls:
            if name not in networks:
                hint = did_you_mean(name, networks)
                raise ValueError(
                    f"controls: no network {name!r}{hint}; there are {', '.join(networks)}"
                )
        if not 0.0 <= self.budget <= 1.0:
            raise ValueError(f"budget must lie between 0 and 1, not {self.budget}")


@dataclass(frozen=True)
class Calibration:
    """How the bundle's probabilities are calibrated, on validation rows.

    Attributes:
        method: `none`, `platt` (two numbers a head) or `isotonic` (a step function a head).
        segment: categorical feature whose frequent values get maps of their own; empty for none.
        min_rows: validation rows that a map needs; values with fewer use the map of all rows.
        kept_negatives: share of the negative rows that the log still holds, by binary task.
    """

    method: Literal["none", "platt", "isotonic"] = "none"
    segment: str = ""
    min_rows: int = 1000
    kept_negatives: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse values with which nothing can be calibrated."""
        _at_least(1, min_rows=self.min_rows)
        for name, kept in self.kept_negatives.items():
            if not 0.0 < kept <= 1.0:
                raise ValueError(f"kept_negatives of {name} must lie in (0, 1], not {kept}")


@dataclass(frozen=True)
class Serving:
    """What the bundle holds beside the network for fast requests.

    Attributes:
        user: input columns with one value a request, for `Ranker.rank_request`.
        onnx: whether the bundle holds the network as ONNX, too; needs `recmtl[onnx]`.
    """

    user: tuple[str, ...] = ()
    onnx: bool = False


@dataclass(frozen=True)
class Config:
    """Everything about a run that is not in the schema.

    Attributes:
        sizes: widths and dropouts of every network.
        grid: the search space.
        training: how weights are trained.
        search: how routes are searched.
        evidence: the models with which the result is compared.
        calibration: of the bundle's probabilities.
        serving: additions to the bundle for fast requests.
        seed: the first seed; the others count up from it.
        threads: of PyTorch and LightGBM; 0 means one a core, or one in each of several processes.
            The default of 1 trains networks of this size faster than 2: their products are small,
            and threads wait for one another.
        workers: processes that train the models of a study; results do not depend on it. 0 means
            one a core, at most 8.
        rank_by: formula of the sample ranking; empty for the first probability.
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
        """Name and number of seeds of every model of a study."""
        evidence = self.evidence
        judged = [(name, evidence.seeds) for name in ("searched", "single_task")]
        controls = [(name, evidence.control_seeds) for name in evidence.controls]
        return (*judged, *controls, *((name, 1) for name in (*evidence.baselines, "constant")))

    def __post_init__(self) -> None:
        """Refuse negative numbers of threads and workers."""
        _at_least(0, threads=self.threads, workers=self.workers)


def _at_least(least: int, **values: float) -> None:
    for name, value in values.items():
        if not value >= least:
            raise ValueError(f"{name} must be at least {least}, not {value}")


def _above_zero(**values: float) -> None:
    for name, value in values.items():
        if not value > 0.0:
            raise ValueError(f"{name} must be above 0, not {value}")
