"""The scoring command: what a scheduler types, and what it gets when something is wrong."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recmtl.command.main import main
from recmtl.command.serve import score
from recmtl.serve import Scorer
from tests.unit.serve.shop import make_bundle, make_log

SCRIPT = Path(__file__).parents[2] / "pipelines" / "score.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("score")
    make_bundle(folder / "bundle")
    pq.write_table(make_log(300, seed=3), folder / "log.parquet", row_group_size=100)
    return folder


def run(
    folder: Path, *options: str, limit: int | None = None, source: Path | None = None
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "--bundle", str(folder / "bundle")]
    command += ["--input", str(source or folder / "log.parquet"), *options]

    def limited() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parents[1])}
    return subprocess.run(
        command, capture_output=True, text=True, env=environment, check=False, preexec_fn=limited
    )


def test_scores_equal_those_of_the_scorer_bit_for_bit(folder: Path, tmp_path: Path) -> None:
    done = run(folder, "--output", str(tmp_path / "out"), "--keep", "user_id, request")
    assert done.returncode == 0, done.stderr
    assert "300 rows in 1 parts" in done.stderr
    scored = pq.read_table(tmp_path / "out")
    scorer = Scorer.load(folder / "bundle")
    assert scored.column_names == ["user_id", "request", *scorer.columns]
    expected = scorer.score(pq.read_table(folder / "log.parquet"))
    assert scored.select(list(scorer.columns)).combine_chunks().equals(expected)


def test_rows_computed_at_once_are_the_scorer_s(folder: Path, tmp_path: Path) -> None:
    done = run(folder, "--output", str(tmp_path / "out"), "--chunk-rows", "2048")
    assert done.returncode == 0, done.stderr
    scored = pq.read_table(tmp_path / "out").combine_chunks()
    log = pq.read_table(folder / "log.parquet")
    assert scored.equals(Scorer.load(folder / "bundle", chunk_rows=2048).score(log))
    for name, column in Scorer.load(folder / "bundle").score(log).to_pydict().items():
        np.testing.assert_allclose(scored[name], column, rtol=2e-6)


def test_no_rows_at_once_are_refused(folder: Path, tmp_path: Path) -> None:
    done = run(folder, "--output", str(tmp_path / "out"), "--chunk-rows", "0")
    assert_one_line(done, "chunk_rows")


def assert_one_line(done: subprocess.CompletedProcess[str], text: str) -> None:
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and text in lines[0]
    assert "Traceback" not in done.stderr


def test_wrong_input_gets_one_line_and_exit_code_two(folder: Path, tmp_path: Path) -> None:
    done = run(folder, "--output", str(tmp_path / "out"), "--keep", "requst")
    assert_one_line(done, "column 'requst': is missing; did you mean 'request'")
    assert not (tmp_path / "out").exists()


def test_a_disk_that_refuses_gets_one_line_and_no_half_file(folder: Path, tmp_path: Path) -> None:
    done = run(folder, "--output", str(tmp_path / "out"), limit=2000)
    assert_one_line(done, "cannot write")
    assert not list((tmp_path / "out").glob("*part-*"))


def test_rows_in_quarantine_show_in_the_exit_status(folder: Path, tmp_path: Path) -> None:
    log = pq.read_table(folder / "log.parquet")
    price = log["price"].to_numpy(zero_copy_only=False).copy()
    price[[5, 250]] = np.inf
    log = log.set_column(
        log.column_names.index("price"), "price", pa.array(price, from_pandas=True)
    )
    pq.write_table(log, tmp_path / "bad.parquet")
    options = ["--output", str(tmp_path / "out"), "--quarantine", str(tmp_path / "aside")]
    done = run(folder, *options, "--part-rows", "100", source=tmp_path / "bad.parquet")
    assert done.returncode == 3, done.stderr
    assert "quarantined: 2 rows and 0 whole files, see " in done.stderr
    assert pq.read_table(tmp_path / "out").num_rows == 298
    assert len(list((tmp_path / "out").glob("part-*"))) == 3
    plain = run(folder, "--output", str(tmp_path / "plain"), source=tmp_path / "bad.parquet")
    assert_one_line(plain, "column 'price': 2 values are infinite")


def test_options_that_make_no_sense_get_one_line(folder: Path, tmp_path: Path) -> None:
    done = run(folder, "--output", str(tmp_path / "out"), "--drift", "error")
    assert_one_line(done, "does not say how many ids were unknown in training")


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (["--resume"], "--resume and --quarantine are for --engine local"),
        (["--quarantine", "aside"], "--resume and --quarantine are for --engine local"),
        (["--network", "onnx"], "--network onnx and --chunk-rows are for --engine local"),
        (["--chunk-rows", "512"], "--network onnx and --chunk-rows are for --engine local"),
    ],
)
def test_what_spark_does_not_take_is_refused_before_anything_is_read(
    options: list[str], fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    required = ["--bundle", "absent", "--input", "absent", "--output", "absent"]
    assert main(["score", *required, "--engine", "spark", *options]) == 2
    assert fault in capsys.readouterr().err


def test_help_names_every_option_and_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "0 done, 2 error, 3 done with rows in the quarantine, 130 interrupted" in text
    options = [option for parameter in score.params for option in parameter.opts]
    assert len(options) > 12 and all(option in text for option in options)


def test_a_finished_job_resumed_by_the_command_scores_nothing(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--bundle", str(folder / "bundle"), "--input", str(folder / "log.parquet")]
    options += ["--output", str(tmp_path / "out"), "--part-rows", "70", "--keep", " user_id ,,item"]
    assert main(["score", *options]) == 0
    assert "300 rows in 5 parts, 300 scored now" in " ".join(capsys.readouterr().err.split())
    names = pq.read_schema(tmp_path / "out" / "part-00000.parquet").names
    assert names[:2] == ["user_id", "item"]
    assert main(["score", *options]) == 2
    assert "is not empty" in capsys.readouterr().err
    assert main(["score", *options, "--resume"]) == 0
    assert "300 rows in 5 parts, 0 scored now" in " ".join(capsys.readouterr().err.split())
