"""Target attention against a plain loop over events: equal values and gradients in float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from recmtl.data.encoding import Encoding, ListField
from recmtl.model import fused_attention
from recmtl.model.attention import HIDDEN, SMALLEST, TargetAttention
from recmtl.model.encoder import TabularEncoder

SIZE, LENGTH, ROWS = 3, 5, 23
LISTS = ("watched", "authors", "watched.age")
HISTORIES = st.lists(
    st.lists(st.tuples(*[st.integers(1, ROWS - 1)] * 3), max_size=LENGTH), min_size=1, max_size=4
)


def encoding_of(length: int = LENGTH) -> Encoding:
    """A history with an aligned list with a target, one without, and a list that is pooled."""
    sizes = (("watched", "item", None), ("tags", None, None))
    sizes += (("watched.age", None, "watched"), ("authors", "author", "watched"))
    lists, first = [], 3
    for name, target, align in sizes:
        pooling, width = ("mean", 2) if name == "tags" else ("attention", length)
        lists.append(ListField(name, first, width, pooling, target=target, align=align))
        first += width
    return Encoding(ROWS, ("user", "item", "author"), tuple(lists), ())


def encoder_of(length: int = LENGTH, lanes: int = 1) -> TabularEncoder:
    torch.manual_seed(4)
    encoder = TabularEncoder(encoding_of(length), size=SIZE, lanes=lanes).double()
    with torch.no_grad():
        encoder.table.weight[1:] = torch.randn(ROWS - 1, SIZE * lanes, dtype=torch.float64)
        for parameter in encoder.attention.parameters():
            parameter += torch.randn_like(parameter) * 0.2
    return encoder


def ids_of(histories: list[list[tuple[int, ...]]], length: int = LENGTH) -> Tensor:
    """Rows with the item 4 + row of the author 11, and the events (item, author, age) of each."""
    encoding = encoding_of(length)
    ids = torch.zeros(len(histories), encoding.id_columns, dtype=torch.int64)
    for row, events in enumerate(histories):
        ids[row, :3] = torch.tensor([1, 4 + row, 11])
        ids[row, encoding.lists[1].first] = 7
        for position, event in enumerate(events):
            for name, value in zip(("watched", "authors", "watched.age"), event, strict=True):
                first = next(field.first for field in encoding.lists if field.name == name)
                ids[row, first + position] = value
    return ids


def fields(encoder: TabularEncoder, ids: Tensor) -> dict[str, Tensor]:
    """The lanes `[B, L, size]` of each list of the history."""
    lanes = encoder(ids, torch.empty(len(ids), 0, dtype=torch.float64))
    parts = lanes.unflatten(2, (-1, SIZE)).unbind(2)
    return {name: parts[encoder.encoding.fields.index(name)] for name in LISTS}


def plain_history(encoder: TabularEncoder, row: list[int], lane: int) -> dict[str, Tensor]:
    """One history, one lane, one event and one hidden unit at a time."""
    unit, encoding = encoder.units[0], encoder.encoding
    columns = slice(lane * SIZE, (lane + 1) * SIZE)
    hidden_columns = slice(lane * HIDDEN, (lane + 1) * HIDDEN)
    first = {field.name: field.first for field in encoding.lists}
    embed = encoder.table.weight[:, columns]
    candidate = torch.cat([unit_vector(embed[row[1]]), unit_vector(embed[row[2]])])
    pooled = {name: torch.zeros(SIZE, dtype=torch.float64) for name in LISTS}
    for position in range(encoding.lists[0].length):
        event_ids = {name: row[first[name] + position] for name in LISTS}
        if event_ids["watched"] == 0:
            continue
        event = torch.cat([unit_vector(embed[event_ids[name]]) for name in LISTS])
        hidden = (
            event @ unit.of_events[:, hidden_columns]
            + candidate @ unit.of_targets[:, hidden_columns]
            + (event[: 2 * SIZE] * candidate) @ unit.of_products[:, hidden_columns]
            + unit.bias[hidden_columns]
        )
        weight = hidden.clamp_min(0) @ unit.out[hidden_columns] + unit.out_bias[lane]
        for name in LISTS:
            pooled[name] = pooled[name] + weight * embed[event_ids[name]]
        pooled["watched"] = pooled["watched"] + weight * unit.of_sum[columns]
    return pooled


def unit_vector(vector: Tensor) -> Tensor:
    return vector / torch.sqrt((vector * vector).sum().clamp_min(SMALLEST))


def plain(encoder: TabularEncoder, ids: Tensor) -> dict[str, Tensor]:
    rows = [
        [plain_history(encoder, row, lane) for lane in range(encoder.num_lanes)]
        for row in ids.tolist()
    ]
    return {
        name: torch.stack([torch.stack([lane[name] for lane in row]) for row in rows])
        for name in LISTS
    }


@pytest.mark.parametrize("lanes", [1, 2])
@settings(max_examples=25, deadline=None)
@given(histories=HISTORIES)
def test_lists_are_pooled_as_by_a_plain_loop(
    lanes: int, histories: list[list[tuple[int, ...]]]
) -> None:
    encoder, ids = encoder_of(lanes=lanes), ids_of(histories)
    want = plain(encoder, ids)
    for training in (True, False):
        got = fields(encoder.train(training), ids)
        for name in LISTS:
            torch.testing.assert_close(got[name], want[name], rtol=0, atol=1e-10)


@pytest.mark.parametrize("lanes", [1, 2])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("events", [1, 4, 16_384])
def test_gradients_are_those_of_the_plain_loop(
    lanes: int, training: bool, events: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In training a batch is read in blocks of so many events."""
    monkeypatch.setattr(fused_attention, "EVENTS", events)
    ids = ids_of([[(2, 12, 21), (4, 11, 20), (2, 13, 22)], [(5, 11, 20)], [], [(7, 14, 19)] * 2])
    encoder = encoder_of(lanes=lanes).train(training)
    encoder.table.sparse = False
    gradients = []
    for pooled in (fields(encoder, ids), plain(encoder, ids)):
        probe = torch.Generator().manual_seed(2)
        encoder.zero_grad()
        sum(
            (pooled[name] * torch.randn(pooled[name].shape, generator=probe)).sum()
            for name in LISTS
        ).backward()
        gradients.append(
            {n: p.grad.clone() for n, p in encoder.named_parameters() if p.grad is not None}
        )
    assert {"table.weight", "attention.0.of_products", "attention.0.out"} <= gradients[0].keys()
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0, atol=1e-10)


