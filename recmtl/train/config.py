"""The configuration of a run: sizes, search, training, evidence, calibration and serving.

One strict YAML file fills these dataclasses; the schema describes the data, and this file never
does. Every class refuses values with which nothing could be built or trained.
"""

from dataclasses import field
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from recmtl.errors import ConfigError
from recmtl.forest.settings import Trees
from recmtl.grid.catalog import GatePlace
from recmtl.grid.layout import InteractionKind
from recmtl.model import Blend, ModelSizes
from recmtl.policies import Estimator, SkipVariant
from recmtl.schema.settings import (
    COUNT,
    EXPONENT,
    RATE,
    SHARE,
    SIZE,
    WEIGHT,
    ConfigurationFile,
    changed,
    settings,
)
from recmtl.train.evidence import Evidence, Report
from recmtl.train.presets import PRESETS
from recmtl.train.recipe.aim import Aim
from recmtl.train.recipe.training import (
    USUAL_EPOCHS,
    USUAL_SEARCH_EPOCHS,
    StopMetric,
    Training,
)
from recmtl.train.recipe.tune import Tune

__all__ = [
    "Aim",
    "Budget",
    "Calibration",
    "Config",
    "Evidence",
    "Grid",
    "Report",
    "Search",
    "Serving",
    "Skips",
    "StopMetric",
    "Training",
    "Tune",
]


