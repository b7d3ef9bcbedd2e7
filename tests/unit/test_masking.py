"""What is secret in a URL is nowhere to be read: printed, stored, tracked or in an error."""

import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recmtl.command.main import main
from recmtl.data.describe import describe
from recmtl.errors import ConfigError, DataError
from recmtl.job.open_job import _JobInput
from recmtl.masking import is_masked, mask, masked, one_line
from recmtl.serve import Scorer
from recmtl.serve.batch.parquet import score_parquet
from recmtl.simulate import simulate
from tests.unit.serve.shop import make_bundle, make_log

SCHEMA = Path(__file__).resolve().parents[2] / "datasets" / "simulated" / "schema.yaml"
SECRET = "hunter2"
TEXT = st.text("abcXYZ019+-_.%~", min_size=1, max_size=12)
SCHEMES = ("s3", "gs", "http", "https", "postgresql+psycopg2", "mysql", "hdfs", "ftp", "abfss")


@given(
    scheme=st.sampled_from(SCHEMES),
    user=TEXT,
    secret=st.text("abcXYZ019+-_.%~/@:=&?", max_size=8).map(lambda text: f"q{SECRET}{text}z"),
    host=st.sampled_from(["bucket", "h.example.org:8080", "127.0.0.1"]),
    path=st.sampled_from(["/log", "/a/part-*.parquet", "/dt=2024-05-01/x.parquet"]),
    before=st.sampled_from(["", "simplecache::", "cannot open '", "see ", "(", '"', "\n"]),
)
def test_a_password_is_masked_whatever_it_is_made_of(
    scheme: str, user: str, secret: str, host: str, path: str, before: str
) -> None:
    text = mask(f"{before}{scheme}://{user}:{secret}@{host}{path} is gone")
    assert text == f"{before}{scheme}://***@{host}{path} is gone"


@given(names=st.lists(st.text("abcXYZ-_.019", min_size=1, max_size=9), min_size=1, max_size=4))
def test_every_value_of_a_query_is_masked_whatever_its_name(names: list[str]) -> None:
    query = "&".join(f"{name}={SECRET}{number}" for number, name in enumerate(names))
    for mark in "?#":
        text = mask(f"https://host:8080/log.parquet{mark}{query}, row group 3")
        assert SECRET not in text and text.endswith("=***, row group 3")
        assert all(f"{name}=***" in text for name in names)


@pytest.mark.parametrize(
    "text",
    [
        "runs/mine/log.parquet",
        "part-?.parquet",
        "s3://bucket/dt=2024-05-01/part-*.parquet",
        "http://host:8080/mail@example.org",
        "hdfs://name:9000/log",
        "abfss://container@account.dfs.core.windows.net/log",
        "sqlite:////data/mlflow.db",
        "postgresql://host:5432/mlflow",
        "file:///data/a=b",
        "column 'price': holds text; declare kind: categorical",
        "click = 1 & buy = 2, at 12:30 by me@example.org",
    ],
)
def test_what_is_no_secret_is_left_alone(text: str) -> None:
    assert mask(text) == text and not is_masked(text)


@given(st.text())
def test_masking_twice_is_masking_once(text: str) -> None:
    assert mask(mask(text)) == mask(text)


def test_json_is_masked_through_and_through() -> None:
    url = f"s3://me:{SECRET}@bucket"
    content = {"a": [url, {"b": (url, 1, None, True)}], url: 2.5}
    assert SECRET not in repr(masked(content))
    assert masked({"a": (1, "x")}) == {"a": [1, "x"]}


def test_parts_that_a_driver_shows_without_the_scheme_are_masked() -> None:
    for text in (f'Invalid bucket name "me:{SECRET}@bucket"', f"s3:/me:{SECRET}@bucket/log"):
        assert SECRET not in mask(text) and "bucket" in mask(text)


@given(st.text())
def test_one_line_is_one_line_of_as_many_letters(text: str) -> None:
    line = one_line(text)
    assert len(line) == len(text) and len(line.splitlines()) <= 1 and line.isprintable()


