"""The steps of the main job, each a function from one typed result to the next.

    prepare      log/, forest/ if networks hear trees        PreparedLog
    search       search/, a route for each seed              TabularStudy
    train        models/searched/, routes.json of the best   TrainedModels
    train_all    models/, every model that is compared       TrainedModels
    evaluate     results.json                                Evaluation
    report       report.html
    bundle       bundle/                                     BundledNetwork
    score        scored/, ranking.parquet
    register     a version of the registered model

A step hands on what it has loaded. It reads back what an earlier run has left in the output folder
and makes only what is missing, so a step that is started alone begins with `prepare` and goes on
from there.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from recmtl.atomic import new_file, write_json
from recmtl.data.encoded_log import EncodedLog
from recmtl.data.prepare import prepare as prepare_log
from recmtl.data.reader import open_log
from recmtl.data.vocabulary_drift import unknown_shares
from recmtl.errors import DataError
from recmtl.evaluate.results import plain
from recmtl.formula import usual_order
from recmtl.job.analysis.drift import data_drift
from recmtl.job.analysis.importance import importance
from recmtl.job.analysis.page import judged_mark, write_page
from recmtl.job.analysis.reference import bundle_reference
from recmtl.job.analysis.slices import check_slices, slices
from recmtl.job.handed_on import (
    BundledNetwork,
    Evaluation,
    JobContext,
    PreparedLog,
    TrainedModels,
)
from recmtl.job.logbook import Logbook, log_results
from recmtl.job.outcome import (
    Results,
    TabularStudy,
    judged_results,
    trained_models,
    validation_results,
    write_routes,
)
from recmtl.job.problem_kind import LOG, TABULAR_PROBLEMS, trees_fact, trees_of
from recmtl.job.study import Study
from recmtl.job.what_matters.chain import ablation_items, what_mattered
from recmtl.job.what_matters.front import choose_point
from recmtl.job.what_matters.source_choice import choose_sources
from recmtl.job.work.begun import refuse_another_study
from recmtl.job.work.items import JUDGED, WorkItem, all_items, sampled_items, searched_items, voting
from recmtl.job.work.limit import NO_LIMIT, within_limit
from recmtl.job.work.priority import left_out
from recmtl.job.work.workers import complete, cores, processes_of
from recmtl.model.heads import output_columns
from recmtl.report.benchmark_page import model_description
from recmtl.schema import load_schema
from recmtl.serve import Formula, Ranker, Scorer
from recmtl.serve.batch.parquet import score_parquet
from recmtl.serve.bundle import check_serving, load_bundle, save_bundle
from recmtl.serve.calibration.calibrators import Calibrators
from recmtl.serve.calibration.fit import calibration_gain, check_calibration, fit_calibrators
from recmtl.serve.ranking.ranker import RANKING_COLUMNS
from recmtl.simulate import truth_path
from recmtl.tracking import TrackedRun
from recmtl.train.config import Config

__all__ = [
    "BundledNetwork",
    "Evaluation",
    "JobContext",
    "PreparedLog",
    "TrainedModels",
    "bundle",
    "evaluate",
    "first_rows",
    "prepare",
    "register",
    "report",
    "score",
    "search",
    "train",
    "train_all",
    "trained_before",
    "validate",
]

GOLDEN_ROWS, RANKED_ROWS = 64, 20_000
"""First rows of the input: for the bundle's golden rows, and for the sample ranking."""


def prepare(job: JobContext, run: TrackedRun) -> PreparedLog:
    """Encode the log and grow its forests, or open what is there already."""
    facts: dict[str, Any] = {}

    def admit(of_input: Mapping[str, Any]) -> None:
        facts.update(of_input)
        refuse_another_study(job.out, {**facts, **trees_fact(job.config)}, note=False)

    def progress(stage: str, done: int, total: int) -> None:
        job.on_progress(f"prepare: {stage}", done, total, None)

    schema = load_schema(job.schema)
    earlier = None if job.like is None else EncodedLog.open(job.like)
    log = prepare_log(
        job.data,
        schema,
        job.out / LOG,
        like=earlier,
        progress=progress,
        admit=admit,
        engine=job.engine,
    )
    refuse_another_study(job.out, facts)
    job.on_admitted()
    run.log_data(fingerprint=log.fingerprint, schema=job.schema)
    for warning in log.manifest["warnings"]:
        job.console.print(f"warning: {warning}", style="yellow", markup=False)
    # Nothing else runs meanwhile: the forests have the cores of the processes to come.
    threads = job.config.workers or cores()
    trees = trees_of(job.out, log, job.config, threads=threads, on_progress=job.on_progress)
    return PreparedLog(log, schema, job.config.training, trees)