def test_the_gradient_of_the_table_is_sparse_and_spares_padding() -> None:
    encoder = encoder_of()
    lanes = encoder(ids_of([[(2, 12, 21)], []]), torch.empty(2, 0, dtype=torch.float64))
    lanes.sum().backward()
    gradient = encoder.table.weight.grad
    assert gradient is not None and gradient.is_sparse
    assert gradient.to_dense()[0].abs().sum() == 0
    assert torch.isfinite(gradient.to_dense()).all()


@given(order=st.permutations(range(4)))
def test_permuted_events_have_permuted_weights_and_one_sum(order: list[int]) -> None:
    encoder = encoder_of()
    events = [(2, 12, 21), (4, 11, 20), (9, 13, 22), (4, 10, 19)]
    ids, permuted = ids_of([events]), ids_of([[events[i] for i in order]])
    there, back = weights(encoder, ids)[0], weights(encoder, permuted)[0]
    torch.testing.assert_close(back[:4], there[order])
    torch.testing.assert_close(fields(encoder, permuted), fields(encoder, ids))


def weights(encoder: TabularEncoder, ids: Tensor) -> Tensor:
    events, is_real = encoder.events(ids, encoder.encoding.histories["watched"])
    targets = [encoder.table(ids[:, column]) for column in (1, 2)]
    return encoder.units[0].weights(events, targets, is_real)[0]


def test_a_history_twice_weighs_twice() -> None:
    """Weights go through no softmax: a doubled history doubles the sum."""
    encoder, events = encoder_of(length=6), [(2, 12, 21), (4, 11, 20), (9, 13, 22)]
    once = fields(encoder, ids_of([events], 6))
    twice = fields(encoder, ids_of([events * 2], 6))
    for name in LISTS:
        torch.testing.assert_close(twice[name], 2 * once[name])


def test_an_empty_history_is_zero_and_what_padding_holds_has_no_effect() -> None:
    encoder, ids = encoder_of(), ids_of([[], [(2, 12, 21)]])
    before = fields(encoder, ids)
    assert all(before[name][0].abs().max() == 0 for name in LISTS)
    with torch.no_grad():
        encoder.table.weight[0] = 1e6
    after = fields(encoder, ids)
    assert all(torch.equal(before[name], after[name]) for name in LISTS)


@pytest.mark.parametrize("length", [5, 40, 200])
def test_more_padding_gives_the_same(length: int) -> None:
    events = [[(2, 12, 21), (4, 11, 20)], [], [(9, 13, 22)] * 5]
    got = fields(encoder_of(length), ids_of(events, length))
    torch.testing.assert_close(got, fields(encoder_of(), ids_of(events)), rtol=0, atol=1e-12)


def test_rows_together_are_rows_alone() -> None:
    encoder = encoder_of()
    ids = ids_of([[(2, 12, 21), (4, 11, 20)], [], [(9, 13, 22)] * 5])
    alone = [fields(encoder, ids[i : i + 1]) for i in range(3)]
    together = fields(encoder, ids)
    for name in LISTS:
        torch.testing.assert_close(torch.cat([row[name] for row in alone]), together[name])


def test_one_history_before_many_candidates_is_as_if_each_had_it() -> None:
    encoder, ids = encoder_of(), ids_of([[(2, 12, 21), (4, 11, 20), (9, 13, 22)]])
    every = ids.repeat(7, 1)
    every[:, 1] = torch.arange(4, 11)
    lists, unit = encoder.encoding.histories["watched"], encoder.units[0]
    targets = [encoder.table(every[:, column]) for column in (1, 2)]
    shared = unit(*shuffle(encoder.events(ids, lists), targets))
    apart = unit(*shuffle(encoder.events(every, lists), targets))
    torch.testing.assert_close(shared, apart)


