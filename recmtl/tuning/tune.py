"""A tuning: trials are drawn, trained and halved; the best are proven with more seeds; one is kept.

    tune.json           every trial, the finals, and what was chosen
    tuned.yaml          the configuration that was chosen, to keep
    tuned_schema.yaml   its schema, where settings of the schema were tried
    tune.html           the page of the trials

Everything is measured on validation rows. A tuning that was killed goes on with the same call, and
another one is refused in its folder; but more trials, finalists or seeds go on.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from recmtl.atomic import write_json, write_text
from recmtl.data.prepare import prepare
from recmtl.errors import ConfigError, DataError, did_you_mean
from recmtl.evaluate.results import plain
from recmtl.job import steps
from recmtl.job.handed_on import JobContext, PreparedLog
from recmtl.job.logbook import flat_metrics
from recmtl.job.problem_kind import LOG, TABULAR_PROBLEMS, trees_fact, trees_of
from recmtl.job.work.begun import refuse_another_study
from recmtl.job.work.items import FIXED, SEARCHED, WorkItem
from recmtl.job.work.limit import NO_LIMIT, Limit, seconds_a_row
from recmtl.job.work.workers import complete, cores
from recmtl.report.tune_page import write_tune_page
from recmtl.schema import Schema, dump_schema, load_schema
from recmtl.search.race import rounds_of
from recmtl.tracking import TrackedRun
from recmtl.train.tabular_problem import TabularProblem
from recmtl.tuning.draw import draw
from recmtl.tuning.finals import Finals, finals_of
from recmtl.tuning.halving import Course, halve, units_of_generation
from recmtl.tuning.results import tuning_results
from recmtl.tuning.space import Space, Values, config_with, schema_with, sizes_of
from recmtl.tuning.trial_study import TrialStudy, trial_agenda, trial_problem
from recmtl.tuning.trials import Piece, Trial
from recmtl.tuning.whole import WholeOutlook

__all__ = ["RESULTS", "tune_job", "tuned_files", "with_wishes"]

RESULTS, PAGE = "tune.json", "tune.html"
TUNED, TUNED_SCHEMA = "tuned.yaml", "tuned_schema.yaml"
SEARCH_SHARE, LAST_SECONDS, LAST_SHARE = 0.75, 5.0, 0.1
"""Of a time limit, the share for trials before the finals; the most that is kept for the page."""
ANYTIME = ("trials", "finalists", "seeds")
"""Settings of a tuning that may change in its folder: more of it goes on."""
MARGIN = 1.15
"""What a generation is reckoned to take, as a multiple of what the ones before took."""


def tune_job(job: JobContext, run: TrackedRun) -> dict[str, Any]:
    """Find settings within the space of the configuration; returns the content of tune.json.

    Raises:
        ConfigError: the space names what cannot be tried, or the folder holds another tuning.
        DataError: the log is not what the schema says.
    """
    space = Space.of(job.config, load_schema(job.schema))
    _check_model(job.config.tune.model)
    torch.set_num_threads(job.config.threads or cores())
    prepared = steps.prepare(job, run)
    refuse_another_study(job.out, _facts(job, prepared))
    tuning = _Tuning(job, space)
    tuning.run_trials()
    if tuning.courses[0].standing != "done":
        raise DataError(
            f"{job.data}: the configuration itself has no score on validation rows; look at the "
            "split and at training.stop_metric"
        )
    finals = tuning.run_finals()
    results = tuning_results(space, tuning.courses, finals, rows=tuning.rows, asked=job.config.tune)
    results["fingerprint"] = prepared.log.fingerprint
    _write(job, run, space, results)
    return results


def with_wishes(job: JobContext, *, trials: int, seeds: int, processes: int) -> JobContext:
    """The job with other settings of its tuning; 0 keeps the configuration's."""
    config, tune = job.config, job.config.tune
    tune = replace(tune, trials=trials or tune.trials, seeds=seeds or tune.seeds)
    return replace(job, config=replace(config, tune=tune, workers=processes or config.workers))


def tuned_files(out: Path) -> dict[str, Path]:
    """What a tuning has left for its user, by name."""
    files = {"tuned": out / TUNED, "schema": out / TUNED_SCHEMA, "report": out / PAGE}
    return {name: path for name, path in files.items() if name != "schema" or path.is_file()}


