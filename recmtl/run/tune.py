"""`recmtl.tune`: settings found on validation rows, and what came of every trial."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from recmtl.atomic import read_json
from recmtl.data.draft.wishes import Wishes
from recmtl.job.open_job import output_folder
from recmtl.report.tune_page import tune_table
from recmtl.run.inputs import LogInput
from recmtl.run.steps import ConfigInput, SchemaInput, Tasks, log_input, opened
from recmtl.schema import Schema
from recmtl.train.config import Config
from recmtl.tuning.tune import RESULTS, tune_job, tuned_files, with_wishes

__all__ = ["Tuning", "tune"]


class Tuning:
    """What a tuning has left in its output folder.

    Args:
        folder: the output folder.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._files = tuned_files(self.folder)

    @property
    def config(self) -> Config:
        """The configuration that was chosen, for `recmtl.fit`."""
        return Config.load(self._files["tuned"])

    @property
    def schema(self) -> Schema | None:
        """The schema that was chosen; None where no setting of the schema was tried."""
        file = self._files.get("schema")
        return None if file is None else Schema.load(file)

    @property
    def report(self) -> Path:
        """The page of the trials."""
        return self._files["report"]

    @property
    def results(self) -> Mapping[str, Any]:
        """The content of tune.json."""
        return read_json(self.folder / RESULTS, remedy="tune again with the same folder")

    def trials(self) -> pd.DataFrame:
        """One row a trial: its standing, how far it was trained, its score, and its values.

        Columns: `standing`, `trained` (share of the steps), `score`, `cpu_s`, and one a setting.
        Scores are of validation rows, and compare at equal shares only.
        """
        results = self.results
        configured = {row["path"]: row["configured"] for row in results["settings"]}
        facts = ("number", "standing", "trained", "score", "cpu_s")
        rows = [
            {name: trial[name] for name in facts} | configured | trial["values"]
            for trial in results["trials"]
        ]
        return pd.DataFrame(rows).set_index("number").rename_axis("trial")

    def __repr__(self) -> str:
        return f"{tune_table(self.results)}\n\n{self.folder}"


def tune(
    data: LogInput = "",
    schema: SchemaInput = None,
    *,
    tasks: Tasks = (),
    group: str = "",
    time: str = "",
    out: str | Path = "",
    preset: str = "",
    config: ConfigInput = None,
    time_limit: str | float | None = None,
    trials: int = 0,
    seeds: int = 0,
    processes: int = 0,
    quiet: bool = False,
) -> Tuning:
    """Find settings by trials on validation rows; `fit` takes them as `config=tuning.config`.

    Trials are drawn from the space of the configuration (its section `tune`), trained, and halved;
    the best are trained with more seeds beside the configuration itself. No test row is read. If it
    was interrupted, the same call with the same `out` goes on; with more trials it goes further.

    Args:
        data: as for `recmtl.fit`, like all that is not named below.
        schema: see there.
        tasks: see there.
        group: see there.
        time: see there.
        out: see there.
        preset: see there.
        config: see there.
        time_limit: seconds, or text such as `1h`: fewer trials are drawn then.
        trials: in place of the configuration's; 0 for the configuration's.
        seeds: trainings of each finalist, likewise.
        processes: trials that are trained at once, likewise `workers`. The result is the same.
        quiet: show no progress and no draft.

    Raises:
        RecmtlError: an input is wrong, or the space names what cannot be tried.
    """
    folder = output_folder(out)
    with (
        log_input(data, schema, Wishes.of(tasks, group=group, time=time), folder, quiet) as source,
        opened(
            "tune",
            quiet,
            out=folder,
            preset=preset,
            config=config,
            time_limit=time_limit,
            **source,
        ) as (job, run),
    ):
        tune_job(with_wishes(job, trials=trials, seeds=seeds, processes=processes), run)
    return Tuning(folder)
