"""The race: entrants are trained side by side, hopeless ones a little, and the best is kept.

Shared weights judge all routes at the same widths, and hardly train the edges that a task only
listens to; so they cannot tell whether the found route is better than full sharing, than towers
apart, or than nothing shared. The race finds out by training these networks, by successive halving
(Jamieson and Talwalkar, AISTATS 2016): all of them for a quarter of the steps, the better half on
to a half of the steps, the better half of those to the end; a round of fewer than 100 steps is
left out. Whoever is dropped has the score that it had then. The leader of the first round brings a
rival: its wiring with the other kind of experts.

`race_rule` says who is better, on validation rows. The winner's training is the one that the study
would do, so its checkpoint saves that training.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NotRequired, TypedDict

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from recmtl.atomic import read_json, write_json
from recmtl.data.batches import Batch, Rows, total_weight
from recmtl.evaluate.metrics import mean_over_tasks
from recmtl.model import Network
from recmtl.ranks import ranks
from recmtl.search.budget import BudgetTarget
from recmtl.search.entrants import NOTHING_SHARED, Entrant, with_other_experts
from recmtl.search.race_rule import hurt_tasks, ranked
from recmtl.search.refine import FOLDS
from recmtl.search.supernet import mean_by_weight
from recmtl.train.checkpoint import sibling_checkpoint
from recmtl.train.config import Config, Training
from recmtl.train.loop import OnProgress, silent, train
from recmtl.train.problem import Problem, network_cost

__all__ = ["EntrantRecord", "Race", "race_files", "rounds_of"]

ROUNDS = (0.25, 0.5, 1.0)
"""Shares of the steps of a training after which entrants are compared."""
FEWEST_STEPS = 100
"""Before so many steps no entrant is dropped: networks of many parts begin slowly, and some of
those that are last after 40 steps are among the first after 160."""

Floats = npt.NDArray[np.float64]


class EntrantRecord(TypedDict):
    """What a race says of an entrant; figures are of validation rows.

    Attributes:
        name: `found`, `full_grid`, `branched`, or a name of the catalog.
        standing: `won`, `beaten` by the winner at the end, `dropped` before, `vetoed` (its best
            mean would have won, but a task surely lost by it), or `left out`.
        why: the reason, of those left out and vetoed.
        experts: kind of the experts on the input.
        trained: share of the steps that it was trained for.
        score: by which entrants are compared, more is better; the mean of `tasks`.
        by_round: share of the steps -> score after so many, of every round that it was in.
        tasks: each task's part of it.
        loss: mean over the tasks of the loss as a share of the best constant prediction's.
        parameters: of its network.
        multiply_adds: of its network, for one example.
    """

    name: str
    standing: str
    why: NotRequired[str]
    experts: NotRequired[str]
    trained: NotRequired[float]
    score: NotRequired[float]
    by_round: NotRequired[dict[str, float]]
    tasks: NotRequired[dict[str, float]]
    loss: NotRequired[float]
    parameters: NotRequired[int]
    multiply_adds: NotRequired[float]


class Race:
    """A race under way, in the folder of a checkpoint or, without one, in a temporary folder.

    Args:
        entrants: two or more, the first of equal ones being preferred.
        target: the budget that the rival with other experts has to meet.
        problem: what all are trained on.
        config: how.
        seed: of weights and batches.
        checkpoint: where the winner's training leaves its state.
        on_progress: called with progress.
    """

    def __init__(
        self,
        entrants: Sequence[Entrant],
        target: BudgetTarget | None,
        *,
        problem: Problem,
        config: Config,
        seed: int,
        checkpoint: Path | None = None,
        on_progress: OnProgress = silent,
    ) -> None:
        self.entrants = {entrant.key: entrant for entrant in entrants}
        self.target, self.problem, self.config, self.seed = target, problem, config, seed
        self.checkpoint, self.on_progress = checkpoint, on_progress
        self.rounds = rounds_of(config.training, len(problem.train))
        self.weights = np.array([*problem.score_weights.values()])
        self.results: dict[str, dict[str, dict[str, Any]]] = {}
        """Round -> entrant -> its scores and losses, as in the file."""
        self.hurt: dict[str, str] = {}

    def run(self) -> tuple[Entrant, list[EntrantRecord]]:
        """The winner, and the table of all entrants, best first; resumes a race that was stopped.

        Raises:
            DataError: a state beside the checkpoint is damaged, or of another race.
        """
        with _folder_of(self.checkpoint) as checkpoint:
            self.results = ranks().first(partial(_results, checkpoint))
            running = list(self.entrants)
            for until in self.rounds:
                for key in running:
                    self._train(key, until, checkpoint)
                if until == self.rounds[0]:
                    running += self._rival(self._ranked(until)[0], checkpoint)
                if until < self.rounds[-1]:
                    best = [key for key in self._ranked(until) if key in running]
                    running = best[: max(2, len(best) // 2)]
            winner = self._winner(checkpoint)
            if self.checkpoint is not None and ranks().is_first:
                state = sibling_checkpoint(checkpoint, winner)
                if state.is_file():  # else it was moved before a kill
                    state.replace(checkpoint)
                for path in race_files(checkpoint):
                    path.unlink(missing_ok=True)
        return self.entrants[winner], self._table(winner)

    def _rival(self, leader: str, checkpoint: Path) -> list[str]:
        """The leader's wiring with the other kind of experts, trained as far.

        None where the experts have no other kind, or where that network is an entrant already.
        """
        rival = with_other_experts(self.entrants[leader], self.config.grid, self.target)
        if rival is None or rival.key in self.entrants:
            return []
        self.entrants[rival.key] = rival
        self._train(rival.key, self.rounds[0], checkpoint)
        return [rival.key]

    def _train(self, key: str, until: float, checkpoint: Path) -> None:
        """Train an entrant on to a share of the steps, and note how it does on validation rows."""
        of_round = self.results.setdefault(str(until), {})
        if key in of_round:
            return
        torch.manual_seed(self.seed)
        model = self.problem.network(self.entrants[key].layout, self.config.sizes)
        train(
            model,
            self.problem,
            self.config.training,
            seed=self.seed,
            name=f"race-{self.seed}",
            on_progress=self.on_progress,
            checkpoint=sibling_checkpoint(checkpoint, key),
            until=until,
        )
        of_round[key] = {
            "scores": self.problem.fold_scores(model, FOLDS).tolist(),
            "loss": _constant_share(model.eval(), self.problem.validation),
        }
        if ranks().is_first:
            write_json(_results_file(checkpoint), self.results, allow_nan=True)

    def _scores(self, until: float) -> dict[str, Floats]:
        """The scores `[1 + F, T]` of all entrants of a round, in the order of the entrants."""
        of_round = self.results[str(until)]
        return {key: np.array(of_round[key]["scores"]) for key in self.entrants if key in of_round}

    def _newest(self, key: str) -> tuple[float, dict[str, Any]]:
        """The last round of an entrant, and its result."""
        return next(
            (until, self.results[str(until)][key])
            for until in reversed(self.rounds)
            if key in self.results.get(str(until), {})
        )

    def _by_round(self, key: str) -> dict[str, float]:
        """The scores of an entrant after each round that it was in."""
        of_entrant = {until: of[key] for until, of in self.results.items() if key in of}
        return {until: self._mean(result) for until, result in of_entrant.items()}

    def _ranked(self, until: float) -> list[str]:
        """The entrants of a round, the best first."""
        return ranked(self._scores(until), self.weights)

    def _mean(self, result: dict[str, Any]) -> float:
        """The score of an entrant, of its result in a round."""
        return float(mean_over_tasks(np.array(result["scores"]), self.weights)[0])

    def _winner(self, checkpoint: Path) -> str:
        """The best entrant that no task vetoes, or else the network that shares nothing."""
        apart = next((key for key, e in self.entrants.items() if e.name == NOTHING_SHARED), None)
        order = self._ranked(ROUNDS[-1])
        if apart is None:
            return order[0]
        tasks = list(self.problem.score_weights)
        reference = np.array(self._newest(apart)[1]["scores"])
        for key in order:
            is_hurt = hurt_tasks(self._scores(ROUNDS[-1])[key], reference, self.weights)
            if key == apart or not is_hurt.any():
                return key
            names = [name for name, hurt in zip(tasks, is_hurt, strict=True) if hurt]
            self.hurt[key] = f"surely behind the network that shares nothing on {', '.join(names)}"
        self._train(apart, ROUNDS[-1], checkpoint)
        return apart

    def _table(self, winner: str) -> list[EntrantRecord]:
        """The records of all entrants: of those that were trained longest first, then the best."""
        rows = []
        for key, entrant in self.entrants.items():
            until, result = self._newest(key)
            standing = "dropped" if until < ROUNDS[-1] else "beaten"
            standing = "vetoed" if key in self.hurt else standing
            scores = np.array(result["scores"])
            cost = network_cost(self.problem, entrant.layout, self.config.sizes)
            row = EntrantRecord(
                name=entrant.name,
                standing="won" if key == winner else standing,
                experts=entrant.experts,
                trained=until,
                score=self._mean(result),
                by_round=self._by_round(key),
                tasks=dict(zip(self.problem.score_weights, scores[0].tolist(), strict=True)),
                loss=result["loss"],
                parameters=cost.parameters,
                multiply_adds=float(cost.multiply_adds),
            )
            if key in self.hurt:
                row["why"] = self.hurt[key]
            rows.append(row)
        return sorted(
            rows, key=lambda row: (row["standing"] != "won", -row["trained"], -row["score"])
        )


def rounds_of(training: Training, rows: int) -> list[float]:
    """Shares of the steps of a training on so many rows after which trainings are compared.

    >>> rounds_of(Training(epochs=1), 100_000), rounds_of(Training(), 1_000_000)
    ([1.0], [0.25, 0.5, 1.0])
    """
    steps = training.steps_a_pass(rows) * training.passes(rows)
    return [share for share in ROUNDS if share * steps >= FEWEST_STEPS or share == ROUNDS[-1]]


def race_files(checkpoint: Path | None) -> list[Path]:
    """What a race keeps beside a checkpoint, as far as it exists."""
    if checkpoint is None:
        return []
    states = checkpoint.parent.glob(f"{checkpoint.stem}.*-*{checkpoint.suffix}")
    results = _results_file(checkpoint)
    return [*sorted(states), *([results] if results.is_file() else [])]


def _results_file(checkpoint: Path) -> Path:
    return checkpoint.with_suffix(".race.json")


def _results(checkpoint: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """What a race that was stopped has noted; nothing before its first training."""
    file = _results_file(checkpoint)
    if not file.is_file():
        return {}
    results: dict[str, dict[str, dict[str, Any]]] = read_json(
        file, remedy="delete it, so that the race starts again"
    )
    return results


@contextmanager
def _folder_of(checkpoint: Path | None) -> Iterator[Path]:
    """The checkpoint, or one in a temporary folder: entrants pause and go on in any case."""
    if checkpoint is not None:
        yield checkpoint
        return
    with TemporaryDirectory(prefix="recmtl-race-") as folder:
        yield Path(ranks().first(lambda: folder)) / "race.safetensors"


@torch.no_grad()
def _constant_share(model: Network, split: Rows) -> float:
    """Mean over the tasks of the loss on a split, as a share of the best constant prediction's."""

    def losses_of(batch: Batch) -> tuple[Tensor, float]:
        losses = model.heads.losses(model(*batch.inputs), batch.labels, batch.weight)
        return losses.cpu(), total_weight(batch)

    batches = split.batches(batch_size=split.largest_batch, seed=None)
    by_batch = ranks().map(losses_of, batches)
    return float((mean_by_weight(by_batch) * model.heads.loss_scale(1.0).cpu()).mean())