class _Tuning:
    """A tuning under way."""

    def __init__(self, job: JobContext, space: Space) -> None:
        self.job, self.space = job, space
        self.settings = job.config.tune
        first = Trial(0, {}, -1)
        problem = trial_problem(job.out, first, job.config)
        job.config.aim.check([task.name for task in problem.tasks])
        self.rows = {part: len(getattr(problem, part)) for part in ("train", "validation")}
        halves = self.settings.halving
        self.rounds = rounds_of(job.config.training, self.rows["train"]) if halves else [1.0]
        self.search_limit, self.limit = _limits(job, problem)
        self.study = TrialStudy(job.out, TABULAR_PROBLEMS, problem, job.config, job.on_progress)
        self.courses = [Course(first, self.rounds)]
        events = job.tracker.journal.read()[0]
        self.tracked = {event["name"] for event in events if event["event"] == "start"}
        self.is_late, self.began, self.units = False, time.monotonic(), 0.0
        self.whole = WholeOutlook(*self._planned(), shown=job.on_outlook)
        first.save(job.out)

    def run_trials(self) -> None:
        """Draw, train and halve until there is nothing left to do, or no time."""
        study = replace(self.study, limit=self.search_limit)
        while True:
            if self._may_draw():
                self._draw()
            wave = [(course, piece) for course in self.courses if (piece := self._next(course))]
            if not wave:
                break
            self._complete(study, [piece for _, piece in wave])
            for course, piece in wave:
                result = piece.result(self.job.out)
                self.is_late |= result is None
                course.note(result)
            halve(self.courses)
            self._end_trials([(c, p) for c, p in wave if c.standing != "under way"])

    def run_finals(self) -> Finals:
        """Train the best trials and trial 0 with more seeds; the best mean is chosen."""
        study, settings = replace(self.study, limit=self.limit), self.settings
        finals = finals_of(self.courses, settings.finalists)
        first = self.job.config.seed
        seeds = range(first, first + settings.seeds)
        pieces = [
            Piece(settings.model, seed, trial=course.trial.number)
            for seed in seeds
            for course in finals
        ]
        again = [piece for piece in pieces if piece.seed != first]
        if len(finals) > 1 and again:
            self._complete(study, again)
            for piece in again:
                piece.forget_state(self.job.out)
        return Finals.of(self.job, finals, pieces, problem=self.study.problem)

    def _next(self, course: Course) -> Piece | None:
        return course.piece(self.settings.model, self.job.config.seed)

    def _complete(self, study: TrialStudy, pieces: Sequence[Piece]) -> None:
        missing = [piece for piece in pieces if not study.has(piece)]
        shown = replace(study, on_outlook=self.whole.during(pieces))
        complete(shown, pieces, _nothing, trial_agenda)
        self.whole.end(pieces)
        done = [piece for piece in missing if study.has(piece)]
        self.units += sum(piece.until - piece.since for piece in done)

    def _planned(self) -> tuple[int, float]:
        """The pieces of the whole tuning, and how many whole trainings they come to."""
        settings, trials = self.settings, self.settings.trials
        pieces, units = len(self.rounds), 1.0
        for drawn in range(0, trials, settings.generation):
            of = units_of_generation(min(settings.generation, trials - drawn), self.rounds)
            pieces, units = pieces + of[0], units + of[1]
        again = (min(settings.finalists, trials) + 1) * (settings.seeds - 1)
        return pieces + again, units + again

    def _may_draw(self) -> bool:
        """Whether another generation is wanted, and likely to end in time."""
        drawn = len(self.courses) - 1
        if drawn >= self.settings.trials or self.is_late:
            return False
        if not drawn or math.isinf(self.search_limit.until) or not self.units:
            return True
        ahead = units_of_generation(self.settings.generation, self.rounds)[1]
        ahead += sum(1.0 - c.trained for c in self.courses if c.standing == "under way")
        pace = (time.monotonic() - self.began) / self.units
        return time.monotonic() + MARGIN * pace * ahead <= self.search_limit.until

    def _draw(self) -> None:
        """Begin a generation, as it was begun before if it was."""
        settings, first = self.settings, len(self.courses)
        generation = (first - 1) // settings.generation
        count = min(settings.generation, settings.trials - first + 1)
        trials = [Trial.begun(self.job.out, number) for number in range(first, first + count)]
        if None in trials:
            of_first = self.space.as_configured
            past = [
                (c.trial.values or of_first, {share: r.score for share, r in c.results.items()})
                for c in self.courses
            ]
            values = draw(self.space, past, count=count, first=first)
            trials = [Trial(first + n, v, generation, self._log(v)) for n, v in enumerate(values)]
        for trial in trials:
            if trial is not None:
                if trial.log:
                    self._prepare(trial)
                trial.save(self.job.out)
                self.courses.append(Course(trial, self.rounds))

    def _log(self, values: Values) -> str:
        """The name of the log that a trial's schema needs; empty for that of trial 0."""
        schema = self._schema_of_log(values)
        is_first = schema == self.space.schema
        return "" if is_first else sha256(dump_schema(schema).encode()).hexdigest()[:12]

    def _schema_of_log(self, values: Values) -> Schema:
        """The schema of a trial's log, with the sizes of embeddings of trial 0."""
        sizes = sizes_of(values)
        return schema_with(
            self.space.schema, {path: v for path, v in values.items() if path not in sizes}
        )

    def _prepare(self, trial: Trial) -> None:
        """Encode the log of a trial's schema, and grow its forests, unless that was done."""
        job, folder = self.job, trial.log_folder(self.job.out)

        def progress(stage: str, done: int, total: int) -> None:
            job.on_progress(f"prepare {trial.log}: {stage}", done, total, None)

        schema = self._schema_of_log(trial.values)
        folder.mkdir(parents=True, exist_ok=True)
        log = prepare(job.data, schema, folder / LOG, progress=progress, engine=job.engine)
        threads = job.config.workers or cores()
        trees_of(folder, log, job.config, threads=threads, on_progress=job.on_progress)

    def _end_trials(self, ended: Sequence[tuple[Course, Piece]]) -> None:
        """Track trials that go no further, and remove what they would go on from."""
        for course, piece in ended:
            if course.standing == "stopped":  # with more time it goes on
                continue
            piece.forget_state(self.job.out)
            if f"trial-{course.trial.number}" not in self.tracked:
                self._track(course)

    def _track(self, course: Course) -> None:
        with self.job.tracker.run(f"trial-{course.trial.number}") as run:
            run.log_params({**course.trial.values, "generation": course.trial.generation})
            run.set_tags({"standing": course.standing})
            for share, result in course.results.items():
                if not math.isnan(result.score):
                    run.log_metrics({"score": result.score}, step=round(1000 * share))
            newest = course.newest
            run.log_metrics(flat_metrics("validation", newest.metrics))
            run.log_metrics({"cpu_s": sum(r.cpu_s for r in course.results.values())})


