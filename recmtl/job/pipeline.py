"""The steps of the main job, each a function of one output folder.

    prepare    log/         the encoded log
    search     search/      routes of each seed; routes.json is that of the bundle
    train      models/searched/, bundle/
    evaluate   models/, results.json, report.html
    score      scored/      every input row with its scores, ranking.parquet

A step reads what earlier steps left in the folder and does what is missing.
"""

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from recmtl.atomic import write_json, write_text
from recmtl.data.encoded_log import EncodedLog
from recmtl.data.prepare import prepare
from recmtl.data.reader import open_log
from recmtl.data.vocabulary_drift import unknown_shares
from recmtl.grid import draw_svg, draw_text, expert_names, expert_use
from recmtl.job.logbook import Logbook
from recmtl.job.outcome import Models, all_trained, outcome, reliability, validation
from recmtl.job.study import Study, refuse_another_study
from recmtl.job.work_items import WorkItem, all_pieces, searched_pieces, with_needed
from recmtl.job.workers import complete, cores
from recmtl.model import Model, load_model
from recmtl.model.heads import output_columns
from recmtl.report import ExpertUse, ReportInput, write_report
from recmtl.schema import load_schema
from recmtl.serve import Formula, Ranker, Scorer
from recmtl.serve.batch.parquet import score_parquet
from recmtl.serve.bundle import check_serving, save_bundle
from recmtl.serve.calibration.calibrators import Calibrators
from recmtl.serve.calibration.fit import (
    calibration_gain,
    check_calibration,
    fit_calibrators,
)
from recmtl.simulate import truth_path
from recmtl.tracking import Run, Tracker
from recmtl.train.config import Config
from recmtl.train.loop import OnProgress
from recmtl.train.tabular_problem import TabularProblem

__all__ = ["Pipeline"]

RANKED_ROWS = 20_000


