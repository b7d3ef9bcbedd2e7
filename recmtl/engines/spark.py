"""Spark: a session, passes over rows in its Python workers, and its errors in one line.

pyspark is optional (`pip install 'recmtl[spark]'`); recmtl must be installed on the workers. It is
heavy and may be absent, so functions import it when they need it.
"""

import importlib.util
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from recmtl import errors
from recmtl.engines.folds import FoldT, HasRows, RowEngine, merged, runs
from recmtl.errors import ConfigError, DataError, RecmtlError

if TYPE_CHECKING:
    from pyspark import RDD
    from pyspark.sql import SparkSession

__all__ = ["SparkEngine", "one_line_errors", "row_engine", "spark_session"]

RECMTL_ERROR = re.compile(r"recmtl\.errors\.(\w+): (.*)")
PIECE_ROWS = 4_000_000
"""Most rows of a piece, unless a row group has more: what a worker loses if it is killed."""
PIECES_A_CORE = 3
"""Least pieces for each core, so that cores end together."""
MERGED_AT_ONCE = 16
"""Results that one process merges: of more, neighbours are merged on the workers first."""


class SparkEngine:
    """Runs passes over the rows of a log in Spark's Python workers: a `RowEngine`.

    Spark runs a piece again if its worker is lost. Results are merged in the order of the rows,
    neighbours first on the workers, the last few in this process.
    """

    def __init__(self, *, master: str = "", pieces: int | None = None) -> None:
        """Take the active session, or begin one.

        Args:
            master: where a session that begins here runs (`local[4]`, `spark://host:7077`, `yarn`);
                empty for what the environment says.
            pieces: of a pass, at most one a row group; None for three a core, and at most four
                million rows each.

        Raises:
            ConfigError: pyspark is not installed, or an active session runs elsewhere.
        """
        self._session = spark_session(master)
        self._pieces = pieces

    def fold(self, work: Callable[[Sequence[Any]], FoldT], units: Sequence[HasRows]) -> FoldT:
        """See `RowEngine.fold`.

        Raises:
            RecmtlError: what `work` raised, or `DataError` where Spark failed.
        """
        rows = [unit.rows for unit in units]
        pieces = runs(units, rows, self._pieces or self._usual_pieces(sum(rows)))
        with one_line_errors():
            numbered = self._session.sparkContext.parallelize(list(enumerate(pieces)), len(pieces))
            results: RDD[Any] = numbered.map(lambda piece: (piece[0], work(piece[1])))
            count = len(pieces)
            while count > MERGED_AT_ONCE:
                count = -(-count // MERGED_AT_ONCE)
                results = _neighbours_merged(results, count)
            whole: FoldT = _in_order(results.collect())
            return whole

    def _usual_pieces(self, rows: int) -> int:
        cores = int(self._session.sparkContext.defaultParallelism)
        return max(PIECES_A_CORE * cores, -(-rows // PIECE_ROWS))


def row_engine(engine: str, *, master: str = "", pieces: int = 0) -> RowEngine | None:
    """The engine of this name, `local` or `spark`; None is this process.

    Args:
        engine: its name.
        master: see `SparkEngine`.
        pieces: see there; 0 for the usual number.

    Raises:
        ConfigError: an option of Spark is given for another engine, or pyspark is not installed.
    """
    if engine == "spark":
        return SparkEngine(master=master, pieces=pieces or None)
    if master or pieces:
        raise ConfigError("--master and --pieces are for --engine spark; leave them out")
    return None


def _neighbours_merged(results: "RDD[Any]", count: int) -> "RDD[Any]":
    """Numbered results, each merged with its neighbours: so many are left."""
    of_neighbours = results.map(lambda result: (result[0] // MERGED_AT_ONCE, result))
    return of_neighbours.groupByKey(count).mapValues(_in_order)


def _in_order(numbered: Any) -> Any:
    """The results that come with these numbers, merged."""
    return merged(result for _, result in sorted(numbered, key=lambda pair: pair[0]))


def spark_session(master: str = "") -> "SparkSession":
    """The active session, or a new one.

    Args:
        master: of a new session; empty for what the environment says.

    Raises:
        ConfigError: pyspark is not installed, or the active session has another master.
    """
    if importlib.util.find_spec("pyspark") is None:
        raise ConfigError("pyspark is not installed: pip install 'recmtl[spark]'")
    from pyspark.sql import SparkSession  # an extra

    active = SparkSession.getActiveSession()
    if active is not None:
        running = active.sparkContext.master
        if master and master != running:
            raise ConfigError(f"master is {master!r}, and a Spark session runs on {running!r}")
        return active
    # The workers of a session that begins here need the packages of this Python.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.appName("recmtl")
    # Progress is ours to show.
    builder = builder.config("spark.ui.showConsoleProgress", "false")
    return (builder.master(master) if master else builder).getOrCreate()


@contextmanager
def one_line_errors(output: str = "") -> Iterator[None]:
    """Errors of workers and of Spark as one of recmtl's errors, in one line.

    Args:
        output: the folder that Spark writes, if it does.
    """
    try:
        yield
    except RecmtlError:
        raise
    except Exception as error:
        of_worker = RECMTL_ERROR.search(str(error))
        if of_worker and hasattr(errors, of_worker[1]):
            raise getattr(errors, of_worker[1])(of_worker[2]) from None
        if not type(error).__module__.startswith(("pyspark", "py4j")):
            raise
        # py4j's own text only says that a Java call failed.
        text = str(getattr(error, "java_exception", error))
        first = (text.splitlines() or [type(error).__name__])[0]
        if "PATH_ALREADY_EXISTS" in first:
            raise DataError(f"{output}: exists already; choose a new folder") from None
        raise DataError(f"Spark failed: {first}") from error