def _nothing(item: WorkItem) -> None:
    """Nothing is due at the end of a piece: its wave is looked at as a whole."""


def _check_model(name: str) -> None:
    """Refuse a network that a trial cannot train.

    Raises:
        ConfigError: there is no such network.
    """
    names = (*FIXED, *SEARCHED)
    if name not in names:
        hint = did_you_mean(name, names)
        raise ConfigError(f"tune.model: {name!r} is no network that trials can train{hint}")


def _facts(job: JobContext, prepared: PreparedLog) -> dict[str, Any]:
    """What the results of a tuning depend on; see `refuse_another_study`."""
    settings = asdict(job.config)
    facts = {name: settings[name] for name in ("sizes", "grid", "training", "search", "seed")}
    facts["tune"] = {n: v for n, v in settings["tune"].items() if n not in ANYTIME}
    facts |= {"evidence": {"budget": settings["evidence"]["budget"]}, "aim": settings["aim"]}
    return {"data": prepared.log.fingerprint, **facts, **trees_fact(job.config)}


def _limits(job: JobContext, problem: TabularProblem) -> tuple[Limit, Limit]:
    """Until when trials may be trained before the finals, and until when finals may."""
    if job.time_limit is None:
        return NO_LIMIT, NO_LIMIT
    rows, config = len(problem.train), job.config
    unit = seconds_a_row(problem, config) * rows * config.training.passes(rows)
    now, deadline = time.monotonic(), job.began + job.time_limit
    left = max(deadline - now, 0.0)
    until = deadline - min(LAST_SECONDS, LAST_SHARE * left)
    share = SEARCH_SHARE if config.tune.seeds > 1 else 1.0
    return Limit(now + share * (until - now), unit), Limit(until, unit)


def _write(job: JobContext, run: TrackedRun, space: Space, results: dict[str, Any]) -> None:
    """Leave what was chosen in the output folder and in the tracker."""
    values = results["chosen"]["values"]
    head = f"# {results['chosen']['text']}\n# recmtl run --config {TUNED} trains with it.\n"
    write_text(job.out / TUNED, head + config_with(space.config, values).dump())
    files = [RESULTS, TUNED, PAGE]
    if space.tries_schemas:
        write_text(job.out / TUNED_SCHEMA, dump_schema(schema_with(space.schema, values)))
        files.append(TUNED_SCHEMA)
    write_json(job.out / RESULTS, plain(results))
    write_tune_page(job.out / PAGE, plain(results), title=f"{space.schema.name}: tuning")
    for name in files:
        run.log_file(job.out / name)
    run.log_params({f"chosen.{path}": value for path, value in values.items()})
    scores = {"chosen": results["chosen"]["score"], "configured": results["configured"]["score"]}
    run.log_metrics({f"score.{name}": score for name, score in scores.items()})
