"""Ranking a log batch by batch: equal to ranking it at once, whatever the batches."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recmtl.command.main import main
from recmtl.errors import DataError
from recmtl.serve import Ranker
from recmtl.serve.ranking.rank_log import rank_log, rows_of
from tests.unit.serve.shop import make_bundle, make_log

GROUP = "request"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rank")
    make_bundle(folder / "bundle")
    pq.write_table(make_log(300, seed=3), folder / "log.parquet", row_group_size=70)
    return folder


@pytest.fixture(scope="module")
def ranker(folder: Path) -> Ranker:
    return Ranker.load(folder / "bundle", engine="torch")


@pytest.mark.parametrize("rows_at_once", [1, 7, 100, 1000])
@pytest.mark.parametrize("factor", [1, 0])  # of zero, all rows are equal
@pytest.mark.parametrize(("group", "k"), [(GROUP, 2), (GROUP, None), (None, 5)])
def test_batches_do_not_show_in_a_ranking(
    folder: Path,
    ranker: Ranker,
    tmp_path: Path,
    group: str | None,
    k: int | None,
    factor: int,
    rows_at_once: int,
) -> None:
    by, keep = f"{factor} * {ranker.scorer.columns[0]}", ["user_id", GROUP]
    table = pq.read_table(folder / "log.parquet").combine_chunks()
    whole = ranker.rank(table, by=by, group=group, k=k, keep=keep)
    summary = rank_log(
        ranker,
        folder / "log.parquet",
        tmp_path / "deep" / "ranking.parquet",
        by=by,
        group=group,
        k=k,
        keep=keep,
        rows_at_once=rows_at_once,
    )
    assert isinstance(whole, pa.Table)
    assert pq.read_table(summary.file).equals(whole)
    groups = len(set(table[GROUP].to_pylist())) if group else 1
    assert (summary.rows, summary.kept, summary.groups) == (300, whole.num_rows, groups)


def test_rows_of_a_log_are_those_that_are_asked_for(folder: Path, ranker: Ranker) -> None:
    log = folder / "log.parquet"
    whole = rows_of(ranker.scorer, log, count=1000)
    assert whole.num_rows == 300
    for first, count in ((0, 3), (69, 5), (70, 140), (299, 9)):
        rows = rows_of(ranker.scorer, log, first=first, count=count)
        assert rows.to_pylist() == whole.slice(first, count).to_pylist()
    for first, count in ((300, 1), (-1, 1), (0, 0)):
        with pytest.raises(DataError, match="300 rows"):
            rows_of(ranker.scorer, log, first=first, count=count)


def test_the_command_ranks_and_explains(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--bundle", str(folder / "bundle"), "--input", str(folder / "log.parquet")]
    output = ["--output", str(tmp_path / "ranking.parquet"), "--group", GROUP, "--k", "1"]
    assert main(["rank", *given, *output, "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    ranking = pq.read_table(tmp_path / "ranking.parquet")
    assert summary["kept"] == summary["groups"] == ranking.num_rows
    assert set(ranking["rank"].to_pylist()) == {1} and GROUP in ranking.column_names
    assert main(["rank", *given, *output, "--by", "p_clik"]) == 2
    assert "did you mean" in capsys.readouterr().err
    assert main(["explain", *given, "--row", "71"]) == 0
    assert capsys.readouterr().out.startswith("row 71\n")
    assert main(["explain", *given, "--rows", "2", "--k", "1", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert {reason["row"] for reason in content["reasons"]} == {0, 1}
    assert {reason["rank"] for reason in content["reasons"]} == {1}
