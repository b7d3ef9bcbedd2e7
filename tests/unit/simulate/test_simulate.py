"""The simulated log: reproducible, consistent with its own truth, and planted as its card says."""

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import r2_score, roc_auc_score

from recmtl.errors import DataError
from recmtl.schema import load_schema
from recmtl.simulate import RELATED, Truth, simulate, truth_path
from recmtl.simulate.impressions import draw_blocks
from recmtl.simulate.world import Context, calibrate, draw_world, expected_auc, sigmoid, taste_terms

CARD = Path(__file__).resolve().parents[3] / "datasets" / "simulated"
ROWS = 60_000


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[pa.Table, pa.Table, Truth]:
    """A log, the truth of its rows, and what `simulate` says of it."""
    path = tmp_path_factory.mktemp("shop") / "log.parquet"
    truth = simulate(path, ROWS, with_truth=True, row_group_rows=20_000)
    return pq.read_table(path), pq.read_table(path.with_suffix(".truth.parquet")), truth


def column(table: pa.Table, name: str) -> npt.NDArray[np.float64]:
    """A column as float64, null as NaN."""
    return table[name].to_numpy().astype(np.float64)


def test_rows_depend_on_the_seed_and_not_on_the_row_groups(tmp_path: Path) -> None:
    simulate(tmp_path / "a.parquet", 12_345, seed=3, row_group_rows=5_000)
    simulate(tmp_path / "b.parquet", 12_345, seed=3, row_group_rows=777)
    simulate(tmp_path / "c.parquet", 12_345, seed=4)
    tables = [pq.read_table(tmp_path / f"{name}.parquet") for name in "abc"]
    assert tables[0].num_rows == 12_345
    assert tables[0].equals(tables[1])
    assert not tables[0].equals(tables[2])
    sizes = pq.ParquetFile(tmp_path / "a.parquet").metadata
    assert [sizes.row_group(i).num_rows for i in range(sizes.num_row_groups)] == [5000, 5000, 2345]


def test_labels_keep_their_logic(made: tuple[pa.Table, pa.Table, Truth]) -> None:
    log = made[0]
    click, purchase = column(log, "click"), column(log, "purchase")
    assert np.all(click[purchase == 1] == 1)
    np.testing.assert_array_equal(np.isfinite(column(log, "watch_time")), click == 1)
    assert np.nanmin(column(log, "watch_time")) > 0


def test_requests_are_runs_of_about_ten_rows_of_one_user(
    made: tuple[pa.Table, pa.Table, Truth],
) -> None:
    frame = made[0].select(["request_id", "user_id", "time_ms", "impression_id"]).to_pandas()
    assert frame.impression_id.tolist() == list(range(ROWS))
    assert frame.request_id.is_monotonic_increasing and frame.time_ms.is_monotonic_increasing
    by_request = frame.groupby("request_id")
    assert by_request[["user_id", "time_ms"]].nunique().max().max() == 1
    assert by_request.size()[:-1].between(8, 12).all()


def test_rates_and_best_scores_are_as_planned(made: tuple[pa.Table, pa.Table, Truth]) -> None:
    truth = made[2]
    assert truth.related == RELATED
    assert truth.rates["click"] == pytest.approx(0.20, abs=0.015)
    assert truth.rates["purchase"] == pytest.approx(0.12, abs=0.015)
    assert truth.rates["dislike"] == pytest.approx(0.025, abs=0.004)
    for task in ("click", "purchase", "dislike"):
        assert truth.best[f"{task}_auc"] == pytest.approx(0.75, abs=0.025)
    assert truth.best["watch_time_log_r2"] == pytest.approx(0.5, abs=0.04)
    assert abs(truth.correlation) < 0.1


def test_the_truth_file_agrees_with_the_rows(made: tuple[pa.Table, pa.Table, Truth]) -> None:
    log, chances, truth = made
    clicked = column(log, "click") == 1
    auc = roc_auc_score(column(log, "click"), column(chances, "p_click"))
    assert truth.best["click_auc"] == pytest.approx(auc, abs=1e-4)
    auc = roc_auc_score(
        column(log, "purchase")[clicked], column(chances, "p_purchase_given_click")[clicked]
    )
    assert truth.best["purchase_auc"] == pytest.approx(auc, abs=1e-4)
    r2 = r2_score(
        np.log(column(log, "watch_time")[clicked]), column(chances, "log_watch_time")[clicked]
    )
    assert truth.best["watch_time_log_r2"] == pytest.approx(r2, abs=1e-9)
    both = np.corrcoef(column(chances, "taste"), column(chances, "value"))
    assert truth.correlation == pytest.approx(both[0, 1], abs=1e-9)


