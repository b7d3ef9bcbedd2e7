"""The ONNX network gives the torch network's scores to float32 rounding, whatever the rows."""

import importlib.util
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recmtl.data.row_encoder import RowEncoder
from recmtl.errors import BundleError, ConfigError
from recmtl.serve import Ranker, Scorer, load_bundle, save_bundle
from recmtl.serve.bundle import onnx_export
from recmtl.serve.bundle.onnx_export import export
from recmtl.serve.scoring import onnx as onnx_engine
from recmtl.serve.scoring.onnx import OnnxNetwork, equal_to_rounding
from tests.unit.serve.shop import make_log, make_model


@pytest.fixture(scope="module")
def network(carrying: Path) -> OnnxNetwork:
    bundle = load_bundle(carrying)
    return OnnxNetwork(carrying / "model" / "network.onnx", bundle.model.columns)


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 300, 513, 1000])
def test_any_batch_of_random_rows_gets_the_networks_scores(
    carrying: Path, network: OnnxNetwork, rows: int
) -> None:
    model, dice = load_bundle(carrying).model, np.random.default_rng(rows)
    encoding = model.encoder.encoding
    ids = dice.integers(0, encoding.table_rows, (rows, encoding.id_columns)).astype(np.int32)
    ids[dice.random(ids.shape) < 0.3] = 0
    numeric = dice.normal(0.0, 3.0, (rows, len(encoding.numeric))).astype(np.float32)
    numeric[dice.random(numeric.shape) < 0.3] = np.nan
    expected = model.predict(torch.from_numpy(ids), torch.from_numpy(numeric)).numpy()
    found = network.scores(ids, numeric)
    assert found.dtype == np.float32 and found.shape == (rows, len(network.columns))
    assert equal_to_rounding(found, expected)


def test_rounding_is_measured_against_the_score_and_its_column() -> None:
    expected = np.array([[1e-4, 900.0], [0.5, 0.001]], np.float32)
    near = expected * (1 + 1e-6) + np.array([1e-7, 5e-4])
    assert equal_to_rounding(near, expected)
    for cell in np.ndindex(expected.shape):
        off = expected.copy()
        off[cell] += 2e-6 + 2e-5 * expected[cell] if cell[1] == 0 else 0.02
        assert not equal_to_rounding(off, expected)
        off[cell] = np.nan
        assert not equal_to_rounding(off, expected)


def test_what_is_not_finite_must_be_the_same() -> None:
    expected = np.array([[np.inf, np.nan], [-np.inf, 1.0]], np.float32)
    assert equal_to_rounding(expected.copy(), expected)
    for cell in np.ndindex(expected.shape):
        off = expected.copy()
        off[cell] = 3.0
        assert not equal_to_rounding(off, expected)


def test_a_scorer_uses_it_for_small_batches_only(carrying: Path) -> None:
    log = make_log(700, seed=12)
    ids = log["user_id"].to_numpy().copy()
    ids[::3] = 1  # unseen in training
    log = log.set_column(log.column_names.index("user_id"), "user_id", pa.array(ids))
    plain = Scorer.load(carrying)
    fast = Scorer.load(carrying, engine="auto")
    assert (plain.engine, fast.engine) == ("torch", "onnx")
    np.testing.assert_array_equal(fast.scores(log), plain.scores(log))
    for rows in (1, 5, 512):
        some = log.slice(3, rows)
        assert equal_to_rounding(fast.scores(some), plain.scores(some))
    assert not np.array_equal(fast.scores(log.slice(0, 512)), plain.scores(log.slice(0, 512)))
    assert fast.unknown["user_id"] > 0
    assert fast.scores(log.slice(0, 0)).shape == (0, len(plain.columns))


def test_asked_for_by_name_it_scores_large_batches_too(carrying: Path) -> None:
    """In chunks of one shape: equal to torch's to rounding, and whatever the threads."""
    log, plain = make_log(1_300, seed=12), Scorer.load(carrying)
    fast = Scorer.load(carrying, engine="onnx", threads=2)
    assert equal_to_rounding(fast.scores(log), plain.scores(log))
    assert not np.array_equal(fast.scores(log), plain.scores(log))
    alone = Scorer.load(carrying, engine="onnx", threads=1)
    np.testing.assert_array_equal(fast.scores(log), alone.scores(log))


def test_rankings_agree(carrying: Path) -> None:
    log = make_log(300, seed=3)
    by = "p_click * p_buy_given_click"
    plain = Ranker(Scorer.load(carrying)).rank(log, by=by, group="request", k=5)
    fast = Ranker(Scorer.load(carrying, engine="onnx")).rank(log, by=by, group="request", k=5)
    assert fast["item"].equals(plain["item"])
    np.testing.assert_allclose(fast["rank_score"], plain["rank_score"], rtol=1e-4)


def test_threads_may_share_it(carrying: Path) -> None:
    scorer, log = Scorer.load(carrying, engine="onnx"), make_log(40, seed=4)
    alone = scorer.scores(log)
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: scorer.scores(log), range(64)))
    assert all(np.array_equal(result, alone) for result in results)


def test_a_bundle_without_it_exports_when_asked_and_stays_torch_on_auto(
    bundle: Path, carrying: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Scorer.load(bundle, engine="auto").engine == "torch"
    ready = carrying / "model" / "network.onnx"
    monkeypatch.setattr(onnx_engine, "export", lambda _, path, user=(): shutil.copy(ready, path))
    assert Scorer.load(bundle, engine="onnx").engine == "onnx"


def test_a_network_that_differs_is_refused_or_left_alone(
    carrying: Path, bundle: Path, log: pa.Table, encoder: RowEncoder, tmp_path: Path
) -> None:
    """The same columns, another network: no name or number of columns gives it away."""
    model = make_model(encoder, seed=9)
    other = save_bundle(tmp_path / "b", model=model, encoder=encoder, rows=log, metrics={})
    shutil.copy(carrying / "model" / "network.onnx", tmp_path / "network.onnx")
    loaded = load_bundle(other)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_engine, "NETWORK_FILE", Path("..") / "network.onnx")
        assert Scorer(loaded, engine="auto").engine == "torch"
        with pytest.raises(BundleError, match=r"scores differ by .* use engine='torch'"):
            Scorer(loaded, engine="onnx")


