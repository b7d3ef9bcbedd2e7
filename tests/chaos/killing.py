"""Scoring jobs in processes of their own, which are killed, and what must hold afterwards."""

import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.unit.serve.shop import make_bundle, make_log

BAD_ROWS = (5, 333, 334, 900, 1199)
STEPS = ("replace", "fsync", "mkdir")
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["recmtl.serve.batch.parquet", "tests.chaos.killing"])


@dataclass(frozen=True)
class Site:
    """A bundle, an input, and what an undisturbed job makes of it."""

    folder: Path
    rows: int
    part_rows: int
    quarantine: bool

    @property
    def whole(self) -> Path:
        """The output of the undisturbed job."""
        return self.folder / "whole"


def make_site(folder: Path, *, rows: int = 1200, part_rows: int = 40, quarantine: bool) -> Site:
    """Write a bundle and an input with uneven row groups; score it once."""
    folder.mkdir(parents=True)
    make_bundle(folder / "bundle")
    log = make_log(rows, seed=31).append_column("row", pa.array(np.arange(rows)))
    if quarantine:
        price = log["price"].to_numpy(zero_copy_only=False).copy()
        price[list(BAD_ROWS)] = np.inf
        price = pa.array(price, from_pandas=True)
        log = log.set_column(log.column_names.index("price"), "price", price)
    (folder / "log").mkdir()
    pq.write_table(log.slice(0, 500), folder / "log" / "a.parquet", row_group_size=97)
    pq.write_table(log.slice(500), folder / "log" / "b.parquet", row_group_size=211)
    site = Site(folder, rows, part_rows, quarantine)
    assert finish(site, site.whole, resume=False) == 0
    scored = pa.concat_tables([pq.read_table(part) for part in parts(site.whole)])
    left_out = set(BAD_ROWS) if quarantine else set()
    assert scored["row"].to_pylist() == sorted(set(range(rows)) - left_out)
    return site


def start(
    site: Site, out: Path, *, resume: bool, die_at: tuple[int, bool] | None = None
) -> BaseProcess:
    """Start a job; `die_at` kills it before or after its n-th step on the disk."""
    quarantine = out.with_name(out.name + "-aside") if site.quarantine else None
    process = PROCESSES.Process(
        target=_job, args=(site, out, quarantine, resume, die_at), daemon=True
    )
    process.start()
    return process


def finish(site: Site, out: Path, *, resume: bool = True) -> int:
    """Run a job to its end; its exit status."""
    process = start(site, out, resume=resume)
    process.join(120)
    assert process.exitcode is not None
    return process.exitcode


def _job(
    site: Site, out: Path, quarantine: Path | None, resume: bool, die_at: tuple[int, bool] | None
) -> None:
    from recmtl.errors import DataError
    from recmtl.serve import Scorer, score_parquet

    if die_at is not None:
        _die(*die_at)
    options: dict[str, Any] = {"keep": ["row"], "part_rows": site.part_rows, "resume": resume}
    scorer = Scorer.load(site.folder / "bundle", threads=1)
    try:
        score_parquet(scorer, site.folder / "log", out, quarantine=quarantine, **options)
    except DataError as error:
        sys.exit(3 if "another job writes there" in str(error) else 2)


def _die(at: int, after: bool) -> None:
    """Kill this process at its n-th call of a function that changes the disk."""
    calls = iter(range(10**9))

    def deadly(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            fatal = next(calls) == at
            if fatal and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            result = function(*arguments, **options)
            if fatal:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call

    for name in STEPS:
        setattr(os, name, deadly(getattr(os, name)))
    # In the middle of a part, whose file is then no Parquet file yet.
    pq.ParquetWriter.write_table = deadly(pq.ParquetWriter.write_table)


def parts(folder: Path) -> list[Path]:
    """The finished parts."""
    return sorted(folder.glob("part-*.parquet"))


def assert_consistent(out: Path) -> None:
    """What a reader may rely on after any kill: every part is whole, every listed one is there."""
    for part in parts(out):
        pq.read_table(part)
    if (out / "_manifest.json").exists():
        listed = json.loads((out / "_manifest.json").read_text())["finished"]
        assert {name: (out / name).stat().st_size for name in listed} == listed


def assert_as_undisturbed(site: Site, out: Path) -> None:
    """The same files with the same bytes, and nothing left behind."""
    for folder, whole in _folders(site, out):
        files, expected = (
            {path.name: path for path in where.iterdir()} for where in (folder, whole)
        )
        assert files.keys() == expected.keys()
        for name, path in files.items():
            if name != "quarantine.json":  # it names the output folder
                assert path.read_bytes() == expected[name].read_bytes() or name == "_manifest.json"
        assert _listed(folder) == _listed(whole)


def _folders(site: Site, out: Path) -> list[tuple[Path, Path]]:
    pairs = [(out, site.whole)]
    if site.quarantine:
        pairs += [tuple(where.with_name(where.name + "-aside") for where in (out, site.whole))]
    return pairs


def _listed(folder: Path) -> dict[str, Any]:
    name = "quarantine.json" if folder.name.endswith("-aside") else "_manifest.json"
    listed = json.loads((folder / name).read_text())
    listed.pop("output", None)
    listed.get("job", {}).pop("quarantine", None)
    return listed