@dataclass(frozen=True)
class Pipeline:
    """One run of the job: its input, its output folder, its settings and its tracking.

    `like`: an earlier encoded log, whose vocabularies the input is encoded with.
    """

    data: str
    schema: Path
    out: Path
    config: Config
    tracker: Tracker
    on_progress: OnProgress
    console: Console
    like: Path | None = None

    def prepare(self, run: Run) -> EncodedLog:
        """Encode the log, or find it encoded already."""
        self.out.mkdir(parents=True, exist_ok=True)

        def progress(stage: str, done: int, total: int) -> None:
            self.on_progress(f"prepare: {stage}", done, total, None)

        schema, earlier = load_schema(self.schema), None
        if self.like is not None:
            earlier = EncodedLog.open(self.like)
        log = prepare(self.data, schema, self.out / "log", like=earlier, progress=progress)
        run.log_data(fingerprint=log.fingerprint, schema=self.schema)
        for warning in log.manifest["warnings"]:
            self.console.print(f"warning: {warning}", style="yellow", markup=False)
        return log

    def search(self, log: EncodedLog) -> Study[TabularProblem, Config]:
        """Search the routes of every seed that the verdict rests on."""
        searches = [piece.needs for piece in searched_pieces(self.config)]
        return self._complete(log, [piece for piece in searches if piece is not None])

    def train(self, log: EncodedLog, run: Run) -> Study[TabularProblem, Config]:
        """Train the searched networks; the one with the best validation score is drawn."""
        study = self._complete(log, searched_pieces(self.config))
        self._draw(study, run)
        return study

    def evaluate(self, log: EncodedLog, run: Run) -> dict[str, Any]:
        """Train all models, judge, write results, report and bundle."""
        study = self._complete(log, all_pieces(self.config))
        self._draw(study, run)
        models = all_trained(study)
        fingerprint, truth = log.fingerprint, truth_path(self.data)
        results = outcome(study, models, fingerprint=fingerprint, truth=truth)
        calibrators = self._calibrators(log, study, results)
        write_json(self.out / "results.json", results)
        self._report(log, study, models, results)
        self._bundle(log, results, self._best_seed(study), calibrators)
        for name in ("results.json", "report.html"):
            run.log_file(self.out / name)
        return results

    def validate(self, log: EncodedLog, run: Run) -> dict[str, Any]:
        """Train all models and tell how they do on validation rows; no test figure is made."""
        study = self._complete(log, all_pieces(self.config), test=False)
        results = validation(study, all_trained(study), fingerprint=log.fingerprint)
        write_json(self.out / "validation.json", results)
        run.log_file(self.out / "validation.json")
        return results

    def score(self) -> None:
        """Score the whole input with the bundle and rank the first groups."""
        scorer = Scorer.load(self.out / "bundle")
        roles = load_schema(self.schema).roles
        keep = [c for c in (roles.row_id, roles.group, roles.time) if c is not None]
        shutil.rmtree(self.out / "scored", ignore_errors=True)
        score_parquet(scorer, self.data, self.out / "scored", keep=keep)
        head = self._first_rows([*scorer.input_columns, *keep], RANKED_ROWS)
        ranker = Ranker.load(self.out / "bundle")
        by = self.config.rank_by or _first_probability(scorer.columns)
        ranked = ranker.rank(head, by=by, group=roles.group, k=20)
        import pyarrow.parquet as pq

        pq.write_table(ranked, self.out / "ranking.parquet")

    def _complete(
        self, log: EncodedLog, pieces: Sequence[WorkItem], *, test: bool = True
    ) -> Study[TabularProblem, Config]:
        """The study, with these pieces done and told of."""
        study = self._study(log)
        pieces = with_needed(pieces)
        study.check(pieces)
        complete(study, pieces, Logbook(study, self.tracker, test).finished)
        return study

    def _draw(self, study: Study[TabularProblem, Config], run: Run) -> None:
        """Write the route of the bundled network as data, picture and text."""
        seed = self._best_seed(study)
        layout = self._model(seed).grid.layout
        tasks = tuple(task.name for task in study.problem.tasks)
        routes = study.found("searched", seed).routes
        write_json(self.out / "routes.json", routes.to_json())
        write_text(self.out / "routes.svg", draw_svg(layout, tasks))
        write_text(self.out / "routes.txt", draw_text(layout, tasks) + "\n")
        run.log_file(self.out / "routes.svg")
        run.log_file(self.out / "routes.json")

    def _study(self, log: EncodedLog) -> Study[TabularProblem, Config]:
        torch.set_num_threads(self.config.threads or cores())
        problem = TabularProblem.of(log)
        if self.config.rank_by:
            roles, names = log.schema.roles, output_columns(problem.heads)
            asked = [name for name in (roles.group, roles.time, roles.row_id) if name is not None]
            Formula(self.config.rank_by).check_names({*names, *asked, *log.encoder().input_columns})
        check_calibration(self.config.calibration, problem.heads, encoder=log.encoder())
        check_serving(log.encoder(), **asdict(self.config.serving))
        self._refuse_another_study(log.fingerprint)
        return Study(self.out, problem, self.config, self.on_progress)

    def _refuse_another_study(self, fingerprint: str) -> None:
        settings = asdict(self.config)
        parts = {name: settings[name] for name in ("sizes", "grid", "training", "search", "seed")}
        parts["budget"] = self.config.evidence.budget
        refuse_another_study(self.out, {"data": fingerprint, **parts})

    def _best_seed(self, study: Study[TabularProblem, Config]) -> int:
        pieces = searched_pieces(self.config)
        scores = {p.seed: study.trained(p.name, p.seed).validation_score for p in pieces}
        return max(scores, key=lambda seed: scores[seed] or -np.inf)

    def _model(self, seed: int) -> Model:
        return load_model(self.out / "models" / "searched" / str(seed))

    def _calibrators(
        self, log: EncodedLog, study: Study[TabularProblem, Config], results: dict[str, Any]
    ) -> Calibrators:
        """Calibrate the bundled network on validation rows; test rows tell what it gains."""
        model, encoder = self._model(self._best_seed(study)), log.encoder()
        settings, rows = self.config.calibration, study.problem
        found = fit_calibrators(model, encoder, rows=rows.validation, settings=settings)
        if found.columns:
            gain = calibration_gain(model, encoder, calibrators=found, rows=rows.test)
            results["calibration"] = {**asdict(settings), "columns": gain}
        return found

    def _bundle(
        self, log: EncodedLog, results: dict[str, Any], seed: int, calibrators: Calibrators
    ) -> None:
        encoder = log.encoder()
        rows = self._first_rows(list(encoder.input_columns), 64)
        model = self._model(seed)
        save_bundle(
            self.out / "bundle",
            model=model,
            encoder=encoder,
            rows=rows,
            metrics=results,
            calibrators=calibrators,
            unknown=unknown_shares(encoder, log.split("validation").ids),
            **asdict(self.config.serving),
        )

    def _first_rows(self, columns: list[str], count: int) -> Any:
        import pyarrow as pa

        log = open_log(self.data, load_schema(self.schema).tables)
        first = next(log.batches(list(dict.fromkeys(columns)), rows=count))
        return pa.table(first.columns).slice(0, count)

    def _report(
        self, log: EncodedLog, study: Study[TabularProblem, Config], models: Models, results: dict[str, Any]
    ) -> None:
        seed = self._best_seed(study)
        model = self._model(seed)
        tasks = [task.name for task in study.problem.tasks]
        batch = next(study.problem.validation.batches(batch_size=4096, seed=None))
        use = expert_use(model.grid, model.encoder(*batch.inputs))
        content = ReportInput(
            results=results,
            data=log.manifest,
            search_history=study.found("searched", seed).history,
            routes_svg=(self.out / "routes.svg").read_text(),
            expert_use=ExpertUse(use.numpy(), tasks, expert_names(model.grid.layout)),
            health=study.trained("searched", seed).health,
            reliability=reliability(study, models),
            title=f"What the tasks of {log.schema.name} should share",
        )
        write_report(self.out / "report.html", content)


def _first_probability(columns: tuple[str, ...]) -> str:
    return next((name for name in columns if name.startswith("p_")), columns[0])
