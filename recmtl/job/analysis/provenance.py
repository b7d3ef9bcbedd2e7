"""Where the figures of a run come from: what was run, on what, when and with which settings."""

import os
import platform
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version

from recmtl.data.encoded_log import EncodedLog
from recmtl.job.handed_on import JobContext, TrainedModels
from recmtl.job.outcome import Models
from recmtl.masking import masked
from recmtl.tracking import git_commit

__all__ = ["provenance", "summary_line"]


def provenance(job: JobContext, trained: TrainedModels) -> dict[str, str]:
    """The facts, by what a reader calls them; secrets of URLs are masked."""
    log, config = trained.prepared.log, trained.study.config
    data = log.manifest.get("data", {})
    files, sizes = data.get("files", ()), data.get("sizes", ())
    held = f"{len(files)} file{'' if len(files) == 1 else 's'}, {sum(sizes):,} bytes"
    facts = {
        "written": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "recmtl": version("recmtl"),
        "commit of the working folder": git_commit() or "none: not in a repository",
        "data": f"{job.data} ({held})" if files else job.data,
        "fingerprint of data and schema": log.fingerprint,
        "schema": f"{log.schema.name}, from {job.schema}",
        "seeds": ", ".join(_seeds(trained.models)),
        "training": _trainings(trained.models),
        "sources that the networks hear": ", ".join(trained.study.hears),
        "chosen network": f"searched, seed {trained.chosen.seed}, by its validation score",
        "settings of the verdict": (
            f"{config.evidence.bootstrap} draws of the test rows, "
            f"false discovery {config.evidence.false_discovery:g}"
        ),
        "machine": f"{os.cpu_count()} cores, Python {platform.python_version()}, "
        f"torch {version('torch')}, LightGBM {version('lightgbm')}",
    }
    shown: dict[str, str] = masked(facts)
    return shown


def summary_line(log: EncodedLog) -> str:
    """Name, rows and date, as they stand below the title."""
    rows = sum(log.manifest["rows"].values())
    return (
        f"{log.schema.name}: {rows:,} rows, {len(log.schema.tasks)} tasks. "
        f"{datetime.now(UTC):%d %B %Y}, recmtl {version('recmtl')}."
    )


def _seeds(models: Models) -> Iterator[str]:
    """The seeds of the models, told once where several have the same."""
    by_seeds: dict[tuple[int, ...], list[str]] = {}
    for name, seeds in models.items():
        by_seeds.setdefault(tuple(seeds), []).append(name.replace("_", " "))
    for numbers, names in by_seeds.items():
        yield f"{' '.join(map(str, numbers))} of {', '.join(names)}"


def _trainings(models: Models) -> str:
    results = [result for seeds in models.values() for result in seeds.values()]
    clocks = [sum(r.cost.get(name) or 0.0 for r in results) for name in ("cpu_s", "train_s")]
    return (
        f"{len(results)} models, {clocks[0]:,.0f} CPU seconds ({clocks[1]:,.0f} s by the clock), "
        "searches and scoring not counted"
    )