def test_an_exported_file_names_its_bundle_and_columns(
    carrying: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnx

    written = {}

    def write_network(_: object, path: Path, facts: dict[str, str], **options: object) -> Path:
        written.update(facts)
        return path

    monkeypatch.setattr(onnx_export, "write_network", write_network)
    assert export(carrying, tmp_path / "n.onnx") == tmp_path / "n.onnx"
    assert written == {"recmtl.bundle": load_bundle(carrying).fingerprint}
    model = onnx.load(carrying / "model" / "network.onnx")
    onnx.checker.check_model(model)
    facts = {fact.key: fact.value for fact in model.metadata_props}
    assert json.loads(facts["recmtl.columns"])[0] == "p_click"
    axes = {given.name: given.type.tensor_type.shape.dim for given in model.graph.input}
    assert axes["ids"][0].dim_param == axes["numeric"][0].dim_param != ""
    assert (axes["ids"][1].dim_value, axes["numeric"][1].dim_value) == (6, 3)


def test_rubbish_and_other_columns_are_refused(carrying: Path, tmp_path: Path) -> None:
    (tmp_path / "n.onnx").write_bytes(b"rubbish")
    with pytest.raises(BundleError, match="no ONNX network"):
        OnnxNetwork(tmp_path / "n.onnx", ["p_click"])
    with pytest.raises(BundleError, match="scores other columns"):
        OnnxNetwork(carrying / "model" / "network.onnx", ["p_click"])


def test_engines_are_named(bundle: Path) -> None:
    with pytest.raises(ConfigError, match="engine 'tensorrt' is not one of torch, onnx, auto"):
        Scorer.load(bundle, engine="tensorrt")


def test_without_the_packages_one_line_says_what_to_install(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert Scorer.load(bundle, engine="auto").engine == "torch"

    def missing(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(ConfigError, match=r"onnxruntime is not installed: pip install 'recmtl\[on"):
        Scorer.load(bundle, engine="onnx")


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=8), st.integers(-8, 8))
def test_equal_to_rounding_is_reflexive_and_knows_no_unit(column, exponent):
    """Scores and expectation doubled together stay as near; below 0.1 the bound is absolute."""
    expected = np.array(column, np.float32)[:, None]
    assert equal_to_rounding(expected, expected)
    largest = np.abs(expected).max()
    near, far = expected.astype(np.float64) + 1e-7 * largest, expected + 1e-3 * (1 + largest)
    assert equal_to_rounding(near, expected) and not equal_to_rounding(far, expected)
    if largest * 2.0**exponent > 0.1:
        factor = 2.0**exponent
        assert equal_to_rounding(near * factor, (expected * np.float32(factor)))


def test_the_rows_of_the_proof_are_rows_that_a_log_could_hold(bundle: Path) -> None:
    loaded = load_bundle(bundle)
    ids, numeric = onnx_engine._random_rows(loaded, 500)
    encoder, (owners, firsts) = loaded.encoder, loaded.encoder.unknown_rows()
    singles = len(encoder.encoding.single)
    for column, (owner, first) in enumerate(zip(owners, firsts, strict=True)):
        table = next(v for v in encoder.vocabularies.values() if v.first == first)
        values = ids[:, column]
        block = (values >= first) & (values < first + table.rows)
        assert (block if column < singles else block | (values == 0)).all(), owner
        assert (values == first).any(), "unknown ids are among them"
    assert np.isnan(numeric).any(0).all() and np.isfinite(numeric).any(0).all()


def test_the_gap_is_that_of_the_worst_score(carrying: Path, network: OnnxNetwork) -> None:
    loaded = load_bundle(carrying)
    assert network.gap(loaded) == 0.0

    class Off(OnnxNetwork):
        def __init__(self) -> None:
            self.columns = network.columns

        def scores(self, *columns: np.ndarray) -> np.ndarray:
            scores = network.scores(*columns)
            scores[3, 2] += 0.25
            return scores

    assert Off().gap(loaded) == pytest.approx(0.25, abs=1e-3)


def test_an_export_needs_its_packages_and_names_the_first_that_is_missing(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if "script" in name else 1)
    assert onnx_export.missing_package() == "onnxscript"

    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(ConfigError, match=r"^onnx is not installed: pip install 'recmtl\[onnx\]'"):
        export(bundle, tmp_path / "n.onnx")


@pytest.mark.parametrize(
    ("fault", "kind", "message"),
    [
        (RuntimeError("no such\noperator"), BundleError, r"cannot be exported \(no such\)"),
        (KeyError(), BundleError, r"cannot be exported \(KeyError\)"),
        (OSError("disk"), BundleError, r"n\.onnx: cannot write \(disk\)"),
    ],
)
def test_a_network_that_cannot_be_exported_is_told_in_one_line(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault, kind, message
) -> None:
    pytest.importorskip("onnxscript")

    def fail(*_: object) -> None:
        raise fault

    monkeypatch.setattr(onnx_export, "_exported_program", fail)
    before = torch.is_grad_enabled()
    with pytest.raises(kind, match=message):
        export(bundle, tmp_path / "n.onnx")
    assert torch.is_grad_enabled() is before
