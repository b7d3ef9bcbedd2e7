"""One user and many candidates: the scores of the joined rows, whatever computes them."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from recmtl.data.row_encoder import RowEncoder
from recmtl.errors import BundleError, ConfigError, DataError
from recmtl.grid.catalog import CATALOG
from recmtl.model import ModelSizes, TabularModel
from recmtl.serve import Ranker, Scorer, load_bundle, save_bundle
from recmtl.serve.bundle.request_network import RequestNetwork
from recmtl.serve.scoring.onnx import equal_to_rounding, request_network
from tests.unit.serve.shop import HEADS, USER, as_request, make_log, make_model

BY = "p_click * p_buy_given_click"
AFFINE = {"shared_bottom", "omoe", "mmoe", "ml_mmoe", "cgc", "ple", "mtnas", "recmtl_grid"}


def request(rows: int, seed: int = 3) -> tuple[dict, pa.Table, pa.Table]:
    """The user's values, the candidates' table, and both joined."""
    log = make_log(max(rows, 2), seed=seed).slice(0, rows)
    return as_request(log.append_column("row", pa.array(np.arange(rows))), USER, of=rows // 2)


def matrix(ranked: pa.Table, columns: tuple[str, ...]) -> np.ndarray:
    ranked = ranked.sort_by("row")
    return np.stack([ranked[name].to_numpy() for name in columns], 1)


@pytest.mark.parametrize("name", CATALOG)
def test_every_way_to_share_falls_apart_into_user_and_candidates(
    encoder: RowEncoder, log: pa.Table, name: str
) -> None:
    """In float64, so that a product left out of the two parts could not hide in rounding."""
    layout = CATALOG[name].layout(len(HEADS), cells=6, widths=(16, 8), depth=2)
    sizes = ModelSizes(embedding=8, tower=(8,))
    model = TabularModel(encoder.encoding, HEADS, layout=layout, sizes=sizes).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    whole = encoder.encoding
    mine = whole.part({"user_id", "history", "age", "history.count"})
    theirs = whole.part(set(whole.fields) - set(mine.fields))
    network = RequestNetwork(model, mine.fields).eval()
    encoded = encoder.encode(log.slice(0, 50))
    ids, numeric = torch.from_numpy(encoded.ids), torch.from_numpy(encoded.numeric).double()
    user_columns, others = whole.columns_of(mine), whole.columns_of(theirs)
    ids[:, user_columns[0]], numeric[:, user_columns[1]] = (
        ids[7, user_columns[0]],
        numeric[7, user_columns[1]],
    )
    expected = model.predict(ids, numeric)
    with torch.no_grad():
        parts = (
            ids[:1, user_columns[0]],
            numeric[:1, user_columns[1]],
            ids[:, others[0]],
            numeric[:, others[1]],
        )
        predicted = network(*parts)
    torch.testing.assert_close(predicted, expected, rtol=1e-11, atol=1e-13)
    assert bool(network.products) or name not in AFFINE


@pytest.mark.parametrize("rows", [1, 2, 40, 300, 5000])
def test_onnx_gives_the_joined_rows_scores(carrying: Path, rows: int) -> None:
    user, candidates, joined = request(rows)
    ranker = Ranker.load(carrying, engine="auto")
    ranked = ranker.rank_request(user, candidates, BY)
    plain = Ranker.load(carrying, engine="torch").rank(joined, BY, keep=candidates.column_names)
    assert ranked.column_names == plain.column_names
    columns = ranker.scorer.columns
    assert equal_to_rounding(matrix(ranked, columns), matrix(plain, columns))
    assert (np.diff(ranked["rank_score"].to_numpy()) <= 0).all()


def test_torch_gives_them_bit_for_bit(carrying: Path) -> None:
    user, candidates, joined = request(700)
    ranker = Ranker.load(carrying, engine="torch")
    plain = ranker.rank(joined, BY, k=20, keep=candidates.column_names)
    assert ranker.rank_request(user, candidates, BY, k=20).equals(plain)


@pytest.mark.parametrize("engine", ["auto", "torch"])
@pytest.mark.parametrize("rows", [2, 3, 17, 300, 513])
def test_equal_candidates_tie_wherever_they_stand(carrying: Path, engine: str, rows: int) -> None:
    user, candidates, joined = request(40)
    same = pa.array(np.full(rows, 5))
    ranker = Ranker.load(carrying, engine=engine)
    for ranked in (
        ranker.rank_request(user, candidates.take(same), BY, keep=[]),
        ranker.rank(joined.take(same), BY, keep=[]),
    ):
        for name in (*ranker.scorer.columns, "rank_score"):
            assert len(set(ranked[name].to_pylist())) == 1


def test_the_network_is_used_only_for_the_users_that_it_was_made_for(carrying: Path) -> None:
    user, candidates, joined = request(60)
    ranker, plain = Ranker.load(carrying, engine="auto"), Ranker.load(carrying, engine="torch")
    assert list(ranker._requests) == [frozenset(USER)]
    assert list(plain._requests) == []
    del user["history"]
    candidates = candidates.append_column("history", joined["history"])
    ranked = ranker.rank_request(user, candidates, BY)
    expected = plain.rank_request(user, candidates, BY)
    columns = ranker.scorer.columns
    assert equal_to_rounding(matrix(ranked, columns), matrix(expected, columns))


def test_unknown_values_of_a_user_count_once(carrying: Path) -> None:
    user, candidates, _ = request(30)
    ranker = Ranker.load(carrying, engine="auto")
    ranker.rank_request(user | {"user_id": 5, "history": ["new", None, "item-1"]}, candidates, BY)
    unknown = ranker.scorer.unknown
    assert (unknown["user_id"], unknown["history"]) == (1, 1)


def test_values_that_are_not_plain_are_read_as_arrow_reads_them(carrying: Path) -> None:
    user, candidates, _ = request(30)
    ranker = Ranker.load(carrying, engine="auto")
    plain = ranker.rank_request(user, candidates, BY)
    odd = {"user_id": np.int64(user["user_id"]), "age": np.float32(user["age"])}
    odd["history"] = np.array(user["history"], dtype=object)
    assert ranker.rank_request(user | odd, candidates, BY).equals(plain)
    with pytest.raises(DataError, match="user: column 'age'"):
        ranker.rank_request(user | {"age": "old"}, candidates, BY)


def test_a_bundle_says_which_columns_are_the_users(
    carrying: Path, bundle: Path, log: pa.Table, encoder: RowEncoder, tmp_path: Path
) -> None:
    assert load_bundle(carrying).user == ("user_id", "history", "age", "history.count")
    assert load_bundle(bundle).user == ()
    options = {"model": make_model(encoder), "encoder": encoder, "rows": log, "metrics": {}}
    with pytest.raises(DataError, match="user: has no column 'usr_id'; did you mean 'user_id'"):
        save_bundle(tmp_path / "b", user=["usr_id"], **options)
    with pytest.raises(ConfigError, match="all features are the user's"):
        save_bundle(tmp_path / "b", user=list(encoder.input_columns), **options)
    with pytest.raises(ConfigError, match="all features are the user's"):
        Ranker(Scorer.load(bundle), user=encoder.input_columns)


@pytest.mark.slow
def test_another_users_columns_are_exported_when_asked(carrying: Path) -> None:
    user, candidates, joined = request(30)
    ranker = Ranker.load(carrying, engine="onnx", user=["user_id"])
    assert list(ranker._requests) == [frozenset(["user_id"])]
    rest = candidates
    for name in ("history", "age"):
        rest = rest.append_column(name, joined[name])
    ranked = ranker.rank_request({"user_id": user["user_id"]}, rest, BY)
    expected = Ranker.load(carrying, engine="torch").rank(joined, BY)
    columns = ranker.scorer.columns
    assert equal_to_rounding(matrix(ranked, columns), matrix(expected, columns))


def test_a_network_of_another_model_is_refused(carrying: Path) -> None:
    loaded = load_bundle(carrying)
    with torch.no_grad():
        next(loaded.model.heads.parameters()).mul_(1.1)
    assert Ranker(Scorer(loaded, engine="auto"))._requests == {}
    with pytest.raises(BundleError, match=r"scores differ by .* use engine='torch'"):
        request_network(loaded, "onnx", loaded.user)
