"""A backtest: days are rolled over, each scored before anything learns from it.

    days/              the log, a file a day
    seed-<n>/first/    the first bundle, trained on the first days
    seed-<n>/<strategy>/<day>/    what a strategy did after that day
    seed-<n>/scored/   the scores of every day
    backtest.json, backtest.html

Every strategy begins with the same first bundle. After a day has been scored, the strategies that
are due may learn from it and from days before. What is finished is read back, so that a backtest
that was killed goes on with the same arguments.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from recmtl.atomic import read_json, write_json, write_text
from recmtl.daily.rolling.day_files import Day, cut_into_days, schema_of_days, together
from recmtl.daily.rolling.day_scores import DayScores, RolledDay, score_day
from recmtl.daily.rolling.judged_days import judged_days
from recmtl.daily.rolling.strategies import Strategy, first_bundle
from recmtl.daily.update import cpu_seconds
from recmtl.data.encoded_log import EncodedLog
from recmtl.errors import ConfigError, DataError
from recmtl.job.handed_on import JobContext
from recmtl.job.problem_kind import LOG
from recmtl.job.work.begun import refuse_another_study
from recmtl.report.backtest_page import write_backtest_page
from recmtl.schema import Schema, dump_schema, load_schema
from recmtl.tracking import TrackedRun

__all__ = ["BacktestSettings", "backtest"]

FIRST = "first"


@dataclass(frozen=True)
class BacktestSettings:
    """What is rolled over, and how.

    Attributes:
        strategies: that are compared; the last one of kind `scratch`, or the first if there is
            none, is the one that the others are compared with.
        window: days from which the first bundle, and those from scratch, are trained.
        days: the most days that are scored, from the first one after the window; 0 for all.
        period: how long a day is, see `cut_into_days`.
        seeds: repetitions of the whole, each with seeds of its own.
        retire_after: of ids, see `recmtl.daily.update.update`.
    """

    strategies: tuple[Strategy, ...]
    window: int = 7
    days: int = 0
    period: str = "1d"
    seeds: int = 1
    retire_after: str = ""

    @property
    def reference(self) -> str:
        """The strategy that the others are compared with."""
        scratch = [s.name for s in self.strategies if s.kind.startswith("scratch")]
        return scratch[-1] if scratch else self.strategies[0].name


def backtest(job: JobContext, run: TrackedRun, settings: BacktestSettings) -> dict[str, Any]:
    """Roll over the days of the job's data; returns the content of backtest.json.

    Raises:
        ConfigError: the log has too few days, or the folder was begun with another backtest.
        DataError: the log is not what the schema says.
    """
    schema = load_schema(job.schema)
    days = cut_into_days(job.data, schema, job.out / "days", settings.period)
    if len(days) < settings.window + 2 or settings.window < 1:
        raise ConfigError(
            f"{job.data}: has {len(days)} days of {settings.period}, and a window of "
            f"{settings.window} leaves fewer than two to score; give a shorter window or period"
        )
    facts = {"window": settings.window, "period": settings.period, "days": [d.name for d in days]}
    refuse_another_study(job.out, {"backtest": facts, "config_seed": job.config.seed})
    job.on_admitted()
    last = len(days) if not settings.days else settings.window + settings.days
    rolls = []
    for number in range(settings.seeds):
        config = replace(job.config, seed=job.config.seed + 1000 * number)
        repeated = replace(job, out=job.out / f"seed-{number}", config=config, promote="never")
        rolls.append(_Roll(repeated, settings, days[:last], schema_of_days(schema)).all_days())
    results = judged_days(rolls, schema.tasks, settings.reference, job.config)
    write_json(job.out / "backtest.json", results)
    write_backtest_page(job.out / "backtest.html", results, title=f"{schema.name}: backtest")
    for name in ("backtest.json", "backtest.html"):
        run.log_file(job.out / name)
    _log_metrics(run, results)
    return results


@dataclass(frozen=True)
class _Roll:
    """One repetition of the whole."""

    job: JobContext
    settings: BacktestSettings
    days: Sequence[Day]
    schema: Schema

    def all_days(self) -> list[RolledDay]:
        """Score every day after the window, and refresh after it."""
        return list(self._rolled())

    def _rolled(self) -> Iterator[RolledDay]:
        window, names = self.settings.window, [s.name for s in self.settings.strategies]
        first = self.job.out / FIRST
        self._refreshed(FIRST, self.days[:window], first, first_bundle)
        statistics = EncodedLog.open(first / LOG).label_statistics
        bundles = dict.fromkeys(names, first / "bundle")
        since: dict[str, list[Day]] = {name: [] for name in names}
        for number, day in enumerate(self.days[window:], start=window):
            path = self.job.out / "scored" / f"{day.name}.safetensors"
            scores = DayScores.load(path) if path.is_file() else None
            if scores is None or scores.scores.keys() != set(names):
                scores = score_day(bundles, day, self.schema, statistics)
                scores.save(path)
            refreshes = {}
            for strategy in self.settings.strategies if day is not self.days[-1] else ():
                since[strategy.name].append(day)
                if not strategy.is_due(since[strategy.name]):
                    continue
                refresh = self._refresh(strategy, bundles, since, number)
                refreshes[strategy.name] = refresh
                if "failed" not in refresh:
                    bundles[strategy.name] = Path(refresh["bundle"])
                    since[strategy.name] = []
            yield RolledDay(day, scores, refreshes)

    def _refresh(
        self,
        strategy: Strategy,
        bundles: dict[str, Path],
        since: dict[str, list[Day]],
        number: int,
    ) -> dict[str, Any]:
        """What a strategy does after day `number` has been scored."""
        days = since[strategy.name]
        if strategy.kind.startswith("scratch"):
            days = list(self.days[number + 1 - self.settings.window : number + 1])
        folder = self.job.out / strategy.name.replace(":", "-") / self.days[number].name
        present, first = bundles[strategy.name], self.job.out / FIRST
        retire_after = self.settings.retire_after
        return self._refreshed(
            strategy.name,
            days,
            folder,
            lambda job: strategy.next_bundle(job, present, first, retire_after),
        )

    def _refreshed(
        self, name: str, days: Sequence[Day], folder: Path, make: Callable[[JobContext], Path]
    ) -> dict[str, Any]:
        """Make a bundle of some days unless it was made before; what it cost."""
        done = folder / "refresh.json"
        if done.is_file():
            return read_json(done, remedy="delete its folder, so that it is done again")
        data = together(days, self.job.out.parent / "windows" / f"{days[0].name}_{days[-1].name}")
        schema = folder / "schema.yaml"
        folder.mkdir(parents=True, exist_ok=True)
        write_text(schema, dump_schema(self.schema))
        job = replace(self.job, data=str(data), out=folder, schema=schema, like=None)
        job = replace(job, on_admitted=lambda: None)
        began = cpu_seconds()
        facts: dict[str, Any] = {"days": [day.name for day in days]}
        try:
            facts["bundle"] = str(make(job))
        except DataError as fault:
            if name == FIRST:
                raise
            facts["failed"] = str(fault)
            job.console.print(f"warning: {name} after {days[-1].name}: {fault}", markup=False)
        facts["cpu_s"] = cpu_seconds() - began
        write_json(done, facts)
        return facts


def _log_metrics(run: TrackedRun, results: dict[str, Any]) -> None:
    """Quality of every strategy and task, a step a day, and the CPU of each."""
    for step, day in enumerate(results["days"]):
        values = {
            f"{name}.{task}": cell["mean"]
            for name, tasks in day["quality"].items()
            for task, cell in tasks.items()
            if cell["mean"] is not None
        }
        run.log_metrics({name.replace(":", "-"): v for name, v in values.items()}, step=step)
    cpu = {f"cpu_s.{n}": s["cpu_s"] for n, s in results["strategies"].items()}
    run.log_metrics({name.replace(":", "-"): value for name, value in cpu.items()})
