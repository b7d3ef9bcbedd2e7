"""Explanations: contributions add up, routes are those of the grid, and people can read both."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from scipy.special import logit

from recmtl.data.row_encoder import RowEncoder
from recmtl.errors import DataError
from recmtl.grid import Layout, catalog, reachable_experts
from recmtl.model import ModelSizes, TabularModel
from recmtl.model.heads import AITM, Chain
from recmtl.serve import Ranker, Scorer, save_bundle
from recmtl.serve.calibration.calibrators import Calibrators, ColumnCalibration, Platt
from recmtl.serve.scoring.attribution import Attribution, integrated_gradients
from recmtl.serve.scoring.explain import Explanation
from tests.unit.serve.shop import HEADS

T, E, W = len(HEADS), 3, (8, 4)
LAYOUTS = {
    "mmoe": catalog.mmoe(T, experts=E, widths=W),
    "ple": catalog.ple(T, own=1, shared=1, levels=(W, W)),
    "stem": catalog.stem(T, own=1, shared=1, widths=W),
    "searched": catalog.recmtl_grid(T, cells=4, widths=W, depth=2),
}


def scrambled(encoder: RowEncoder, layout: Layout, chain: Chain | None = None) -> TabularModel:
    """A float64 network whose weights, gates and biases are all drawn."""
    torch.manual_seed(0)
    sizes = ModelSizes(embedding=4, tower=(6,), chain=chain or Chain())
    model = TabularModel(encoder.encoding, HEADS, layout=layout, sizes=sizes).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.4)
    return model


def explained(model: TabularModel, encoder: RowEncoder, rows: pa.Table, steps: int) -> torch.Tensor:
    """The gap of completeness `[R, T]`."""
    unknown = encoder.unknown_rows()[1].copy()
    unknown[len(encoder.encoding.single) :] = 0
    attribution = Attribution(model, range(T), unknown=torch.from_numpy(unknown)[None])
    encoded = encoder.encode(rows)
    numeric = torch.from_numpy(encoded.numeric).double()
    found = attribution.attribute(torch.from_numpy(encoded.ids), numeric, steps=steps)
    return found.predicted - found.base - found.contributions.sum(2)


def test_a_linear_function_is_its_own_explanation() -> None:
    weights, inputs, base = torch.randn(3, 2, 5), torch.randn(7, 2, 5), torch.randn(1, 2, 5)
    found = integrated_gradients(
        lambda x: torch.einsum("bsd,tsd->bt", x, weights), inputs, base, steps=1
    )
    torch.testing.assert_close(found, (inputs - base)[:, None] * weights)


def test_a_product_is_shared_equally_and_a_third_power_in_the_limit() -> None:
    inputs = torch.tensor([[2.0, 3.0]], dtype=torch.float64)
    base = torch.zeros(1, 2, dtype=torch.float64)
    product = integrated_gradients(lambda x: x.prod(1, keepdim=True), inputs, base, steps=1)
    torch.testing.assert_close(product, torch.tensor([[[3.0, 3.0]]], dtype=torch.float64))

    def missed(steps: int) -> float:
        cubes = integrated_gradients(lambda x: (x**3).sum(1, True), inputs, base, steps=steps)
        return float((cubes - inputs**3).abs().max())

    assert missed(40) == pytest.approx(missed(20) / 4, rel=1e-3), "midpoints are of second order"


@pytest.mark.parametrize("name", LAYOUTS)
def test_contributions_are_complete_in_the_limit(
    encoder: RowEncoder, log: pa.Table, name: str
) -> None:
    model, rows = scrambled(encoder, LAYOUTS[name]), log.slice(0, 15)
    gaps = [explained(model, encoder, rows, steps).abs().mean() for steps in (4, 32, 256)]
    assert gaps[0] > 4 * gaps[1] > 16 * gaps[2]
    assert gaps[2] < 1e-3


def test_contributions_are_complete_where_a_head_reads_its_parent(
    encoder: RowEncoder, log: pa.Table
) -> None:
    model = scrambled(encoder, LAYOUTS["mmoe"], chain=AITM)
    assert explained(model, encoder, log.slice(0, 20), 256).abs().mean() < 1e-3


@pytest.fixture(scope="module")
def ranker(scorer: Scorer) -> Ranker:
    return Ranker(scorer)


@pytest.fixture(scope="module")
def explanation(ranker: Ranker, log: pa.Table) -> Explanation:
    return ranker.explain(log.slice(0, 30), steps=16)


def test_what_is_explained_is_the_score(
    explanation: Explanation, scorer: Scorer, log: pa.Table
) -> None:
    scores = scorer.score(log.slice(0, 30)).to_pandas()
    assert explanation.tasks == ("click", "buy", "watch", "rating")
    for row, (click, buy, watch, rating) in enumerate(explanation.columns):
        assert (click, buy, watch) == ("p_click", "p_buy_given_click", "value_watch")
        stars = scores.loc[row, ["p_rating_1", "p_rating_2", "p_rating_3"]].astype(float)
        assert rating == stars.idxmax()
        shown = scores.loc[row, [click, buy, watch, rating]].to_numpy(np.float64)
        np.testing.assert_array_equal(explanation.scores[row], shown)
    odds = [0, 1, 3]
    np.testing.assert_allclose(
        explanation.predicted[:, odds], logit(explanation.scores[:, odds]), atol=1e-4
    )
    np.testing.assert_allclose(
        np.expm1(explanation.predicted[:, 2]), explanation.scores[:, 2], rtol=1e-4, atol=1e-4
    )


def test_the_base_is_the_score_of_a_row_about_which_nothing_is_known(
    explanation: Explanation, scorer: Scorer, log: pa.Table
) -> None:
    first = log.slice(0, 1).to_pylist()[0]
    nothing = dict.fromkeys(first) | {"user_id": 5}
    table = pa.Table.from_pylist([nothing], schema=log.schema)
    scores = scorer.scores(table)[0].astype(np.float64)
    columns = list(scorer.columns)
    odds = logit([scores[columns.index(name)] for name in ("p_click", "p_buy_given_click")])
    np.testing.assert_allclose(explanation.base[:, :2], np.tile(odds, (30, 1)), atol=1e-5)
    np.testing.assert_allclose(
        np.expm1(explanation.base[:, 2]), scores[columns.index("value_watch")], rtol=1e-4
    )


def test_what_is_not_known_adds_nothing(ranker: Ranker, log: pa.Table) -> None:
    strange = log.slice(0, 20)
    strange = strange.set_column(1, "user_id", pa.array([9] * 20, pa.int64()))
    strange = strange.set_column(4, "price", pa.nulls(20, pa.float64()))
    found = ranker.explain(strange, steps=4)
    at = {name: position for position, name in enumerate(found.features)}
    assert (found.contributions[:, :, [at["user_id"], at["price"]]] == 0).all()
    assert (found.contributions[:, :, at["age"]] != 0).any()


def test_routes_are_those_of_the_layout(ranker: Ranker, explanation: Explanation) -> None:
    layout = ranker.scorer.bundle.model.grid.layout
    routes = explanation.routes().to_pandas()
    sums = routes.groupby(["row", "task", "layer"])["share"].sum()
    np.testing.assert_allclose(sums, 1.0, rtol=1e-5)
    for task, reached in zip(explanation.tasks, reachable_experts(layout), strict=True):
        mine = routes[(routes["task"] == task) & (routes["row"] == 7)]
        found = {(row.layer - 1, row.expert) for row in mine.itertuples()}
        assert found == reached


def test_the_table_holds_the_largest_contributions(explanation: Explanation) -> None:
    whole, top = explanation.table().to_pandas(), explanation.table(2).to_pandas()
    assert len(whole) == 30 * 4 * 6
    np.testing.assert_allclose(
        whole.groupby(["row", "task"], sort=False)["contribution"].sum(),
        explanation.contributions.sum(2).ravel(),
    )
    assert (top["rank"] <= 2).all() and len(top) == 30 * 4 * 2
    sizes = whole["contribution"].abs().to_numpy().reshape(-1, 6)
    assert (np.diff(sizes) <= 0).all()
    first = whole.iloc[0]
    at = explanation.features.index(first["feature"])
    assert first["contribution"] == explanation.contributions[0, 0, at]
    assert first["score"] == explanation.scores[0, 0]


def test_text_tells_routes_and_reasons(ranker: Ranker, log: pa.Table) -> None:
    found = ranker.explain(log.slice(0, 5), "click", steps=8)
    lines = found.text(row=3, k=2).splitlines()
    assert lines[0].startswith("click: p_click = 0.")
    assert lines[1].startswith("  layer 1: expert 0 (")
    assert "where nothing is known" in lines[2] and lines[2].startswith("  log odds ")
    assert len(lines) == 6 and lines[-1].strip().startswith("4 other features")
    assert all(len(line) < 100 for line in lines)
    assert str(found).count("row ") == 3 and str(found).endswith("and 2 more rows")


def test_a_skipped_layer_is_called_so(explanation: Explanation) -> None:
    from dataclasses import replace

    shares, skipped = np.zeros_like(explanation.shares), np.ones_like(explanation.skipped)
    found = replace(explanation, shares=shares, skipped=skipped)
    assert "  layer 1: skipped" in found.text().splitlines()
    assert found.routes().to_pandas()["expert"].isna().all()


def test_every_kind_of_frame_is_explained_alike(ranker: Ranker, log: pa.Table) -> None:
    head = log.slice(0, 4)
    frames = [head, head.to_pandas(), {n: head[n].to_pylist() for n in head.column_names}]
    tables = [ranker.explain(frame, ["buy", "watch"], steps=2).table() for frame in frames]
    assert tables[0].equals(tables[1]) and tables[0].equals(tables[2])
    assert tables[0]["task"].unique().to_pylist() == ["buy", "watch"]


def test_scores_are_calibrated_and_contributions_are_of_the_network(
    bundle: Path, scorer: Scorer, log: pa.Table, tmp_path: Path
) -> None:
    loaded = scorer.bundle
    maps = {"p_click": ColumnCalibration(Platt(0.5, -1.0))}
    folder = save_bundle(
        tmp_path / "b",
        model=loaded.model,
        encoder=loaded.encoder,
        rows=log,
        metrics={},
        calibrators=Calibrators(maps, heads=HEADS, encoding=loaded.encoder.encoding),
    )
    plain = Ranker(scorer).explain(log.slice(0, 3), steps=2)
    found = Ranker.load(folder).explain(log.slice(0, 3), steps=2)
    np.testing.assert_array_equal(found.contributions, plain.contributions)
    odds = 0.5 * plain.predicted[:, 0] - 1.0
    np.testing.assert_allclose(logit(found.scores[:, 0]), odds, atol=1e-4)


def test_explaining_leaves_no_gradients_behind(ranker: Ranker, log: pa.Table) -> None:
    ranker.explain(log.slice(0, 2), steps=2)
    assert all(p.grad is None for p in ranker.scorer.bundle.model.parameters())


def test_what_cannot_be_explained_gets_one_line(ranker: Ranker, log: pa.Table) -> None:
    with pytest.raises(DataError, match="there is no task 'clik'; did you mean 'click'"):
        ranker.explain(log, "clik")
    with pytest.raises(DataError, match="0 rows, 64 steps"):
        ranker.explain(log.slice(0, 0))
    with pytest.raises(DataError, match="1 rows, 0 steps"):
        ranker.explain(log.slice(0, 1), steps=0)
    with pytest.raises(DataError, match="no column 'price'"):
        ranker.explain(log.drop_columns(["price"]))