def shuffle(
    events: tuple[list[Tensor], Tensor], targets: list[Tensor]
) -> tuple[list[Tensor], list[Tensor], Tensor]:
    return events[0], targets, events[1]


def test_another_candidate_changes_the_weights() -> None:
    encoder, ids = encoder_of(), ids_of([[(2, 12, 21), (4, 11, 20)]] * 2)
    first, second = weights(encoder, ids)
    assert not torch.allclose(first[:2], second[:2])
    assert first[2:].abs().max() == 0


@pytest.mark.parametrize("lane", [0, 1])
def test_a_lane_alone_computes_what_it_did_beside_others(lane: int) -> None:
    encoder, ids = encoder_of(lanes=2), ids_of([[(2, 12, 21), (4, 11, 20)], []])
    alone, both = fields(encoder.only([lane]), ids), fields(encoder, ids)
    for name in LISTS:
        torch.testing.assert_close(alone[name][:, 0], both[name][:, lane])


def test_a_part_keeps_whole_histories() -> None:
    encoder, ids = encoder_of(), ids_of([[(2, 12, 21), (4, 11, 20)], []])
    part = encoder.encoding.part({"item", "author", *LISTS})
    small = encoder.part(part)
    columns = encoder.encoding.columns_of(part)[0]
    torch.testing.assert_close(fields(small, ids[:, columns]), fields(encoder, ids))


def test_the_cost_counts_the_products_that_are_computed() -> None:
    unit = TargetAttention(3, 2, length=LENGTH, size=SIZE, lanes=2)
    matrices, of_target = 2 * SIZE * HIDDEN, 2 * SIZE * HIDDEN
    events = LENGTH * (3 * SIZE * HIDDEN + HIDDEN + 3 * SIZE)
    lengths = 2 * 3 * SIZE * LENGTH + 2 * 2 * SIZE
    assert unit.multiply_adds == 2 * (matrices + of_target + events + lengths + SIZE)
    parameters = (3 + 2 + 2) * SIZE * HIDDEN + 2 * HIDDEN + 1 + SIZE
    assert sum(p.numel() for p in unit.parameters()) == 2 * parameters


def test_a_fresh_unit_counts_the_events_that_are_the_candidate() -> None:
    """At first an event of another value weighs little, the candidate itself about 1."""
    torch.manual_seed(0)
    unit = TargetAttention(1, 1, length=LENGTH, size=64, lanes=1)
    vectors = torch.randn(40, 64) * 0.05
    events = vectors[torch.arange(40).view(8, LENGTH)]
    real = torch.ones(8, LENGTH, dtype=torch.bool)
    weights = unit.weights([events], [events[:, 2]], real)[0]
    assert (weights[:, 2] - 1).abs().max() < 0.2
    assert weights[:, [0, 1, 3, 4]].abs().max() < 0.2


@pytest.mark.parametrize("scale", [1e-8, 1.0])
def test_gradients_in_training_are_those_of_the_operations_of_torch(scale: float) -> None:
    """Of embeddings below the least length too."""
    ids, gradients = ids_of([[(2, 12, 21), (4, 11, 20)], [(9, 13, 22)]]), []
    for training in (True, False):
        encoder = encoder_of().train(training)
        with torch.no_grad():
            encoder.table.weight[12:] *= scale
        fields(encoder, ids)["authors"].square().sum().backward()
        gradients.append(
            {n: p.grad.to_dense() for n, p in encoder.named_parameters() if p.grad is not None}
        )
    torch.testing.assert_close(gradients[0], gradients[1])


def test_a_graph_that_is_kept_gives_its_gradients_again() -> None:
    encoder = encoder_of()
    total = fields(encoder, ids_of([[(2, 12, 21), (4, 11, 20)], [(9, 13, 22)]]))["watched"].sum()
    total.backward(retain_graph=True)
    once = {
        n: p.grad.to_dense().clone() for n, p in encoder.named_parameters() if p.grad is not None
    }
    total.backward()
    twice = {n: p.grad.to_dense() for n, p in encoder.named_parameters() if p.grad is not None}
    torch.testing.assert_close(twice, {name: 2 * gradient for name, gradient in once.items()})


def test_a_batch_without_events_is_zero_and_trains() -> None:
    encoder = encoder_of()
    vectors = fields(encoder, ids_of([[], []]))
    assert all(vector.abs().max() == 0 for vector in vectors.values())
    sum(vector.sum() for vector in vectors.values()).backward()
    assert encoder.table.weight.grad is not None
    assert encoder.table.weight.grad.to_dense().abs().sum() == 0


def test_an_embedding_of_zeros_has_finite_gradients() -> None:
    encoder = encoder_of()
    with torch.no_grad():
        encoder.table.weight.zero_()
    lanes = encoder(ids_of([[(2, 12, 21)]]), torch.empty(1, 0, dtype=torch.float64))
    lanes.sum().backward()
    for name, parameter in encoder.named_parameters():
        if parameter.grad is not None:
            assert torch.isfinite(parameter.grad.to_dense()).all(), name
