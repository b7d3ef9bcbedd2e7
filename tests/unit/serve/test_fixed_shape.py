"""A recorded pass gives the network's own bits, and stands aside where it could not."""

import gc
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recmtl.data.row_encoder import RowEncoder
from recmtl.grid import CATALOG, Layout
from recmtl.model import ModelSizes, TabularModel
from recmtl.model.heads import Chain
from recmtl.model.heads.funnel import AITM, ESCM2_DR, ESMM
from recmtl.serve import Ranker, Scorer, fixed_shape
from recmtl.serve.fixed_shape import FixedShapeModel, TracedNetwork, trace_network
from tests.unit.serve.shop import HEADS, make_model

ROWS = 32


def build(encoder: RowEncoder, layout: Layout, chain: Chain = ESMM) -> TabularModel:
    torch.manual_seed(0)
    sizes = ModelSizes(embedding=4, tower=(5,), chain=chain)
    model = TabularModel(encoder.encoding, HEADS, layout=layout, sizes=sizes).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model


def some_rows(
    encoder: RowEncoder, seed: int, rows: int = ROWS
) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids in every block, lists of every length, missing numbers."""
    dice = np.random.default_rng(seed)
    encoding = encoder.encoding
    ids = dice.integers(0, encoding.table_rows, (rows, encoding.id_columns)).astype(np.int32)
    first = encoding.lists[0].first
    ids[:, first:][np.arange(4) >= dice.integers(0, 5, (rows, 1))] = 0
    numeric = dice.normal(size=(rows, len(encoding.numeric))).astype(np.float32)
    numeric[dice.random(numeric.shape) < 0.3] = np.nan
    return torch.from_numpy(ids), torch.from_numpy(numeric)


def assert_same_bits(encoder: RowEncoder, model: TabularModel) -> None:
    found = trace_network(model, ROWS)
    assert isinstance(found, TracedNetwork) and found.columns == model.columns
    given = [some_rows(encoder, seed) for seed in range(4)]
    given.append((torch.zeros_like(given[0][0]), torch.full_like(given[0][1], torch.nan)))
    for ids, numeric in given:
        assert torch.equal(found.predict(ids, numeric), model.predict(ids, numeric))


@pytest.mark.parametrize("name", sorted(CATALOG))
def test_every_published_layout_scores_the_same_bits(encoder: RowEncoder, name: str) -> None:
    layout = CATALOG[name].layout(len(HEADS), cells=6, widths=(8, 4), depth=2)
    model = build(encoder, layout)
    if any(layer.rate < 1.0 for layer in layout.layers):
        assert trace_network(model, ROWS) is model
    else:
        assert_same_bits(encoder, model)


@pytest.mark.parametrize("chain", [AITM, ESCM2_DR])
def test_every_chain_of_heads_scores_the_same_bits(encoder: RowEncoder, chain: Chain) -> None:
    layout = CATALOG["mmoe"].layout(len(HEADS), cells=4, widths=(8, 4), depth=1)
    assert_same_bits(encoder, build(encoder, layout, chain))


def test_chunks_of_several_threads_score_the_bits_of_the_network(encoder: RowEncoder) -> None:
    model, rows = make_model(encoder), 8 * 40 + 3
    plain, fast = (
        FixedShapeModel(model, chunk_rows=8, threads=3, record=record) for record in (False, True)
    )
    assert plain.model is model and isinstance(fast.model, TracedNetwork)
    ids, numeric = (tensor.numpy() for tensor in some_rows(encoder, 9, rows))
    whole = fast.scores(ids, numeric)
    np.testing.assert_array_equal(whole, plain.scores(ids, numeric))
    np.testing.assert_array_equal(fast.scores(ids[:1], numeric[:1]), whole[:1])


def test_workers_use_one_thread_each_and_the_callers_number_stays(encoder: RowEncoder) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        model = FixedShapeModel(make_model(encoder), chunk_rows=8, threads=2)
        model.scores(*(tensor.numpy() for tensor in some_rows(encoder, 1)))
        pool = model._workers()
        assert [pool.submit(torch.get_num_threads).result() for _ in range(4)] == [1] * 4
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_scorers_record_and_rankers_do_not(bundle: Path) -> None:
    assert isinstance(Scorer.load(bundle)._model.model, TracedNetwork)
    assert not isinstance(Scorer.load(bundle, record=False)._model.model, TracedNetwork)
    assert not isinstance(Ranker.load(bundle).scorer._model.model, TracedNetwork)


def test_threads_may_record_at_the_same_time(encoder: RowEncoder) -> None:
    models = [make_model(encoder, seed=seed) for seed in range(8)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda model: trace_network(model, ROWS), models))
    rows = some_rows(encoder, 3)
    for one, model in zip(found, models, strict=True):
        assert isinstance(one, TracedNetwork)
        assert torch.equal(one.predict(*rows), model.predict(*rows))


def test_weights_are_freed_with_what_was_recorded(encoder: RowEncoder) -> None:
    model = make_model(encoder)
    weight, found = weakref.ref(model.encoder.table.weight), trace_network(model, ROWS)
    given = some_rows(encoder, 2)
    expected = model.predict(*given)
    gc.disable()
    try:
        del model
        assert isinstance(found, TracedNetwork) and torch.equal(found.predict(*given), expected)
        del found
        assert weight() is None
    finally:
        gc.enable()


def test_other_recordings_keep_their_optimiser(encoder: RowEncoder) -> None:
    fast = trace_network(make_model(encoder), ROWS)
    before = torch._C._get_graph_executor_optimize()
    fast.predict(*some_rows(encoder, 1))
    assert torch._C._get_graph_executor_optimize() == before


@pytest.mark.parametrize("fault", [AttributeError, RuntimeError])
def test_a_torch_that_cannot_record_scores_as_before(
    encoder: RowEncoder, fault: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise fault("no recorder")

    model = make_model(encoder)
    monkeypatch.setattr(torch.jit, "trace", refuse)
    assert trace_network(model, ROWS) is model


def test_a_pass_with_other_bits_is_not_used(
    encoder: RowEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, real = make_model(encoder), TracedNetwork.predict

    def other(self: TracedNetwork, ids: torch.Tensor, numeric: torch.Tensor) -> torch.Tensor:
        return real(self, ids, numeric).nextafter(torch.ones(1))

    monkeypatch.setattr(TracedNetwork, "predict", other)
    assert trace_network(model, ROWS) is model


def test_long_passes_and_networks_in_training_are_left_alone(
    encoder: RowEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model(encoder)
    monkeypatch.setattr(fixed_shape, "MOST_TRACED_ROWS", ROWS - 1)
    assert trace_network(model, ROWS) is model
    monkeypatch.undo()
    model.train()
    assert trace_network(model, ROWS) is model


def test_recording_says_nothing(encoder: RowEncoder) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert isinstance(trace_network(make_model(encoder), ROWS), TracedNetwork)


class Noting:
    """Scores a row by its sums, and notes what it was given."""

    columns = ("ids", "numbers")

    def __init__(self) -> None:
        self.shapes: set[tuple[int, ...]] = set()
        self.padding: list[tuple[torch.Tensor, torch.Tensor]] = []

    def predict(self, ids: torch.Tensor, numeric: torch.Tensor) -> torch.Tensor:
        self.shapes.add(tuple(ids.shape))
        self.padding.append((ids[-1].clone(), numeric[-1].clone()))
        return torch.stack([ids.sum(1).float(), numeric.sum(1)], 1)


def plain_rows(rows: int) -> tuple[np.ndarray, np.ndarray]:
    dice = np.random.default_rng(rows)
    return dice.integers(1, 9, (rows, 3)).astype(np.int32), dice.random((rows, 2), np.float32)


@pytest.mark.parametrize("rows", [0, 1, 4, 5, 8, 23])
@pytest.mark.parametrize("threads", [1, 3])
def test_whatever_predicts_is_called_with_one_shape(rows: int, threads: int) -> None:
    predictor, (ids, numeric) = Noting(), plain_rows(rows)
    scores = FixedShapeModel(predictor, chunk_rows=4, threads=threads).scores(ids, numeric)
    assert scores.shape == (rows, 2) and scores.dtype == np.float32
    np.testing.assert_array_equal(scores[:, 0], ids.sum(1))
    np.testing.assert_allclose(scores[:, 1], numeric.sum(1), rtol=1e-6)
    assert predictor.shapes <= {(4, 3)}
    assert len(predictor.padding) == -(-rows // 4)


def test_padding_is_an_empty_row_even_where_a_full_chunk_stood_before() -> None:
    predictor, (ids, numeric) = Noting(), plain_rows(5)
    FixedShapeModel(predictor, chunk_rows=4, threads=1).scores(ids, numeric)
    last_ids, last_numeric = predictor.padding[-1]
    assert last_ids.tolist() == [0, 0, 0] and last_numeric.isnan().all()


def test_the_caller_hears_what_went_wrong_in_a_worker() -> None:
    class Failing(Noting):
        def predict(self, ids: torch.Tensor, numeric: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("out of luck")

    model = FixedShapeModel(Failing(), chunk_rows=4, threads=2)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="out of luck"):
            model.scores(*plain_rows(9))


def test_a_forked_process_starts_workers_of_its_own() -> None:
    model = FixedShapeModel(Noting(), chunk_rows=4, threads=2)
    workers = model._workers()
    assert model._workers() is workers
    model._process -= 1  # as if the pool were another process's
    assert model._workers() is not workers
    np.testing.assert_array_equal(model.scores(*plain_rows(9))[:, 0], plain_rows(9)[0].sum(1))


@pytest.mark.parametrize("enabled", [True, False])
def test_tracing_leaves_the_garbage_collector_as_it_was(encoder: RowEncoder, enabled: bool) -> None:
    before = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        trace_network(make_model(encoder), ROWS)
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if before else gc.disable)()
