"""What the tracking store is told of a study: a run for every finished piece."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from recmtl.job.fit import ModelResult
from recmtl.job.study import Study
from recmtl.job.work_items import WorkItem
from recmtl.tracking import Run, Tracker
from recmtl.train.expert_monitor import health_curves

__all__ = ["Logbook"]


@dataclass(frozen=True)
class Logbook:
    """Tells the tracker of pieces as they are finished; of test rows only if `test` is true."""

    study: Study[Any, Any]
    tracker: Tracker
    test: bool

    def finished(self, piece: WorkItem) -> None:
        """Log what a piece has left in the study's folder."""
        with self.tracker.run(str(piece)) as run:
            run.log_params({"seed": piece.seed, "config": asdict(self.study.config)})
            if piece.search:
                self._found(run, piece)
            else:
                self._trained(run, self.study.trained(piece.name, piece.seed))

    def _found(self, run: Run, piece: WorkItem) -> None:
        record = self.study.record(piece.name, piece.seed)
        for step, check in enumerate(record.get("history", ())):
            run.log_metrics({n: v for n, v in check.items() if isinstance(v, float)}, step=step)
        what = "routes" if "routes" in record else "tree"
        run.log_json(record[what], f"{what}.json")

    def _trained(self, run: Run, trained: ModelResult) -> None:
        for network, checks in trained.curves.items():
            for check in checks:
                values = {f"{network}.{name}": check[name] for name in ("score", "loss")}
                run.log_metrics(values, step=round(1000 * check["epoch"]))
        for epoch, numbers in health_curves(trained.health):
            run.log_metrics(numbers, step=round(1000 * epoch))
        if trained.health:
            told = "\n".join(trained.health["warnings"]) or "none"
            run.log_text(told, "expert_warnings.txt")
        run.log_metrics({k: v for k, v in trained.cost.items() if v is not None})
        run.log_metrics(_flat("validation", trained.validation))
        if self.test:
            found = trained.test or self.study.problem.judged(trained.predictions)
            run.log_metrics(_flat("test", found))


def _flat(part: str, metrics: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    return {
        f"{part}.{task}.{metric}": value
        for task, values in metrics.items()
        for metric, value in values.items()
        if np.isfinite(value)
    }