def search(job: JobContext, prepared: PreparedLog) -> TabularStudy:
    """Search the routes of every seed that the verdict rests on."""
    study = _open_study(job, prepared, test=True)
    items = searched_items(study.config)
    searches = list(dict.fromkeys(search for item in items for search in item.needs(study.config)))
    complete(study, searches, Logbook(study, job.tracker, test=True).finished)
    return study.without([item for item in searches if not study.has(item)])


def train(job: JobContext, prepared: PreparedLog, run: TrackedRun) -> TrainedModels:
    """Search and train the searched networks; draw the one with the best validation score."""
    trained = _train(job, prepared, searched_items)
    _draw(job, trained, run)
    return trained


def train_all(job: JobContext, prepared: PreparedLog, run: TrackedRun) -> TrainedModels:
    """Train every model that the configuration compares; draw the best searched network."""
    trained = _train(job, prepared, all_items, ablation=True)
    _draw(job, trained, run)
    return trained


def trained_before(job: JobContext, prepared: PreparedLog) -> TrainedModels:
    """The models of `train_all` that the output folder holds; none is trained.

    Raises:
        DataError: the folder does not hold what a verdict needs.
    """
    return _train(job, prepared, all_items, ablation=True, trains=False)


def validate(job: JobContext, prepared: PreparedLog, run: TrackedRun) -> Results:
    """Train every model and say how it does on validation rows; no test figure is made."""
    trained = _train(job, prepared, all_items, test=False)
    fingerprint = prepared.log.fingerprint
    results = validation_results(trained.study, trained.compared, fingerprint=fingerprint)
    _write_results(job.out / "validation.json", results, run)
    return results


def evaluate(job: JobContext, trained: TrainedModels, run: TrackedRun) -> Evaluation:
    """Judge the trained models on test rows, and calibrate what is served."""
    fingerprint, truth = trained.prepared.log.fingerprint, truth_path(job.data)
    results = judged_results(trained.study, trained.compared, fingerprint=fingerprint, truth=truth)
    if trained.blend is not None:
        results["blend"] = plain(trained.blend.facts)
    if trained.study.config.evidence.ablation_seeds:
        results["what_mattered"] = what_mattered(trained.study)
    results["left_out"] = left_out(job.config, trained.study.config)
    if trained.forests is not None and trained.prepared.trees is not None:
        results["trees"] = dict(trained.prepared.trees.cost)
    results |= _analysis(job, trained)
    for warning in results["training"]["warnings"]:
        job.console.print(f"warning: {warning}", style="yellow", markup=False)
    calibrators = _calibrate(job, trained, results)
    results["judged"] = judged_mark(trained)
    _write_results(job.out / "results.json", results, run)
    log_results(run, results)
    return Evaluation(trained, results, calibrators)


def report(job: JobContext, evaluation: Evaluation, run: TrackedRun) -> Path:
    """Write the page that shows the evaluation."""
    return write_page(job, evaluation.trained, evaluation.results, run)


