"""Far more unknown ids than in training are noticed; a few more are not."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recmtl.data.row_encoder import Encoded, RowEncoder
from recmtl.data.vocabulary_drift import unknown_shares
from recmtl.errors import ConfigError, DataError, SourceLocation
from recmtl.serve import Scorer, load_bundle, save_bundle, score_parquet
from recmtl.serve.scoring.drift import Drift
from tests.unit.serve.shop import make_log, make_model

HERE = SourceLocation()


@pytest.fixture(scope="module")
def watching(
    log: pa.Table, encoder: RowEncoder, tmp_path_factory: pytest.TempPathFactory
) -> Scorer:
    """The scorer of a bundle that knows how many ids were unknown in training."""
    usual = unknown_shares(encoder, encoder.encode(log).ids)
    folder = tmp_path_factory.mktemp("drift") / "bundle"
    model = make_model(encoder)
    save_bundle(folder, model=model, encoder=encoder, rows=log, metrics={}, unknown=usual)
    return Scorer.load(folder)


def strange(log: pa.Table, rows: int, name: str = "user_id") -> pa.Table:
    """A log in which the first rows have users that nobody knows."""
    values = log[name].to_pylist()
    values[:rows] = range(rows)
    return log.set_column(log.column_names.index(name), name, pa.array(values))


def write(log: pa.Table, folder: Path, rows: int = 200) -> Path:
    folder.mkdir(exist_ok=True)
    numbered = log.append_column("row", pa.array(np.arange(log.num_rows)))
    pq.write_table(numbered, folder / "log.parquet", row_group_size=rows)
    return folder


def test_shares_are_those_of_a_plain_count(encoder: RowEncoder) -> None:
    log = strange(make_log(900, seed=3), 100)
    lists = log["history"].to_pylist()
    lists[:30] = [["who", "item-1", "what"]] * 30
    log = log.set_column(log.column_names.index("history"), "history", pa.array(lists))
    kept = [value for values in lists for value in values[-4:]]
    shares = unknown_shares(encoder, encoder.encode(log).ids)
    assert shares["user_id"] == 100 / 900
    assert shares["item"] == log["item"].null_count / 900
    assert shares["history"] == sum(value in ("who", "what") for value in kept) / len(kept)
    assert list(shares) == ["user_id", "item", "history"]


def test_bundles_carry_the_shares_and_those_without_say_nothing(
    watching: Scorer, bundle: Path
) -> None:
    assert watching.bundle.unknown is not None
    assert watching.bundle.unknown["user_id"] == 0.0
    assert 0.05 < watching.bundle.unknown["item"] < 0.15
    assert load_bundle(bundle).unknown is None


def test_warns_at_the_end_and_in_the_manifest(watching: Scorer, tmp_path: Path) -> None:
    source = write(strange(make_log(1000, seed=9), 400), tmp_path / "log")
    done = score_parquet(watching, source, tmp_path / "out")
    assert len(done.warnings) == 1
    assert done.warnings[0].startswith("column 'user_id': 40.0% of its 1,000 values have no known")
    said = json.loads((tmp_path / "out" / "_manifest.json").read_text())
    assert said["warnings"] == list(done.warnings)
    again = score_parquet(watching, source, tmp_path / "off", drift="off")
    assert again.warnings == ()
    usual = write(strange(make_log(1000, seed=9), 80), tmp_path / "usual")
    assert score_parquet(watching, usual, tmp_path / "out3").warnings == ()


def test_as_an_error_it_ends_the_job_at_the_row_group(watching: Scorer, tmp_path: Path) -> None:
    log = make_log(1000, seed=9)
    far = pa.concat_tables([log.slice(0, 600), strange(log.slice(600), 400)])
    source = write(far, tmp_path / "log")
    with pytest.raises(DataError, match=r"row group 3: column 'user_id': 100\.0% of its 200 val"):
        score_parquet(watching, source, tmp_path / "out", drift="error", part_rows=200)
    finished = sorted(path.name for path in (tmp_path / "out").glob("part-*"))
    assert finished == [f"part-0000{number}.parquet" for number in range(3)]
    done = score_parquet(watching, source, tmp_path / "out", part_rows=200, resume=True)
    assert done.scored_rows == 400


def test_with_a_quarantine_the_row_groups_are_set_aside(watching: Scorer, tmp_path: Path) -> None:
    log = make_log(1000, seed=9)
    far = pa.concat_tables([log.slice(0, 600), strange(log.slice(600), 400)])
    price = far["price"].to_numpy(zero_copy_only=False).copy()
    price[[3, 650]] = np.inf
    far = far.set_column(
        far.column_names.index("price"), "price", pa.array(price, from_pandas=True)
    )
    source = write(far, tmp_path / "log")
    aside = tmp_path / "aside"
    done = score_parquet(
        watching, source, tmp_path / "out", drift="error", quarantine=aside, keep=["row"]
    )
    assert pq.read_table(tmp_path / "out")["row"].to_pylist() == [*range(3), *range(4, 600)]
    assert done.quarantined_rows == 401
    reasons = pq.read_table(aside / "rows-000000000600.parquet").to_pydict()
    assert reasons["row"] == list(range(600, 800)) == reasons["quarantine.row"]
    assert "infinite" in reasons["quarantine.reason"][50]
    assert "no known id" in reasons["quarantine.reason"][51]


def test_a_handful_of_rows_proves_nothing(watching: Scorer) -> None:
    ids = watching.bundle.encoder.encode(strange(make_log(5), 2)).ids
    drift = Drift(watching.bundle, mode="error")
    drift.check(Encoded(ids, np.empty((5, 0), np.float32), {}), SourceLocation())
    assert drift.warnings() == []


def test_wrong_options_get_one_line(watching: Scorer, bundle: Path) -> None:
    with pytest.raises(ConfigError, match="drift is 'loud'; give warn, error or off"):
        Drift(watching.bundle, mode="loud")
    with pytest.raises(ConfigError, match="a share in"):
        Drift(watching.bundle, limit=2.0)
    with pytest.raises(ConfigError, match="does not say how many ids were unknown"):
        Drift(load_bundle(bundle), mode="error")
    assert Drift(load_bundle(bundle)).warnings() == []


def drift_from(scorer: Scorer, usual: dict[str, float], **options: Any) -> Drift:
    return Drift(replace(scorer.bundle, unknown=usual), **options)


def encoded_users(scorer: Scorer, unknown: int, rows: int) -> Encoded:
    """Rows of which the first ones have users that nobody knows."""
    return scorer.bundle.encoder.encode(strange(make_log(rows, seed=4), unknown))


@pytest.mark.parametrize("cuts", [[0, 300], [0, 1, 300], [0, 120, 121, 290, 300]])
def test_batches_are_counted_as_their_sum(watching: Scorer, cuts: list[int]) -> None:
    whole = encoded_users(watching, 60, 300)
    drift = Drift(watching.bundle)
    for first, last in pairwise(cuts):
        part = Encoded(whole.ids[first:last], whole.numeric[first:last], {})
        drift.check(part, SourceLocation())
    lists = whole.ids[:, 2:]
    values = [300, 300, int((lists != 0).sum())]
    np.testing.assert_array_equal(drift.totals[1], values)
    assert drift.totals[0, 0] == 60
    assert drift.totals.dtype == np.int64


def test_totals_of_processes_may_be_added(watching: Scorer) -> None:
    parts, one_process = [Drift(watching.bundle) for _ in range(2)], Drift(watching.bundle)
    for drift, unknown in zip(parts, (90, 10), strict=True):
        drift.check(encoded_users(watching, unknown, 200), SourceLocation())
        one_process.check(encoded_users(watching, unknown, 200), SourceLocation())
    parts[0].totals += parts[1].totals
    assert parts[0].warnings() == one_process.warnings() != []


@pytest.mark.parametrize(("usual", "limit"), [(0.0, 0.1), (0.2, 0.1), (0.2, 0.0), (0.0, 0.5)])
@pytest.mark.parametrize("rows", [40, 400])
def test_a_share_has_drifted_where_three_deviations_leave_the_limit(
    watching: Scorer, usual: float, limit: float, rows: int
) -> None:
    def has_drifted(unknown: int) -> bool:
        drift = drift_from(watching, {"user_id": usual}, limit=limit)
        drift.check(encoded_users(watching, unknown, rows), SourceLocation())
        return bool(drift.warnings())

    shares = np.arange(rows + 1) / rows
    surely = shares - 3 * np.sqrt(shares * (1 - shares) / rows) > usual + limit
    first = int(np.flatnonzero(surely)[0])
    assert not has_drifted(first - 1) and has_drifted(first) and has_drifted(rows)


def test_the_same_share_over_more_rows_is_surer(watching: Scorer) -> None:
    few, many = (drift_from(watching, {"user_id": 0.0}) for _ in range(2))
    few.check(encoded_users(watching, 4, 20), SourceLocation())
    many.check(encoded_users(watching, 400, 2000), SourceLocation())
    assert few.warnings() == [] and len(many.warnings()) == 1


def test_only_features_whose_share_is_known_are_judged(watching: Scorer) -> None:
    rows = encoded_users(watching, 300, 300)
    other = drift_from(watching, {"item": 0.1})
    other.check(rows, SourceLocation())
    assert other.warnings() == [] and other.totals[0, 0] == 300
    nothing = drift_from(watching, {})
    nothing.check(rows, SourceLocation())
    assert nothing.totals.sum() == 0, "without any share there is nothing to count for"


def test_off_counts_nothing_and_no_rows_prove_nothing(watching: Scorer) -> None:
    off = Drift(watching.bundle, mode="off")
    off.check(encoded_users(watching, 300, 300), SourceLocation())
    assert off.totals.sum() == 0 and off.warnings() == []
    empty = Drift(watching.bundle, mode="error", limit=0.0)
    empty.check(encoded_users(watching, 0, 300), SourceLocation())
    empty.check(Encoded(np.empty((0, 6), np.int32), np.empty((0, 2), np.float32), {}), HERE)


def test_a_batch_that_is_refused_is_not_counted(watching: Scorer) -> None:
    drift = drift_from(watching, {"user_id": 0.0}, mode="error")
    drift.check(encoded_users(watching, 0, 300), HERE)
    with pytest.raises(DataError, match=r"column 'user_id': 100\.0% of its 300 values") as raised:
        drift.check(encoded_users(watching, 300, 300), SourceLocation("a.parquet", 7))
    assert str(raised.value).startswith("a.parquet, row group 7: column 'user_id'")
    assert str(raised.value).endswith("mend the input, or score with drift warn")
    assert drift.totals[0, 0] == 0 and drift.totals[1, 0] == 300