def test_errors_mask_their_message() -> None:
    error = DataError(f"https://me:{SECRET}@host/log?sig={SECRET}: cannot be read")
    assert str(error) == "https://***@host/log?sig=***: cannot be read"
    assert SECRET not in repr(error)


def test_a_traceback_of_a_script_masks_what_it_shows() -> None:
    code = (
        "from recmtl.interrupts import answer_signals\nanswer_signals()\n"
        f"raise ZeroDivisionError('https://me:{SECRET}@host?sig={SECRET}')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    shown = done.stderr.splitlines()[-1]
    assert shown == "ZeroDivisionError: https://***@host?sig=***" and done.returncode == 1


class Guarded(http.server.BaseHTTPRequestHandler):
    """Serves the files of a folder, in ranges, to those who give the token."""

    folder: Path

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        name, _, query = self.path.partition("?")
        file = self.folder / name.lstrip("/")
        if SECRET not in query or not file.is_file():
            self.send_error(404)
            return
        data, window = file.read_bytes(), self.headers.get("Range")
        first, last = 0, len(data) - 1
        if window:
            first, last = (int(end) for end in window.removeprefix("bytes=").split("-"))
            last = min(last, len(data) - 1)
        self.send_response(206 if window else 200)
        self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        self.send_header("Content-Length", str(last + 1 - first))
        self.send_header("Accept-Ranges", "bytes")
        self.end_headers()
        if body:
            self.wfile.write(data[first : last + 1])

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where `log.parquet` and `rows.parquet` are served; the query is still to be added."""
    pytest.importorskip("aiohttp", reason="fsspec reads http with it")
    folder = tmp_path_factory.mktemp("served")
    simulate(folder / "log.parquet", 2000, users=60, items=40)
    pq.write_table(make_log(50, seed=2), folder / "rows.parquet")
    handler = type("Handler", (Guarded,), {"folder": folder})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def leaks(folder: Path) -> list[str]:
    return [
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if SECRET in path.name or (path.is_file() and SECRET.encode() in path.read_bytes())
    ]


def test_a_job_on_a_url_with_a_token_leaves_no_trace_of_it(
    address: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:{SECRET}@127.0.0.1:9")
    monkeypatch.chdir(tmp_path)
    url = f"{address}/log.parquet?token={SECRET}&sig={SECRET}"
    given_data = ["--data", url, "--schema", str(SCHEMA)]
    assert main(["prepare", *given_data, "--out", "out"]) == 0
    assert "warning: tracking: http://***@127.0.0.1:9" in capfd.readouterr().err
    assert leaks(tmp_path) == []
    assert main(["prepare", "--out", "out"]) == 2
    assert "give data and schema again" in capfd.readouterr().err
    assert main(["prepare", *given_data, "--out", "out"]) == 0
    wrong = ["--data", url.replace("log.", "no."), *given_data[2:], "--out", "other", "--debug"]
    assert main(["prepare", *wrong]) == 2
    printed = capfd.readouterr()
    assert "error: " in printed.err and SECRET not in printed.out + printed.err
    assert leaks(tmp_path) == []


def test_a_draft_and_a_batch_of_scores_name_no_token(address: str, tmp_path: Path) -> None:
    draft = describe(f"{address}/log.parquet?token={SECRET}")
    assert SECRET not in draft and "name: log\n" in draft
    scorer = Scorer.load(make_bundle(tmp_path / "bundle"))
    summary = score_parquet(scorer, f"{address}/rows.parquet?sig={SECRET}", tmp_path / "scored")
    assert summary.rows == 50
    assert leaks(tmp_path) == []


def test_a_remembered_input_without_its_secret_is_refused(tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text('{"data": "s3://***@bucket/log", "schema": "s.yaml"}')
    with pytest.raises(ConfigError, match="holds no passwords"):
        _JobInput.begun(tmp_path)