def bundle(job: JobContext, evaluation: Evaluation) -> BundledNetwork:
    """Write all that serves the chosen network, or its blend with others, into one folder."""
    trained = evaluation.trained
    prepared, encoder, serving = trained.prepared, trained.encoder, job.config.serving
    # What only sources that are not heard would read, a request need not bring.
    user = tuple(column for column in serving.user if column in encoder.input_columns)
    folder = save_bundle(
        job.out / "bundle",
        model=trained.served,
        encoder=encoder,
        rows=first_rows(job, prepared, encoder.input_columns, GOLDEN_ROWS),
        metrics=evaluation.results,
        calibrators=evaluation.calibrators,
        # Trees read what the network itself may not hear.
        unknown=unknown_shares(encoder, trained.encoded("validation").ids),
        forests=trained.forests,
        reference=bundle_reference(trained, evaluation.calibrators),
        **asdict(replace(serving, user=user)),
    )
    return BundledNetwork(folder, prepared)


def score(job: JobContext, bundled: BundledNetwork) -> None:
    """Score the whole input with the bundle, as a batch job would, and rank its first groups."""
    tables = {table.path: table.path for table in bundled.prepared.schema.tables}
    verified = load_bundle(bundled.folder, side_tables=tables)
    scorer, roles = Scorer(verified), bundled.prepared.schema.roles
    keep = [name for name in (roles.row_id, roles.group, roles.time) if name is not None]
    shutil.rmtree(job.out / "scored", ignore_errors=True)
    score_parquet(scorer, job.data, job.out / "scored", keep=keep)
    # The formula may name a column that only sources read which the network does not hear.
    columns = [*bundled.prepared.encoder.input_columns, *keep]
    rows = first_rows(job, bundled.prepared, columns, RANKED_ROWS)
    ranker = Ranker(Scorer(verified, engine="auto", record=False))
    by = job.config.rank_by or usual_order(scorer.columns)
    # Columns of the data that are called like the rank stay out of the ranking.
    kept = [name for name in rows.column_names if name not in RANKING_COLUMNS]
    ranking = ranker.rank(rows, by=by, group=roles.group, k=20, keep=kept)
    with new_file(job.out / "ranking.parquet") as partial:
        pq.write_table(ranking, partial)


def register(
    job: JobContext, evaluation: Evaluation, bundled: BundledNetwork, run: TrackedRun
) -> None:
    """Log the bundle as a new version of the schema's model: the last step of the main job.

    It is described by its tasks, verdicts, data and routes.
    """
    log, results = bundled.prepared.log, evaluation.results
    tags = {"data.fingerprint": log.fingerprint, "data": job.data}
    if job.like is not None:
        tags["vocabulary.fingerprint"] = str(log.manifest["like"])
    routes = (job.out / "routes.txt").read_text(encoding="utf-8")
    run.log_model(
        bundled.folder,
        name=log.schema.name,
        tags=tags,
        description=model_description(results, log.manifest, data=job.data, routes=routes),
        promote=job.promote,
    )


def _open_study(job: JobContext, prepared: PreparedLog, *, test: bool) -> TabularStudy:
    """The study in the output folder, whose sources are chosen.

    Mistakes of the configuration are found before any work, as far as they can be.
    """
    torch.set_num_threads(job.config.threads or cores())
    _check_names(job, prepared)
    config, limit = within_limit(
        prepared.problem,
        voting(job.config),
        folder=job.out,
        processes=processes_of(job.config),
        deadline=None if job.time_limit is None else job.began + job.time_limit,
    )
    settings = asdict(config)
    facts = {name: settings[name] for name in ("sizes", "grid", "training", "search", "seed")}
    facts |= {name: settings["evidence"][name] for name in ("budget", "lightgbm")}
    facts |= trees_fact(config) | ({"aim": settings["aim"]} if config.aim.enabled else {})
    refuse_another_study(job.out, {"data": prepared.log.fingerprint, **facts})
    study = Study(
        job.out,
        TABULAR_PROBLEMS,
        prepared.problem.sampled(config.training.rows),
        config,
        job.on_progress,
        job.on_outlook,
        limit,
    )
    # What is chosen decides what is trained: this has to be complete, whatever the limit.
    choose_sources(replace(study, limit=NO_LIMIT), Logbook(study, job.tracker, test).finished)
    if study.heard is not study.problem:
        encoder = prepared.encoder.hearing(study.hears)
        check_calibration(job.config.calibration, study.heard.heads, encoder=encoder)
    return study


