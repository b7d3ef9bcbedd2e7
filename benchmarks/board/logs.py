"""The logs of the board: where each lies, what its columns mean, and how it is trained."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.board import video_history
from benchmarks.processes import ROOT

__all__ = ["LOGS", "PUBLIC", "BoardLog", "PublicLog", "data_folder"]


@dataclass(frozen=True)
class BoardLog:
    """A log of the board.

    Attributes:
        data: files below the folder that `RECMTL_DATA` names; empty for the simulated log, which
            the job writes.
        schema: YAML file, from the root of the project.
        config: YAML file, from the root of the project.
        rows: on which rows the claims hold, in words.
        widened: from the folder of the files, and an empty one, to the same files beside further
            tables that are made of them; None where there are none.
    """

    data: str
    schema: str
    config: str
    rows: str
    widened: Callable[[Path, Path], None] | None = None

    def files(self, folder: Path) -> str:
        """The path or glob of the files; what is made of them is written into `folder`."""
        if not self.data:
            return ""
        path = data_folder() / self.data
        if self.widened is not None:
            self.widened(path.parent, folder)
            path = folder / path.name
        return str(path)


LOGS = {
    "kuairand_pure": BoardLog(
        "kuairand_pure/log_0425_0430.parquet",
        "datasets/kuairand_pure/schema_history.yaml",
        "pipelines/configs/kuairand_pure/recmtl.yaml",
        "the impressions of one day, 30 April 2022, after training on the four days up to the 28th "
        "and choosing on the 29th; intervals draw users. Not a later week.",
        widened=video_history.write,
    ),
    "census_income": BoardLog(
        "census_income/train.parquet",
        "datasets/census_income/schema.yaml",
        "pipelines/configs/census_income/recmtl.yaml",
        "15 % of the official train file, drawn at random: the log has neither time nor group, and "
        "46,716 of its rows repeat another in all attributes. Not the official test file.",
    ),
    "brfss_heart2020": BoardLog(
        "brfss_heart2020/heart_2020_cleaned.parquet",
        "datasets/brfss_heart2020/schema.yaml",
        "pipelines/configs/brfss_heart2020/recmtl.yaml",
        "15 % of one year's survey, drawn at random: the log has neither time nor group.",
    ),
    "incident_updates": BoardLog(
        "incident_updates/updates.parquet",
        "datasets/incident_updates/schema.yaml",
        "pipelines/configs/incident_updates/recmtl.yaml",
        "the last 15 % of the tickets by their first time, whole tickets; intervals draw tickets.",
    ),
    "physionet2012": BoardLog(
        "physionet2012/set_*_table.parquet",
        "datasets/physionet2012/schema.yaml",
        "pipelines/configs/physionet2012/recmtl.yaml",
        "15 % of the stays of sets A and B, drawn at random: one row a stay, in no order.",
    ),
    "simulated": BoardLog(
        "",
        "recmtl/simulate/schema.yaml",
        "recmtl/simulate/config.yaml",
        "the last 15 % of a simulated log by its time.",
    ),
}


@dataclass(frozen=True)
class PublicLog:
    """A log that is published and not part of the board: a user downloads it.

    Attributes:
        name: as it is published.
        rows: of the whole log, in words, as its publishers count them.
        millions: of rows at most.
        tasks: the labels that it brings.
        split: the split that its columns allow.
        schema: what the project has for it.
    """

    name: str
    rows: str
    millions: float
    tasks: str
    split: str
    schema: str


PUBLIC = (
    PublicLog("Ali-CCP", "42 million train, 43 million test", 85, "click, conversion after a click",
              "its own train and test files", "a draft by describe"),
    PublicLog("AliExpress (NL, ES, FR, US)", "18 to 32 million a country", 32, "click, conversion",
              "its own train and test files", "a draft by describe"),
    PublicLog("KuaiRand-1K", "12 million", 12, "click, long view, like, comment, follow, forward",
              "by time", "that of KuaiRand-Pure"),
    PublicLog("KuaiRand-27K", "322 million", 322, "as KuaiRand-1K", "by time",
              "that of KuaiRand-Pure"),
    PublicLog("Tenrec (QB-video, QK-video)", "2 and 493 million", 493,
              "click, like, share, follow", "random: no time is published", "a draft by describe"),
    PublicLog("MovieLens 25M", "25 million", 25, "rating, rated at least 4", "by time",
              "a draft by describe"),
)  # fmt: skip


def data_folder() -> Path:
    """Where the logs lie: `RECMTL_DATA`, or the folder `shared/data` beside the project."""
    return Path(os.environ.get("RECMTL_DATA", ROOT.parent / "shared" / "data"))
