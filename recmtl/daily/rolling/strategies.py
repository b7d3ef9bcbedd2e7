"""Ways to keep a model fresh, each a function from a bundle and the days since to the next bundle.

| strategy | what it does when it is due |
|---|---|
| `frozen` | nothing: the first bundle scores all days |
| `warm` | updates its bundle by the days since the last time |
| `warm+search` | the same, and searches again if the test of the days says so |
| `scratch` | trains from scratch on the newest window of days, in the wiring of the first bundle |
| `scratch+search` | the same, with a new search |

A number of days behind a colon says how often: `warm:7` is due every seventh day.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import copytree

from recmtl.daily.parent import open_parent
from recmtl.daily.rolling.day_files import Day
from recmtl.daily.update import updated
from recmtl.errors import ConfigError, did_you_mean
from recmtl.job import steps
from recmtl.job.handed_on import JobContext
from recmtl.train.config import Config

__all__ = ["KINDS", "Strategy", "first_bundle", "read_strategies"]

KINDS = ("frozen", "warm", "warm+search", "scratch", "scratch+search")


@dataclass(frozen=True)
class Strategy:
    """One way to keep a model fresh.

    Attributes:
        kind: one of `KINDS`.
        every: number of days after which it is due.
    """

    kind: str
    every: int = 1

    @property
    def name(self) -> str:
        """As it is written.

        >>> Strategy("warm", 7).name, Strategy("warm").name
        ('warm:7', 'warm')
        """
        return self.kind if self.every == 1 else f"{self.kind}:{self.every}"

    def is_due(self, days: Sequence[Day]) -> bool:
        """Whether so many days have passed since the last time."""
        return self.kind != "frozen" and len(days) >= self.every

    def next_bundle(
        self, job: JobContext, present: Path, first: Path, retire_after: str = ""
    ) -> Path:
        """The next bundle, of a job whose data are the days that this strategy learns from.

        Args:
            job: with a folder of this strategy and day.
            present: the bundle that has scored until now.
            first: the output folder of the job that trained the first bundle.
            retire_after: see `recmtl.daily.update.update`.

        Raises:
            DataError: the days cannot be learned from: of a task, say, no row is positive.
        """
        if self.kind.startswith("warm"):
            search_when = "auto" if self.kind == "warm+search" else "never"
            parent = open_parent(present)
            return updated(
                job,
                parent,
                retire_after=retire_after,
                search_when=search_when,  # type: ignore[arg-type]
                with_report=False,
            ).bundle
        if self.kind == "scratch" and not (job.out / "search").is_dir():
            # With the first job's search in its folder, a job trains what that has found.
            job.out.mkdir(parents=True, exist_ok=True)
            copytree(first / "search", job.out / "search")
        return first_bundle(job)


def read_strategies(names: Sequence[str]) -> tuple[Strategy, ...]:
    """The strategies that are written so, each once.

    Raises:
        ConfigError: a name is unknown, or a number of days is none.

    >>> [strategy.name for strategy in read_strategies(["warm:3", "frozen"])]
    ['warm:3', 'frozen']
    """
    strategies = []
    for name in names:
        kind, colon, every = name.strip().partition(":")
        if kind not in KINDS:
            near = did_you_mean(kind, KINDS) or f"; there are {', '.join(KINDS)}"
            raise ConfigError(f"strategy {name!r}: is unknown{near}")
        if colon and (not every.isdecimal() or int(every) < 1 or kind == "frozen"):
            raise ConfigError(f"strategy {name!r}: write a number of days, as warm:7")
        strategies.append(Strategy(kind, int(every or 1)))
    if not strategies:
        raise ConfigError("name at least one strategy, such as warm")
    return tuple(dict.fromkeys(strategies))


def first_bundle(job: JobContext) -> Path:
    """Search, unless the folder has the search of another job, and train what is served."""
    job = replace(job, config=without_comparisons(job.config))
    with job.tracker.run(f"{job.out.parent.name}-{job.out.name}") as run:
        trained = steps.train(job, steps.prepare(job, run), run)
        return steps.bundle(job, steps.evaluate(job, trained, run)).folder


def without_comparisons(config: Config) -> Config:
    """The configuration of a job that trains one network, and nothing to compare it with."""
    evidence = replace(
        config.evidence,
        seeds=1,
        control_seeds=1,
        controls=(),
        baselines=(),
        ablation_seeds=0,
        resamples=0,
    )
    report, search = (
        replace(config.report, importance=0, slices=()),
        replace(config.search, votes=1),
    )
    return replace(config, evidence=evidence, report=report, search=search, workers=1)
