"""What a job leaves in its output folder, as one object: verdict, models, report, scores, log.

A `Run` holds nothing but the folder. It reads what is there when it is asked, so that it can be
opened while a job is under way, by another process, and years later. Nothing here loads torch
until a network is wanted.
"""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from recmtl.atomic import read_json
from recmtl.data.encoded_log import EncodedLog
from recmtl.errors import DataError, did_you_mean
from recmtl.report.tables import format_gain, format_metric, primary_of, words
from recmtl.run.pages import RunReport, RunRoutes
from recmtl.run.tables import (
    drift_frame,
    importance_frame,
    leaderboard_frame,
    metrics_frame,
    slices_frame,
    verdict_frame,
    what_mattered_frame,
)
from recmtl.schema import Schema

if TYPE_CHECKING:
    # They load torch.
    from recmtl.serve import Ranker, Scorer
    from recmtl.watch.challenge import Challenge
    from recmtl.watch.monitor import DayReport

__all__ = ["Run", "open_run"]

STEPS = {
    "prepared": "log/manifest.json",
    "searched": "search",
    "trained": "routes.json",
    "judged": "results.json",
    "bundled": "bundle/manifest.json",
    "reported": "report.html",
    "scored": "scored",
}
"""What has been done -> the first thing that it leaves in the folder."""
REMEDIES = {
    "prepared": "prepare it with recmtl.prepare or recmtl.fit",
    "searched": "search with recmtl.search(run)",
    "trained": "train with recmtl.train(run)",
    "judged": "judge its models with recmtl.evaluate(run)",
    "bundled": "judge its models with recmtl.evaluate(run)",
    "reported": "judge its models with recmtl.evaluate(run)",
    "scored": "run the whole job: recmtl.fit, or `recmtl run --out` with this folder",
}
MEASURED = (
    "judge the models again with recmtl.evaluate(run): an earlier release did not measure it, or "
    "the section report of the configuration leaves it out"
)
ABLATION = (
    "train them: recmtl.fit(..., ablation=True), without preset='fast', which leaves them out"
)