@settings(ConfigError)
class Grid:
    """Sizes of the search space and of the fixed models with which it is compared.

    Attributes:
        cells: experts a layer; 0 means two more than there are tasks.
        depth: layers of the searched grid.
        widths: widths of an expert's layers; above the first layer experts have the last width.
        max_edges: the most experts whose outputs one lane may read.
        embeddings: of the searched grid. `shared`: all lanes read one set of embeddings. `apart`:
            each task has a set of its own beside the shared one, and routes choose among them.
        experts: kind of the experts on the input, in every network: `mlp`, or `cross` features
            (DCN-V2). Searched trees have perceptrons.
        interactions: of the searched grid, input lanes beside the embeddings that routes may hear:
            `fm`, `fwfm`, `dcn`, `dcn_low_rank`; see `recmtl.model.interactions`.
        feature_gates: of the searched grid, where PEPNet's gates multiply features: of the `input`
            lanes, of the lanes of the `tasks`.
        prior: ids and numbers at which feature gates look: who is asked, on which page; none for
            all fields.
    """

    cells: Annotated[int, Field(ge=0, le=1024)] = 0
    depth: Annotated[int, Field(ge=1, le=64)] = 2
    widths: tuple[Annotated[int, SIZE], ...] = (64, 32)
    max_edges: Annotated[int, Field(ge=1, le=1024)] = 3
    embeddings: Literal["shared", "apart"] = "shared"
    experts: Literal["mlp", "cross"] = "mlp"
    interactions: tuple[InteractionKind, ...] = ()
    feature_gates: tuple[GatePlace, ...] = ()
    prior: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse sizes of which no network can be built."""
        if len(set(self.interactions)) < len(self.interactions):
            raise ValueError("interactions names a kind twice; name each once")
        if len(set(self.feature_gates)) < len(self.feature_gates):
            raise ValueError("feature_gates names a place twice; name each once")
        if not self.widths:
            raise ValueError("widths must be one or more numbers; give the width of each layer")


Temperature = Annotated[float, Field(gt=0, le=1000)]


@settings(ConfigError)
class Budget:
    """The most that the searched network may cost, with encoder and heads: one of three figures.

    Attributes:
        multiply_adds: per example.
        parameters: embedding tables included.
        share: share of the cost of the full grid's network, above 0 and at most 1.
        of: the cost of which `share` is a share.
    """

    multiply_adds: Annotated[int, Field(ge=1, le=10**18)] | None = None
    parameters: Annotated[int, Field(ge=1, le=10**18)] | None = None
    share: Annotated[float, Field(gt=0, le=1)] | None = None
    of: Literal["multiply_adds", "parameters"] = "multiply_adds"

    def __post_init__(self) -> None:
        """Refuse anything but one positive figure."""
        figures = [v for v in (self.multiply_adds, self.parameters, self.share) if v is not None]
        if len(figures) != 1:
            raise ValueError("budget needs one of multiply_adds, parameters or share")


@settings(ConfigError)
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
    sparsity: Annotated[float, WEIGHT] = 0.0
    sharing: Annotated[float, WEIGHT] = 0.0
    hard: bool = True
    curriculum: Annotated[float, SHARE] = 0.0
    most: Annotated[float, Field(gt=0, le=1)] = 1.0


@settings(ConfigError)
class Search:
    """How routes are searched.

    Attributes:
        epochs: passes over the weight rows, warm-up included. None: 2, and two for every three of
            the training where a small table is passed over more often.
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
        race: whether the found route's network competes with networks that share in fixed ways (all
            experts, embeddings only, experts only, nothing, along a tree, the full grid), each
            trained at the same budget; the best on validation rows is kept and need not be trained
            again. None races on tables, and not on images.
        votes: the seeds, from the first on, whose races vote on the network that is trained with
            every seed. None: those of the verdict, and at most 3.
        branches: cost of a branched tree, from 0 (one branch) to 1 (all tasks apart).
        branches_of: the cost of which `branches` is a share.
        judged_rows: validation rows on which routes are compared and refined.
        source_seeds: of a table, the networks that are trained with and without each source of
            knowledge beside ids and numbers, to drop before the search those that are not proven to
            be worth hearing; 0 hears all. With 1, luck could not be told from worth.
    """

    epochs: Annotated[int, COUNT] | None = None
    warm_up: Annotated[float, Field(ge=0, lt=1)] = 0.3
    policy_rows: Annotated[float, Field(gt=0, lt=1)] = 0.3
    estimator: Estimator = "straight_through"
    samples: Annotated[int, Field(ge=1, le=10000)] = 1
    baseline_decay: Annotated[float, Field(ge=0, lt=1)] = 0.9
    learning_rate: Annotated[float, RATE] = 0.1
    temperature: tuple[Temperature, Temperature] = (2.0, 0.3)
    anchor: Annotated[float, Field(ge=-1000, le=1000)] = 4.0
    run_odds: Annotated[float, Field(ge=-1000, le=1000)] = -2.0
    skips: Skips = field(default_factory=Skips)
    edge_price: Annotated[float, WEIGHT] = 0.0
    balance: Annotated[float, EXPONENT] = 1.0
    cost_weight: Annotated[float, WEIGHT] = 0.03
    budget: Budget | None = None
    refine: Annotated[int, Field(ge=0, le=1000)] = 2
    candidates: Annotated[int, COUNT] = 12
    agree: Annotated[float, SHARE] = 0.0
    race: bool | None = None
    votes: Annotated[int, Field(ge=1, le=1000)] | None = None
    judged_rows: Annotated[int, COUNT] = 10_000
    branches: Annotated[float, SHARE] = 0.5
    branches_of: Literal["multiply_adds", "parameters"] = "multiply_adds"
    source_seeds: Annotated[int, Field(ge=0, le=1000)] = 0

    def __post_init__(self) -> None:
        """Refuse values with which nothing can be searched."""
        if self.source_seeds == 1:
            raise ValueError("source_seeds must be 0, or at least 2: one network proves nothing")


@settings(ConfigError)
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
    min_rows: Annotated[int, COUNT] = 1000
    kept_negatives: dict[str, Annotated[float, Field(gt=0, le=1)]] = field(default_factory=dict)


@settings(ConfigError)
class Serving:
    """What the bundle holds beside the network for fast requests.

    Attributes:
        user: input columns with one value a request, for `Ranker.rank_request`.
        onnx: whether the bundle holds the network as ONNX, too; needs `recmtl[onnx]`.
    """

    user: tuple[str, ...] = ()
    onnx: bool = False


@settings(ConfigError)
class Config(ConfigurationFile):
    """Everything about a run that is not in the schema.

    Attributes:
        sizes: widths and dropouts of every network.
        grid: the search space.
        training: how weights are trained.
        aim: what the served network should be best at.
        search: how routes are searched.
        evidence: the models with which the result is compared.
        calibration: of the bundle's probabilities.
        serving: additions to the bundle for fast requests.
        trees: forests whose logits the networks hear.
        blend: of several networks and the forests, in one bundle.
        report: what the report looks into.
        tune: what `recmtl tune` tries.
        seed: the first seed; the others count up from it.
        threads: of PyTorch and LightGBM; 0 means one a core, or one in each of several processes.
            The default of 1 trains networks of this size faster than 2: their products are small,
            and threads wait for one another.
        workers: processes that train the models of a study; results do not depend on it. 0 means
            one a core, at most 8.
        rank_by: formula of the sample ranking; empty for the first `score_` or `p_`.
    """

    sizes: ModelSizes = field(default_factory=lambda: ModelSizes(dropout=0.1))
    grid: Grid = field(default_factory=Grid)
    training: Training = field(default_factory=Training)
    aim: Aim = field(default_factory=Aim)
    search: Search = field(default_factory=Search)
    evidence: Evidence = field(default_factory=Evidence)
    calibration: Calibration = field(default_factory=Calibration)
    serving: Serving = field(default_factory=Serving)
    trees: Trees = field(default_factory=Trees)
    blend: Blend = field(default_factory=Blend)
    report: Report = field(default_factory=Report)
    tune: Tune = field(default_factory=Tune)
    seed: Annotated[int, Field(ge=0, le=2_000_000_000)] = 0
    threads: Annotated[int, Field(ge=0, le=4096)] = 1
    workers: Annotated[int, Field(ge=0, le=4096)] = 0
    rank_by: str = ""
    presets: ClassVar = PRESETS

    def search_passes(self, rows: int) -> int:
        """Passes of a search over the rows from which weights learn, of so many train rows."""
        if self.search.epochs is not None:
            return self.search.epochs
        training = USUAL_EPOCHS if self.training.epochs else self.training.passes(rows)
        return round(training * USUAL_SEARCH_EPOCHS / USUAL_EPOCHS)

    def models(self) -> tuple[tuple[str, int], ...]:
        """Name and number of seeds of every model of a study."""
        evidence = self.evidence
        judged = [(name, evidence.seeds) for name in ("searched", "single_task")]
        # One draw of a random route would be the luck of that draw.
        seeds = {"random_route": evidence.seeds}
        controls = [(n, seeds.get(n, evidence.seeds_of_controls)) for n in evidence.controls]
        fitted = {"lightgbm": evidence.seeds}  # no seed changes the others
        baselines = [(name, fitted.get(name, 1)) for name in (*evidence.baselines, "constant")]
        return (*judged, *controls, *baselines)

    def __post_init__(self) -> None:
        """Refuse numbers that no machine has, and a blend of joint logits."""
        if self.blend.enabled and self.sizes.chain.child == "joint":
            raise ValueError(
                "blend averages logits of p(event | parent): set sizes.chain.child to conditional, "
                "or blend.enabled to false"
            )

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in changed(self).items())
        return f"Config({settings})"
