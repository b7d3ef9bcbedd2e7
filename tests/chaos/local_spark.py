"""A Spark of two cores on loopback, for tests."""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@contextmanager
def local_spark(master: str = "local[2]") -> Iterator[Any]:
    """The session; skips where pyspark or Java is not installed."""
    sql = pytest.importorskip("pyspark.sql")
    if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
        pytest.skip("Spark needs Java: install a JDK 17, or set JAVA_HOME")
    # Workers import recmtl from this checkout.
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    settings = {"PYSPARK_PYTHON": sys.executable, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"SPARK_LOCAL_IP": "127.0.0.1", **settings}.items():
            patch.setenv(name, value)
        builder = sql.SparkSession.builder.master(master).config("spark.ui.enabled", "false")
        session = builder.config("spark.log.level", "OFF").getOrCreate()
        try:
            yield session
        finally:
            session.stop()
