"""Far more unknown ids than in training are noticed; a few more are not."""

import json
from pathlib import Path

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