class Run:
    """The output folder of a job: what is in it, in the form in which one looks at it.

    `recmtl.fit` and every step return one, `recmtl.open` opens one. Everything that is not there
    yet raises a `DataError` that names the step that makes it.

    Args:
        folder: the output folder; see `open_run`, which checks that it is one.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    @property
    def done(self) -> tuple[str, ...]:
        """What has been done, in order: prepared, searched, trained, judged, bundled, ..."""
        return tuple(step for step, name in STEPS.items() if _is_there(self.folder / name))

    @property
    def schema(self) -> Schema:
        """The schema that the log was prepared with."""
        return self.log.schema

    @property
    def log(self) -> EncodedLog:
        """The encoded log; `run.log.split("train").row` are numbers of rows of the input."""
        return EncodedLog.open(self._path("prepared").parent)

    @property
    def results(self) -> dict[str, Any]:
        """The content of results.json: see `recmtl.evaluate.results.assemble`."""
        return read_json(self._path("judged"), remedy="delete it and judge the models again")

    def verdict(self) -> pd.DataFrame:
        """One row a task: helped, hurt or not proven, the metrics, the gain and its interval.

        See `recmtl.run.tables.verdict_frame` for the columns. On test rows, as all that follow.
        """
        return verdict_frame(self.results)

    def leaderboard(self) -> pd.DataFrame:
        """One row a model, the best first: score, primary metrics, and costs.

        See `recmtl.run.tables.leaderboard_frame` for the columns. To pick a model by them is to
        choose on test rows; `searched` was chosen on validation rows.
        """
        return leaderboard_frame(self.results)

    def metrics(self) -> pd.DataFrame:
        """Every metric of every task and model: task, model, metric, mean, std, seeds."""
        return metrics_frame(self.results)

    def what_mattered(self) -> pd.DataFrame:
        """One row a step: what each source of knowledge and each way to share is worth.

        See `recmtl.run.tables.what_mattered_frame` for the columns.

        Raises:
            DataError: the networks that show it were not trained.
        """
        return what_mattered_frame(self._with("what_mattered", ABLATION))

    def importance(self, kind: Literal["features", "sources"] = "features") -> pd.DataFrame:
        """One row a feature, or a source of knowledge: what each task loses if it is shuffled.

        See `recmtl.run.tables.importance_frame` for the columns. On validation rows.

        Raises:
            DataError: it was not measured.
        """
        return importance_frame(self._with("importance", MEASURED), kind)

    def slices(self) -> pd.DataFrame:
        """One row for each slice of the test rows and task: new users, rare items, ...

        See `recmtl.run.tables.slices_frame` for the columns; `report.slices` of the configuration
        says which.

        Raises:
            DataError: there are none.
        """
        return slices_frame(self._with("slices", MEASURED))

    def drift(self) -> pd.DataFrame:
        """One row a feature: how far validation and test rows are from the train rows.

        See `recmtl.run.tables.drift_frame` for the columns.

        Raises:
            DataError: it was not measured.
        """
        return drift_frame(self._with("drift", MEASURED))

    @property
    def report(self) -> RunReport:
        """The page that shows all of this; a notebook shows it, and it is a path."""
        return RunReport(self._path("reported"))

    @property
    def routes(self) -> RunRoutes:
        """The route of the served network: a picture in a notebook, `.text`, `.routes` as data."""
        return RunRoutes(self._path("trained").parent)

    @property
    def bundle(self) -> Path:
        """The folder that serves: all that `Scorer.load` and `Ranker.load` need."""
        return self._path("bundled").parent

    @property
    def scored(self) -> Path:
        """The folder of the scored input: Parquet, in row order."""
        return self._path("scored")

    def ranking(self) -> pd.DataFrame:
        """The sample ranking: the first groups of the input, their best candidates first."""
        self._path("scored")
        return pd.read_parquet(self.folder / "ranking.parquet")

    def scorer(self, **settings: Any) -> "Scorer":
        """What scores rows by the bundle; `settings` are those of `recmtl.Scorer.load`."""
        from recmtl.serve import Scorer  # here, since torch is slow to load, and tables need none

        return Scorer.load(self.bundle, **settings)

    def ranker(self, **settings: Any) -> "Ranker":
        """What ranks candidates by the bundle; `settings` are those of `recmtl.Ranker.load`."""
        from recmtl.serve import Ranker  # here, as above

        return Ranker.load(self.bundle, **settings)

    def update(
        self,
        data: str | Path,
        *,
        out: str | Path = "",
        search: Literal["never", "auto", "always"] = "auto",
        retire_after: str = "",
        promote: str = "",
        quiet: bool = False,
    ) -> "Run":
        """Train the bundle on with added days; this run stays as it is.

        Statistics of the past go on, new ids get rows, and weights start from those of the bundle.
        The same call with the same `out` goes on if it was interrupted.

        Args:
            data: the added days: a path, folder, glob or URL.
            out: the output folder of the update; a new one in `runs/` if empty.
            search: for another route: `auto` if a test on the days says so.
            retire_after: retire ids that no train row has had for so long, such as `90d`.
            promote: `always` or `never` to make the model champion, whatever the comparison says.
            quiet: show no progress; warnings are shown all the same.

        Returns:
            The run of the update, which can be updated in turn.

        Raises:
            RecmtlError: the days do not fit, or the bundle is of a kind that cannot be updated.
        """
        # Here, since torch is slow to load, and tables need none.
        from recmtl.daily.open_update import update_of

        with update_of(self.folder, data=data, out=out, promote=promote, quiet=quiet) as opened:
            opened.do(search_when=search, retire_after=retire_after)
        return Run(opened.folder)

    def monitor(
        self,
        data: str | Path,
        *,
        out: str | Path = "",
        limits: str | Path = "",
        known_until: str = "",
        track: bool = True,
    ) -> "DayReport":
        """Say whether a day still looks like the training of the bundle.

        Args:
            data: the day, with labels or without.
            out: folder for page and JSON; nothing is left, and nothing tracked, if empty.
            limits: a schema whose `watch` has the limits; that of the bundle if empty.
            known_until: up to when the day knows of late events; its latest time if empty.
            track: log page and metrics to MLflow.

        Returns:
            `.beyond` are the checks beyond their limits, `.checks` all of them.
        """
        from recmtl.watch.leave import watch_day  # here, as above

        return watch_day(
            self.bundle, data, out=out, limits=limits, known_until=known_until, track=track
        )

    def challenge(
        self,
        champion: "str | Path | Run",
        data: str | Path,
        *,
        out: str | Path = "",
        by: str = "",
        k: int = 10,
        segments: Sequence[str] = (),
        known_until: str = "",
        track: bool = True,
    ) -> "Challenge":
        """Compare the bundle with a champion on a day, by the rule of promotion.

        Args:
            champion: another run, a bundle, or an MLflow URI such as `models:/shop@champion`.
            data: the day, with labels, later than what both were trained on.
            out: folder for page, JSON and the scores of both; nothing is left if empty.
            by: formula over scored columns that ranks the lists; the first probability if empty.
            k: rows of a list.
            segments: columns of the day whose values are judged apart.
            known_until: as for `monitor`.
            track: as for `monitor`.

        Returns:
            `.decision` says whether to promote, and why; `.tasks`, `.segments` and `.lists`.
        """
        from recmtl.watch.leave import challenge_on_day  # here, as above

        present = champion.bundle if isinstance(champion, Run) else champion
        return challenge_on_day(
            present,
            self.bundle,
            data,
            out=out,
            by=by,
            k=k,
            segments=segments,
            known_until=known_until,
            track=track,
        )

    def _path(self, step: str) -> Path:
        path = self.folder / STEPS[step]
        if not _is_there(path):
            raise DataError(f"{self.folder}: is not {step} yet; {REMEDIES[step]}")
        return path

    def _with(self, entry: str, remedy: str) -> dict[str, Any]:
        results = self.results
        if not results.get(entry):
            raise DataError(f"{self.folder}: results.json has no {entry}; {remedy}")
        return results

    def __repr__(self) -> str:
        head, done = f"Run {self._title()}", self.done
        if "judged" not in done:
            return f"{head}\n  {done[-1] if done else 'nothing is done'}, not judged yet"
        lines = ["  ".join(cells).rstrip() for cells in _padded(_verdict_lines(self.results))]
        lines += [f"left out: {line}" for line in self.results.get("left_out", ())]
        return "\n  ".join([head, *lines])

    def _repr_html_(self) -> str:
        if "judged" not in self.done:
            return f"<pre>{escape(repr(self))}</pre>"
        results = self.results
        lines = [*_verdict_lines(results), *(["left out", x] for x in results.get("left_out", ()))]
        rows = "".join(map(_html_row, lines))
        page = self.folder / STEPS["reported"]
        link = f'<p><a href="{escape(page.as_posix())}">{escape(str(page))}</a></p>'
        head = f"<p><strong>Run</strong> {escape(self._title())}</p>"
        return f"{head}<table><tbody>{rows}</tbody></table>{link if page.is_file() else ''}"

    def _title(self) -> str:
        """The folder, and what its log holds; a study on images has none."""
        return (
            f"{self.folder}: {_contents(self.log)}" if "prepared" in self.done else f"{self.folder}"
        )


def open_run(folder: str | Path) -> Run:
    """The run in an output folder of `recmtl.fit`, of a step, or of the command `recmtl`.

    Raises:
        DataError: the folder is not there, or no job has written into it.
    """
    path = Path(folder)
    if not path.is_dir():
        beside = path.parent.iterdir() if path.parent.is_dir() else ()
        near = did_you_mean(path.name, sorted(p.name for p in beside if p.is_dir()))
        raise DataError(f"{path}: there is no such folder{near or '; check the path'}")
    run = Run(path)
    if not run.done and not (path / "job.json").is_file():
        raise DataError(
            f"{path}: is not the output folder of a job; give the folder that was `out`"
        )
    return run


def _is_there(path: Path) -> bool:
    """Whether a file is there, or a folder that holds something."""
    return path.is_file() or (path.is_dir() and any(path.iterdir()))


def _contents(log: EncodedLog) -> str:
    rows = sum(log.manifest["rows"].values())
    return f"{log.schema.name}, {rows:,} rows, tasks {', '.join(t.name for t in log.schema.tasks)}"


def _verdict_lines(results: Mapping[str, Any]) -> list[list[str]]:
    """For each task its verdict, the metric of the searched network, and the gain by sharing."""
    lines = []
    for task, entry in results["tasks"].items():
        metric = primary_of(results, task)
        gains = results.get("verdicts", {}).get(task, {})
        value = format_metric(entry.get("searched", {}).get(metric))
        alone = f"{format_gain(gains.get('single_task'))} over a network of its own"
        if "update" in results:
            alone = f"{format_gain(gains.get('parent'))} over its parent"
        lines.append([task, entry.get("verdict", "not judged"), f"{words(metric)} {value}", alone])
    return lines


def _padded(lines: Sequence[Sequence[str]]) -> list[list[str]]:
    """The lines with columns of one width."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]


def _html_row(cells: Sequence[str]) -> str:
    return f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"
