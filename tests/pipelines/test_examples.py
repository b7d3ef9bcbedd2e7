"""The scripts of examples/ run as their first lines say, with tiny networks on small logs."""

import contextlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from examples import first_run, own_log, ranking_service
from recmtl import Ranker
from recmtl.schema import load_schema
from recmtl.train.config import Config
from tests.pipelines.conftest import TINY

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@dataclass(frozen=True)
class Finished:
    """An example that has run: its output folder and what it printed."""

    out: Path
    printed: str


@pytest.fixture(scope="module")
def tiny(tracking: str, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options that make an example small; `tracking` keeps its runs out of the user's store."""
    config = tmp_path_factory.mktemp("tiny") / "tiny.yaml"
    config.write_text(TINY)
    return ["--rows", "2500", "--config", str(config)]


@pytest.fixture(scope="module")
def first(tiny: list[str], tmp_path_factory: pytest.TempPathFactory) -> Finished:
    out, printed = tmp_path_factory.mktemp("examples") / "first", io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert first_run.main([str(out), *tiny]) == 0
    return Finished(out, printed.getvalue())


@pytest.fixture(scope="module")
def service(first: Finished) -> Iterator[tuple[Ranker, int]]:
    """A server on loopback that ranks with the bundle of the first run, and its port."""
    ranker = Ranker.load(first.out / "bundle")
    with ranking_service.server(ranking_service.RankingService(ranker), port=0) as http:
        thread = Thread(target=http.serve_forever)
        thread.start()
        yield ranker, http.server_port
        http.shutdown()
        thread.join(timeout=10)


def test_every_example_says_how_to_start_it_and_is_listed_in_the_readme() -> None:
    readme = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    scripts = sorted(EXAMPLES.glob("*.py"))
    assert len(scripts) >= 3
    for script in scripts:
        head = script.read_text(encoding="utf-8").split('"""')[1]
        assert f"python examples/{script.name} runs/" in head
        assert f"({script.name})" in readme


def test_the_small_configuration_is_one_that_a_run_takes() -> None:
    assert Config.load(EXAMPLES / "small.yaml").evidence.seeds == 1


def test_the_first_run_prints_its_verdict_and_where_the_report_is(first: Finished) -> None:
    *_, verdict, places = first.printed.rstrip().split("\n\n")
    tasks = ("click", "purchase", "watch_time", "dislike")
    assert [line.split()[0] for line in verdict.splitlines()[2:]] == list(tasks)
    for line in places.splitlines():
        assert Path(line.split(maxsplit=1)[1]).exists()
    assert (first.out / "report.html").is_file()


def test_a_second_start_prints_the_same_and_trains_nothing(
    first: Finished, tiny: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    models = {path: path.stat().st_mtime_ns for path in first.out.glob("models/**/*.safetensors")}
    assert models and first_run.main([str(first.out), *tiny]) == 0
    assert capsys.readouterr().out == first.printed
    assert models == {path: path.stat().st_mtime_ns for path in models}


def test_an_own_log_is_described_corrected_trained_on_and_scored(
    tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert own_log.main([str(tmp_path), *tiny]) == 0
    printed = capsys.readouterr().out
    assert "pauses: {kind: categorical}" in printed, "the draft takes it for a feature"
    schema = load_schema(tmp_path / "schema.yaml")
    assert [task.name for task in schema.tasks] == ["finished", "liked", "watch_time"]
    assert "pauses" not in schema.columns() and schema.roles.group == "viewer_id"
    assert all(name in printed for name in ("p_finished", "p_liked", "value_watch_time"))


def test_a_request_over_http_is_ranked_as_the_ranker_ranks_it(
    first: Finished, service: tuple[Ranker, int]
) -> None:
    ranker, port = service
    request, _ = ranking_service.sample_requests(first.out / "shop.parquet", ranker)
    status, answer = ranking_service.post(port, "/rank", request)
    candidates = pq.read_table(first.out / "shop.parquet").slice(0, 100)
    candidates = candidates.select(list(request["candidates"]))
    best = ranker.rank_request(request["user"], candidates, by=ranking_service.FORMULA, k=5)
    assert status == 200
    assert answer["ranking"] == best.select(ranking_service.SHOWN).to_pylist()


def test_reasons_over_http_name_the_score_and_the_features(
    first: Finished, service: tuple[Ranker, int]
) -> None:
    ranker, port = service
    _, request = ranking_service.sample_requests(first.out / "shop.parquet", ranker)
    status, answer = ranking_service.post(port, "/explain", request)
    row = pa.Table.from_pylist([request["row"]])
    assert status == 200
    assert answer["reasons"] == ranker.explain(row, "click").text(row=0)
    assert "p_click = " in answer["reasons"]


def test_a_bad_request_gets_one_line_that_says_what_is_wrong(
    first: Finished, service: tuple[Ranker, int]
) -> None:
    ranker, port = service
    request, _ = ranking_service.sample_requests(first.out / "shop.parquet", ranker)
    del request["candidates"]["price"]
    assert ranking_service.post(port, "/rank", {"user": {}}) == (
        400,
        {"error": "the request lacks 'candidates'"},
    )
    status, answer = ranking_service.post(port, "/rank", request)
    assert status == 400 and "price" in answer["error"]
    assert ranking_service.post(port, "/score", request)[0] == 404


def test_the_service_asks_itself_once_and_stops(
    first: Finished, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ranking_service.main([str(first.out)]) == 0
    *ranking, reasons = capsys.readouterr().out.split("\n", maxsplit=5)
    ranks = [json.loads(line.replace("'", '"'))["rank"] for line in ranking]
    assert ranks == [1, 2, 3, 4, 5] and "p_click = " in reasons


def test_a_run_that_does_not_exist_is_an_error_of_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ranking_service.main([str(tmp_path / "nowhere")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and "nowhere" in line