def _check_names(job: JobContext, prepared: PreparedLog) -> None:
    """Refuse settings that name what the log does not have."""
    problem, encoder = prepared.problem, prepared.encoder
    if job.config.rank_by:
        roles, columns = prepared.log.schema.roles, output_columns(problem.heads)
        of_roles = [name for name in (roles.group, roles.time, roles.row_id) if name is not None]
        names = {*columns, *of_roles, *encoder.input_columns}
        Formula(job.config.rank_by).check_names(names)
    check_calibration(job.config.calibration, problem.heads, encoder=encoder)
    check_slices(job.config, encoder)
    check_serving(encoder, **asdict(job.config.serving))


def _train(
    job: JobContext,
    prepared: PreparedLog,
    items_of: Callable[[Config], Sequence[WorkItem]],
    *,
    test: bool = True,
    ablation: bool = False,
    trains: bool = True,
) -> TrainedModels:
    """Train models, and track each as it is finished: on test rows, too, if `test` is true.

    With `ablation` the steps of what moved the metric are trained as well. The study that is handed
    on is the one that was done: a time limit may have left out some of what was asked for. Without
    `trains` it is what the folder holds.
    """
    study = _open_study(job, prepared, test=test)
    choose_point(replace(study, limit=NO_LIMIT), Logbook(study, job.tracker, test).finished)
    ablates = ablation and study.config.evidence.ablation_seeds > 0
    steps = ablation_items(study) if ablates else []
    samples = sampled_items(study.config) if ablation else []
    items = list(dict.fromkeys([*items_of(study.config), *steps, *samples]))
    if trains:
        complete(study, items, Logbook(study, job.tracker, test).finished)
    elif not all(study.has(WorkItem(name, study.config.seed)) for name in JUDGED):
        raise DataError(f"{job.out}: holds no trained study; start with `recmtl evaluate`")
    study = study.without([item for item in items if not study.has(item)], steps)
    return TrainedModels(prepared, study, trained_models(study, items_of(study.config)))


def _draw(job: JobContext, trained: TrainedModels, run: TrackedRun) -> None:
    chosen = trained.chosen
    tasks = tuple(task.name for task in trained.study.problem.tasks)
    write_routes(job.out, chosen.search.routes, chosen.network.grid.layout, tasks)
    run.log_file(job.out / "routes.svg")
    run.log_file(job.out / "routes.json")


def _analysis(job: JobContext, trained: TrainedModels) -> Results:
    """What the report looks into: importance of features, slices of the test rows, the data."""
    study, prepared = trained.study, trained.prepared
    most = job.config.report.importance
    return {
        "importance": importance(trained.chosen.network, study.heard, row_scores=most),
        "slices": slices(trained),
        "drift": data_drift(prepared.log, prepared.encoder),
    }


def _calibrate(job: JobContext, trained: TrainedModels, results: Results) -> Calibrators:
    """Fit the maps of what is served on validation rows; add their gain on test rows to results."""
    model, encoder = trained.served, trained.encoder
    settings, problem = job.config.calibration, trained.served_problem
    # A segment is a column of the encoder, which trees may need whole.
    validation, test = (trained.encoded(part).ids for part in ("validation", "test"))
    calibrators = fit_calibrators(
        model, encoder, rows=problem.validation, settings=settings, ids=validation
    )
    if calibrators.columns:
        gain = calibration_gain(
            model, encoder, calibrators=calibrators, rows=problem.test, ids=test
        )
        results["calibration"] = {**asdict(settings), "columns": gain}
    return calibrators


def _write_results(path: Path, results: Results, run: TrackedRun) -> None:
    write_json(path, results)
    run.log_file(path)


def first_rows(
    job: JobContext, prepared: PreparedLog, columns: Sequence[str], count: int
) -> pa.Table:
    """The first rows of the input, side tables joined, with each of these columns once."""
    schema = prepared.schema
    log = open_log(job.data, schema.tables, fitted=prepared.encoder.types, layout=schema.files)
    first = next(log.batches(list(dict.fromkeys(columns)), rows=count, as_stored=True))
    return pa.table(first.columns).slice(0, count)