def test_tasks_of_a_pair_share_their_interest(made: tuple[pa.Table, pa.Table, Truth]) -> None:
    chances = made[1]
    logits = {
        name: np.log(column(chances, name) / (1 - column(chances, name)))
        for name in ("p_click", "p_purchase_given_click", "p_dislike")
    }
    taste, value = column(chances, "taste"), column(chances, "value")
    assert np.corrcoef(logits["p_click"], taste)[0, 1] == pytest.approx(1)
    assert np.corrcoef(column(chances, "log_watch_time"), taste)[0, 1] == pytest.approx(1)
    assert np.corrcoef(logits["p_purchase_given_click"], value)[0, 1] == pytest.approx(1)
    assert np.corrcoef(logits["p_dislike"], value)[0, 1] == pytest.approx(-1)


def test_histories_hold_the_clicks_of_earlier_blocks_in_order() -> None:
    world = draw_world(0, users=50, items=300)
    blocks = list(draw_blocks(world, rows=12_000, seed=0))
    clicked: dict[int, list[int]] = {}
    for block in blocks[:-1]:
        for user, item in zip(block.user[block.click], block.item[block.click], strict=True):
            clicked.setdefault(int(user), []).append(int(item))
    last = blocks[-1]
    for user, history in zip(last.user, last.history, strict=True):
        expected = clicked.get(int(user), [])[-20:]
        assert history[len(history) - len(expected) :].tolist() == expected


def test_the_interests_are_products_and_not_sums() -> None:
    world = draw_world(0, users=200, items=200)
    user, item = np.divmod(np.arange(40_000), 200)
    quiet = Context(
        day=np.zeros(40_000),
        hour=np.full(40_000, 7.0),
        position=np.zeros(40_000),
        session_depth=np.zeros(40_000),
        minutes_since_visit=np.zeros(40_000),
    )
    terms = taste_terms(world.shop, user, item, quiet).reshape(200, 200, 6)

    def interaction(term: npt.NDArray[np.float64]) -> float:
        rest = term - term.mean(axis=0) - term.mean(axis=1)[:, None] + term.mean()
        return float((rest**2).sum() / ((term - term.mean()) ** 2).sum())

    assert interaction(terms[:, :, 0]) < 1e-20
    assert interaction(terms[:, :, 1]) > 0.5


def test_calibration_meets_the_rate_and_the_auc() -> None:
    factor = np.random.default_rng(1).standard_normal(20_000)
    weight = np.random.default_rng(2).random(20_000)
    intercept, slope = calibrate(factor, weight, 0.07, -1.0)
    chance = sigmoid(intercept + slope * factor)
    assert slope < 0
    assert np.average(chance, weights=weight) == pytest.approx(0.07, abs=1e-5)
    assert expected_auc(chance, weight) == pytest.approx(0.75, abs=1e-4)


def test_expected_auc_is_the_auc_of_certain_labels() -> None:
    assert expected_auc(np.array([0.0, 1.0, 0.0, 1.0]), np.ones(4)) == pytest.approx(1.0)
    assert expected_auc(np.full(50, 0.3), np.ones(50)) == pytest.approx(0.5)


def test_truth_is_written_beside_the_log(tmp_path: Path) -> None:
    truth = simulate(tmp_path / "new" / "log.parquet", 1_000)
    told = json.loads(truth_path(tmp_path / "new" / "log.parquet").read_text())
    assert told["related"] == [["click", "watch_time"], ["purchase", "dislike"]]
    assert told["best"] == truth.best and told["rows"] == 1_000
    names = {path.name for path in (tmp_path / "new").iterdir()}
    assert names == {"log.parquet", "log.truth.json"}


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with pytest.raises(OSError, match="no space"):
        simulate(tmp_path / "log.parquet", 1_000)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["rows", "users", "items", "row_group_rows"])
def test_sizes_below_one_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="at least 1"):
        simulate(tmp_path / "log.parquet", **({"rows": 10} | {name: 0}))


def test_the_schema_knows_every_column(made: tuple[pa.Table, pa.Table, Truth]) -> None:
    schema = load_schema(CARD / "schema.yaml")
    roles = vars(schema.roles).values()
    known = {feature.column for feature in schema.features} | {role for role in roles if role}
    assert known | {task.label.column for task in schema.tasks} == set(made[0].column_names)
    assert {task.name for task in schema.tasks} == {task for pair in RELATED for task in pair}
