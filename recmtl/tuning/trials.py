"""A trial: values of the settings that are tried, and what came of each round of its training.

    trials/<number>/settings.json               the values; none for those of the configuration
    trials/<number>/seed-<seed>/round-<%>.json  what the training scored up to a share of its steps
    trials/<number>/seed-<seed>/...             the state from which the training goes on
    logs/<name>/                                the log of a schema that trials have

Each file is whole or absent, so that a tuning that was killed goes on where it was.
"""

import math
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from recmtl.atomic import read_json, reading, write_json
from recmtl.job.work.items import WorkItem
from recmtl.tuning.space import Values

__all__ = ["Piece", "RoundResult", "Trial", "ranked"]

TRIALS, LOGS = "trials", "logs"
AGAIN = "delete the folder of this trial, so that it is done again"


@dataclass(frozen=True)
class RoundResult:
    """What a training has come to at the end of a round, on validation rows.

    Attributes:
        score: by which trials are compared; more is better, NaN if nothing is defined.
        tasks: the stop metric of every task.
        metrics: task -> metric -> value.
        cpu_s: processor seconds of the round.
        multiply_adds: of the network, for one example.
        failed: why nothing could be trained; empty if it could.
    """

    score: float
    tasks: dict[str, float] = field(default_factory=dict)
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    cpu_s: float = 0.0
    multiply_adds: float = 0.0
    failed: str = ""

    def save(self, path: Path) -> None:
        """Write it; the file is whole or absent."""
        write_json(path, asdict(self), allow_nan=True)

    @classmethod
    def load(cls, path: Path) -> "RoundResult":
        """What was written.

        Raises:
            DataError: the file is damaged.
        """
        with reading(path, remedy=AGAIN):
            return cls(**read_json(path, remedy=AGAIN))


@dataclass(frozen=True)
class Trial:
    """Values of the settings that are tried.

    Attributes:
        number: of the trial; 0 is the configuration as it is.
        values: of the settings; none of trial 0.
        generation: the trials that were drawn with it; -1 for trial 0, which is none of them.
        log: name of its log, if its schema differs from that of trial 0; else empty.
    """

    number: int
    values: Values
    generation: int
    log: str = ""

    @staticmethod
    def folder_of(out: Path, number: int) -> Path:
        """Where a trial lies in an output folder."""
        return out / TRIALS / f"{number:04d}"

    def log_folder(self, out: Path) -> Path:
        """The folder below which its encoded log and its forests lie."""
        return out / LOGS / self.log if self.log else out

    def save(self, out: Path) -> None:
        """Write the values before anything is trained with them."""
        path = self.folder_of(out, self.number) / "settings.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, asdict(self))

    @classmethod
    def begun(cls, out: Path, number: int) -> "Trial | None":
        """The trial of this number in an output folder; None if none was drawn.

        Raises:
            DataError: its file is damaged.
        """
        path = cls.folder_of(out, number) / "settings.json"
        if not path.is_file():
            return None
        with reading(path, remedy=AGAIN):
            return cls(**read_json(path, remedy=AGAIN))


@dataclass(frozen=True)
class Piece(WorkItem):
    """A part of a trial's training: from one share of its steps to another.

    Attributes:
        name: of the network.
        seed: of the training.
        trial: number of the trial.
        since: the share at which it begins.
        until: the share at which it ends; 1 is the whole training.

    >>> str(Piece("mmoe", 0, trial=7, since=0.25, until=0.5))
    'trial 7, seed 0, to 50 %'
    """

    trial: int = 0
    since: float = 0.0
    until: float = 1.0

    def __str__(self) -> str:
        """The name under which its progress is shown."""
        return f"trial {self.trial}, seed {self.seed}, to {self.until:.0%}".replace("%", " %")

    def needs(self, config: Any) -> tuple[WorkItem, ...]:
        """Nothing: the round before is done when this piece is asked for."""
        return ()

    def folder(self, out: Path) -> Path:
        """Where the training of this seed lies."""
        return Trial.folder_of(out, self.trial) / f"seed-{self.seed}"

    def file(self, out: Path) -> Path:
        """Where the result of the round lies."""
        return self.folder(out) / f"round-{100 * self.until:g}.json"

    def result(self, out: Path) -> RoundResult | None:
        """What the round has come to; None if it is not done."""
        file = self.file(out)
        return RoundResult.load(file) if file.is_file() else None

    def forget_state(self, out: Path) -> None:
        """Remove what the training would go on from; results stay."""
        for path in self.folder(out).glob("checkpoint.*"):
            path.unlink(missing_ok=True)
        shutil.rmtree(self.folder(out) / "checkpoints", ignore_errors=True)


def ranked(scores: Sequence[float]) -> list[int]:
    """Positions of scores, the best first; equal ones keep their order, NaN is last."""
    return sorted(
        range(len(scores)), key=lambda n: math.inf if math.isnan(scores[n]) else -scores[n]
    )
