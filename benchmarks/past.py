"""What do statistics of the past cost? `python -m benchmarks.past`, with polars and duckdb.

One job, four programs: read a log of users, times and three labels, and give every row two counts
and six smoothed rates of its user, of all earlier days and of the last seven. All of them count by
(user, day), add up over the days and look up as of the day before; their numbers must agree. One
thread each, in turns, CPU seconds of the process, reading included. `--page` only rewrites the
page.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.pages import paragraph
from recmtl.data.counted_log import CountedLog
from recmtl.data.reader import open_log
from recmtl.data.split import plan_split
from recmtl.data.statistics.past import count_past
from recmtl.schema import parse_schema

OUT = Path(__file__).parents[1] / "docs" / "benchmarks" / "past.json"
ROWS, USERS, DAYS, REPEATS = 2_000_000, 200_000, 30, 3
LABELS, SMOOTHING, WEEK = ("a", "b", "c"), 20.0, 7
DAY_NS = 86_400 * 10**9
Numbers = dict[str, npt.NDArray[np.float64]]
SCHEMA = """
version: 1
name: past
features: {price: {kind: numeric}}
tasks: {a: {kind: binary, label: a}, b: {kind: binary, label: b}, c: {kind: binary, label: c}}
roles: {time: t}
split: {by: time, validation_from: 2024-05-28, test_from: 2024-05-29}
statistics: [{name: u, key: user, of: [a, b, c], windows: [all, 7d]}]
"""


def write_log(path: Path, *, ordered: bool) -> None:
    """A log whose users follow a power law, in order of time or shuffled."""
    dice = np.random.default_rng(0)
    seconds = np.sort(dice.integers(0, DAYS * 86_400, ROWS)) + 1_714_521_600
    columns = {"t": pa.array(seconds, pa.timestamp("s")), "user": dice.zipf(1.3, ROWS) % USERS}
    table = pa.table(columns | {name: dice.integers(0, 2, ROWS) for name in LABELS})
    table = table.append_column("price", pa.array(dice.random(ROWS)))
    if not ordered:
        table = table.take(pa.array(dice.permutation(ROWS)))
    pq.write_table(table, path, row_group_size=500_000)


def recmtl_numbers(path: Path) -> Numbers:
    """By one pass that counts and one that looks up."""
    schema = parse_schema(SCHEMA, source="past.yaml")
    log = CountedLog(open_log(str(path)), None)
    assign = plan_split(schema, log)
    past = count_past(log, schema, assign, earlier=None)
    batches = log.batches(["user", "t"])
    rows = [past.with_numbers(batch, assign(batch)).columns for batch in batches]
    table = pa.Table.from_batches(rows)
    return {name.removeprefix("u."): table[name].to_numpy() for name in past.numbers}


def pandas_numbers(path: Path) -> Numbers:
    """By groupby, cumsum and merge_asof."""
    log = pd.read_parquet(path, columns=["user", "t", *LABELS])
    log["day"] = log["t"].astype("datetime64[ns]").astype(np.int64) // DAY_NS
    log["row"], log["rows"] = np.arange(len(log)), 1
    sums = ["rows", *LABELS]
    by_day = log.groupby("day", as_index=False)[sums].sum().assign(user=0)
    cells = log.groupby(["user", "day"], as_index=False)[sums].sum()
    cells[sums] = cells.groupby("user")[sums].cumsum()
    by_day[sums] = by_day[sums].cumsum()
    log, cells = log[["user", "day", "row"]].sort_values("day"), cells.sort_values("day")

    def before(right: Any, left: Any, back: int) -> Any:
        left = left.assign(day=left["day"] - back)
        options = {"on": "day", "by": "user", "allow_exact_matches": False}
        return pd.merge_asof(left, right, **options)[sums].fillna(0).to_numpy()

    of_user = [before(cells, log, back) for back in (0, WEEK)]
    of_all = [before(by_day, log.assign(user=0), back) for back in (0, WEEK)]
    order = np.argsort(log["row"].to_numpy())
    return _rates(*([sums[order] for sums in both] for both in (of_user, of_all)))


def polars_numbers(path: Path) -> Numbers:
    """By group_by, cum_sum and join_asof."""
    import polars as pl  # not a dependency

    sums = ["rows", *LABELS]
    log = pl.read_parquet(path, columns=["user", "t", *LABELS]).with_columns(
        day=pl.col("t").dt.epoch("s") // 86_400, rows=pl.lit(1, pl.Int64)
    )
    cells = log.group_by("user", "day").agg(pl.col(sums).sum()).sort("day")
    by_day = log.group_by("day").agg(pl.col(sums).sum()).sort("day")
    cells = cells.with_columns(pl.col(sums).cum_sum().over("user"))
    by_day = by_day.with_columns(pl.col(sums).cum_sum())
    log = log.select("user", "day").with_row_index("row").sort("day")

    def before(right: Any, back: int, by: str | None) -> Any:
        left = log.with_columns(day=pl.col("day") - back).set_sorted("day")
        joined = left.join_asof(
            right, on="day", by=by, allow_exact_matches=False, check_sortedness=False
        )
        return joined.select(pl.col(sums).fill_null(0)).to_numpy().astype(np.float64)

    of_user = [before(cells, back, "user") for back in (0, WEEK)]
    of_all = [before(by_day, back, None) for back in (0, WEEK)]
    order = np.argsort(log["row"].to_numpy())
    return _rates(*([sums[order] for sums in both] for both in (of_user, of_all)))


def duckdb_numbers(path: Path) -> Numbers:
    """By GROUP BY, window sums and ASOF joins."""
    import duckdb  # not a dependency

    sums = ["rows", *LABELS]
    labels = ", ".join(f"sum({name})::DOUBLE AS {name}" for name in LABELS)
    running = ", ".join(f"sum({name}) OVER w AS {name}" for name in sums)
    picked = ", ".join(f"coalesce({t}.{name}, 0) AS {t}_{name}" for t in "pqrs" for name in sums)
    query = f"""
    WITH log AS (SELECT "user", epoch(t)::BIGINT // 86400 AS day, {", ".join(LABELS)},
                        row_number() OVER () AS row FROM read_parquet('{path}')),
    cells AS (SELECT "user", day, count(*)::DOUBLE AS rows, {labels} FROM log GROUP BY ALL),
    days AS (SELECT day, sum(rows) AS rows, {labels} FROM cells GROUP BY day),
    of_user AS (SELECT "user", day, {running} FROM cells
                WINDOW w AS (PARTITION BY "user" ORDER BY day)),
    of_all AS (SELECT day, {running} FROM days WINDOW w AS (ORDER BY day))
    SELECT {picked} FROM log
    ASOF LEFT JOIN of_user p ON log."user" = p."user" AND log.day > p.day
    ASOF LEFT JOIN of_user q ON log."user" = q."user" AND log.day - {WEEK} > q.day
    ASOF LEFT JOIN of_all r ON log.day > r.day
    ASOF LEFT JOIN of_all s ON log.day - {WEEK} > s.day
    ORDER BY row
    """
    columns = duckdb.connect(config={"threads": 1}).execute(query).fetchnumpy()
    tables = [np.stack([columns[f"{t}_{name}"] for name in sums], 1) for t in "pqrs"]
    return _rates(tables[:2], tables[2:])


def _rates(of_user: list[npt.NDArray[Any]], of_all: list[npt.NDArray[Any]]) -> Numbers:
    """From sums [rows, 4] before today, and before today less seven days, the eight numbers."""
    numbers: Numbers = {}
    for window in ("all", "7d"):
        seen, common = of_user[0], of_all[0]
        if window == "7d":
            seen, common = seen - of_user[1], common - of_all[1]
        with np.errstate(invalid="ignore"):
            for i, name in enumerate(LABELS, start=1):
                added = SMOOTHING * (common[:, i] / common[:, 0])
                numbers[f"{name}.rate.{window}"] = (seen[:, i] + added) / (seen[:, 0] + SMOOTHING)
        numbers[f"count.{window}"] = seen[:, 0]
    return numbers


ARMS: dict[str, Callable[[Path], Numbers]] = {
    "recmtl": recmtl_numbers,
    "polars": polars_numbers,
    "DuckDB": duckdb_numbers,
    "pandas": pandas_numbers,
}


def measured(path: Path) -> dict[str, list[float]]:
    """CPU seconds of every arm and repeat; raises `ValueError` if their numbers differ."""
    taken: dict[str, list[float]] = {arm: [] for arm in ARMS}
    for _ in range(REPEATS):
        expected: Numbers = {}
        for arm, compute in ARMS.items():
            started = time.process_time()
            numbers = compute(path)
            taken[arm].append(time.process_time() - started)
            expected = expected or numbers
            for name, values in expected.items():
                if not np.allclose(values, numbers[name], rtol=1e-12, equal_nan=True):
                    raise ValueError(f"{arm} has another {name} than recmtl")
    return taken


def page(figures: dict[str, Any]) -> str:
    """The figures as a page of Markdown."""
    intro = paragraph(
        f"`python -m benchmarks.past`: a log of {figures['rows']:,} rows, {figures['keys']:,}",
        f"users and {DAYS} days, three labels. Every row gets two counts and six smoothed rates of",
        "its user, of all earlier days and of the last seven; the numbers of all programs agree.",
        f"One thread, reading from Parquet included, CPU seconds, medians of {REPEATS} repeats in",
        "turns. recmtl streams the log twice at flat memory, the others hold it; all are written",
        "plainly.",
    )
    table = ["| | in order of time | shuffled | rows a CPU second, in order |", "|---|---|---|---|"]
    for arm in figures["ordered"]:
        middle = [statistics.median(figures[order][arm]) for order in ("ordered", "shuffled")]
        speed = figures["rows"] / middle[0] / 1e6
        table.append(f"| {arm} | {middle[0]:.1f} s | {middle[1]:.1f} s | {speed:.2f} M |")
    return "\n".join(["# What statistics of the past cost", "", *intro, *table, ""])


def main() -> None:
    """Measure, print the page, and write `docs/benchmarks/past.{json,md}`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.past", description=__doc__)
    parser.add_argument("--page", action="store_true", help="only rewrite the page")
    if not parser.parse_args().page:
        os.environ["POLARS_MAX_THREADS"] = "1"
        pa.set_cpu_count(1)
        pa.set_io_thread_count(1)
        figures: dict[str, Any] = {"rows": ROWS}
        with tempfile.TemporaryDirectory() as folder:
            for order in ("ordered", "shuffled"):
                path = Path(folder) / f"{order}.parquet"
                write_log(path, ordered=order == "ordered")
                figures["keys"] = len(pq.read_table(path, columns=["user"])["user"].unique())
                figures[order] = measured(path)
        OUT.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    text = page(json.loads(OUT.read_text(encoding="utf-8")))
    OUT.with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
