"""A bundle with trees is updated: its forests stay, over vocabularies that have grown."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recmtl.daily.parent import open_parent
from recmtl.daily.update import Update, updated
from recmtl.data.encoded_log import EncodedLog
from recmtl.forest.columns import UNSEEN, Codes
from recmtl.forest.grown import GrownForests
from recmtl.model import BlendedModel, predict
from recmtl.serve import Scorer
from recmtl.serve.bundle import load_bundle
from tests.unit.daily.conftest import OpenJob
from tests.unit.serve.forest_shop import encoded_log, forests_of, saved
from tests.unit.serve.shop import make_log
from tests.unit.serve.test_blend_serving import blend_of, heard

NEW = 2**41
"""Ids from here on no train row of the parent had."""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[EncodedLog, GrownForests]:
    """Clicks follow from the items, whose ids come after those of the users in the table."""
    rows = make_log(3000)
    likes = np.array([sum(map(ord, name or "")) % 3 == 0 for name in rows["item"].to_pylist()])
    bought = likes & (np.arange(3000) % 2 == 0)
    for label, values in (("clicked", likes), ("bought", bought)):
        place = rows.schema.names.index(label)
        rows = rows.set_column(place, label, pa.array(values.astype(np.int64)))
    log = encoded_log(tmp_path_factory.mktemp("shop"), rows)
    return log, forests_of(log)


def days(rows: int = 500) -> pa.Table:
    """Rows like those of the shop, a third of them by new users."""
    log = make_log(rows, seed=5)
    users = log["user_id"].to_numpy().copy()
    users[::3] = NEW + np.arange(len(users[::3])) % 7
    return log.set_column(log.schema.names.index("user_id"), "user_id", pa.array(users))


def update_of(
    shop: tuple[EncodedLog, GrownForests], sources: str, folder: Path, job_on: OpenJob
) -> tuple[Path, Update]:
    """The parent, a blend with the forest as a member, and what its update leaves."""
    log, grown = shop
    parent = saved(folder / "parent", log, grown, blend_of(heard(log, grown, sources), grown))
    pq.write_table(days(), folder / "days.parquet")
    with job_on(parent, folder / "days.parquet", folder / "out") as job:
        return parent, updated(job, open_parent(parent), search_when="never")


@pytest.mark.parametrize("sources", ["all", "ids and trees", "no trees"])
def test_forests_say_the_same_of_rows_whose_ids_they_know(
    sources: str, shop: tuple[EncodedLog, GrownForests], tmp_path: Path, job_on: OpenJob
) -> None:
    parent, done = update_of(shop, sources, tmp_path, job_on)
    before, after = load_bundle(parent), load_bundle(done.bundle)
    assert before.forests is not None and after.forests is not None
    assert after.forests.forests == before.forests.forests
    assert after.forests.forests[0].booster.feature_importance()[1] > 0, "items are split"
    rows = days(120)
    logits = []
    for bundle in (before, after):
        encoded = Scorer(bundle).bundle.encoder.encode(rows)
        logits.append(bundle.forests.logits(encoded.ids, encoded.numeric))
    np.testing.assert_array_equal(logits[1], logits[0])  # new users count as unknown ones


def test_the_updated_bundle_scores_raw_rows_as_it_was_tested(
    shop: tuple[EncodedLog, GrownForests], tmp_path: Path, job_on: OpenJob
) -> None:
    _, done = update_of(shop, "all", tmp_path, job_on)
    problem, model = done.trained.problem, done.trained.model
    assert isinstance(model, BlendedModel) and model.forest is not None
    rows = pq.read_table(tmp_path / "days.parquet").take(np.asarray(problem.test.row).tolist())
    scorer = Scorer.load(done.bundle)
    expected = predict(model, problem.test)
    for column, scores in zip(scorer.columns, scorer.scores(rows).T, strict=True):
        np.testing.assert_allclose(scores, expected[column], rtol=1e-5)
    assert {"parent", "searched", "constant"} <= set(done.results["tasks"]["click"])


@given(st.lists(st.integers(0, 30), min_size=1, max_size=40), st.integers(0, 9), st.data())
def test_codes_follow_their_ids_into_a_grown_table(
    ids: list[int], first: int, data: st.DataObject
) -> None:
    codes = Codes.fit(np.array(ids, np.int32) + first)
    later = np.array(
        data.draw(st.lists(st.integers(0, 45), min_size=1, max_size=60)), dtype=np.int64
    )
    grown = codes.grown(later)
    rows = np.arange(len(later), dtype=np.int32)
    np.testing.assert_array_equal(grown(rows), codes(later.astype(np.int32)))
    assert grown(np.array([len(later) + 5], np.int32))[0] == UNSEEN
