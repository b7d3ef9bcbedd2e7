"""Fields with embeddings of several sizes against plain loops, in float64."""

import math

import pytest
import torch
from torch import Tensor

from recmtl.data.encoding import Encoding, ListField, NumericField, OwnSize, VectorField
from recmtl.errors import ConfigError
from recmtl.grid.layout import Interaction
from recmtl.model.encoder import TabularEncoder
from recmtl.model.rare_ids import RareIds
from recmtl.model.sized_encoder import SizedEncoder, grown_tables
from tests.parity.test_encoder_and_funnel import assert_same_gradients

SIZE, LANES = 3, 2
BLOCKS = {"user": (1, 4), "item": (5, 5), "kind": (10, 3)}
"""First row and number of rows of each vocabulary."""
SIZES = {"item": 5, "seen": 5, "kind": 2, "kinds": 2, "age": 2, "image": 1}
ENCODING = Encoding(
    table_rows=13,
    single=("user", "item", "kind"),
    lists=(ListField("seen", 3, 3, "mean"), ListField("kinds", 6, 2, "max")),
    numeric=(NumericField("age", "standard", 1), NumericField("price", "standard", 1)),
    vectors=(VectorField("image", 2),),
    own_sizes=(
        OwnSize(1, ("image",)),
        OwnSize(2, ("kind", "kinds", "age"), ((10, 3),)),
        OwnSize(5, ("item", "seen"), ((5, 5),)),
    ),
)
IDS = torch.tensor(
    [[1, 5, 10, 6, 7, 0, 11, 12], [4, 9, 12, 0, 0, 0, 0, 0], [2, 6, 11, 9, 9, 9, 0, 10]]
)
GAP = math.nan
NUMERIC = torch.tensor(
    [[0.5, GAP, 0.6, 0.8], [GAP, 2.0, GAP, GAP], [-1.0, 0.0, 0.0, 1.0]], dtype=torch.float64
)
EXPECTED_ORDER = ("user", "price", "image", "kind", "kinds", "age", "item", "seen")
"""The network's own size first, then the others by size."""


def make_encoder(lanes: int = LANES, **settings: object) -> SizedEncoder:
    torch.manual_seed(1)
    encoder = SizedEncoder(ENCODING, size=SIZE, lanes=lanes, **settings).double()  # type: ignore[arg-type] # of each test
    for part in encoder.encoders:
        part.table.sparse = False
    return encoder


def home_of(encoder: SizedEncoder, field: str) -> TabularEncoder:
    return next(part for part in encoder.encoders if field in part.encoding.fields)


def plain_row(encoder: SizedEncoder, field: str, row: int) -> Tensor:
    """The embedding of a row of the one numbering, found by counting."""
    vocabularies = {"seen": "item", "kinds": "kind"}
    names = [name for name, (first, rows) in BLOCKS.items() if first <= row < first + rows]
    assert names == [vocabularies.get(field, field)]
    weight: Tensor = home_of(encoder, field).table.weight
    return weight[row - BLOCKS[names[0]][0] + 1]


def plain_list(encoder: SizedEncoder, field: str, ids: list[int]) -> Tensor:
    rows = [plain_row(encoder, field, row) for row in ids if row]
    if not rows:
        return torch.zeros(SIZES[field] * LANES, dtype=torch.float64)
    stacked = torch.stack(rows)
    return stacked.mean(0) if field == "seen" else stacked.amax(0)


def plain_number(encoder: SizedEncoder, field: str, value: float) -> Tensor:
    home = home_of(encoder, field)
    if math.isnan(value):
        return home.missing[0]
    return home.offset[0] + value * home.ramps[0, 0]


def plain_vector(encoder: SizedEncoder, vector: list[float]) -> Tensor:
    projection = home_of(encoder, "image").vectors[0]
    if math.isnan(vector[0]):
        missing: Tensor = projection.get_parameter("missing")
        return missing
    weight = projection.get_parameter("weight")
    return projection.get_parameter("offset") + vector[0] * weight[0] + vector[1] * weight[1]


def plain_lanes(encoder: SizedEncoder) -> Tensor:
    """Lanes `[B, LANES, width]`, field by field."""
    rows = []
    for ids, numbers in zip(IDS.tolist(), NUMERIC.tolist(), strict=True):
        fields = {name: plain_row(encoder, name, ids[n]) for n, name in enumerate(BLOCKS)}
        fields["seen"] = plain_list(encoder, "seen", ids[3:6])
        fields["kinds"] = plain_list(encoder, "kinds", ids[6:])
        fields["age"] = plain_number(encoder, "age", numbers[0])
        fields["price"] = plain_number(encoder, "price", numbers[1])
        fields["image"] = plain_vector(encoder, numbers[2:])
        by_lane = [fields[name].view(LANES, -1) for name in EXPECTED_ORDER]
        rows.append(torch.cat(by_lane, 1))
    return torch.stack(rows)


def test_every_field_has_the_size_that_it_was_given() -> None:
    encoder = make_encoder()
    lanes = encoder(IDS, NUMERIC)
    columns = encoder.columns_of_fields()
    assert tuple(columns) == EXPECTED_ORDER
    widths = {field: len(places) for field, places in columns.items()}
    assert widths == {"user": SIZE, "price": SIZE, **SIZES}
    assert encoder.width == ENCODING.lane_width(SIZE) == sum(widths.values())
    want = plain_lanes(encoder)
    torch.testing.assert_close(lanes, want, rtol=0, atol=1e-12)
    assert_same_gradients(encoder, lanes, want)


def test_a_row_gives_the_same_alone_as_in_a_batch() -> None:
    encoder = make_encoder()
    whole = encoder(IDS, NUMERIC)
    for row in range(len(IDS)):
        alone = encoder(IDS[row : row + 1], NUMERIC[row : row + 1])
        torch.testing.assert_close(alone[0], whole[row], rtol=0, atol=1e-12)


def test_padding_is_zero_and_gets_no_gradient() -> None:
    encoder = make_encoder()
    encoder(IDS, NUMERIC).square().sum().backward()
    for part in encoder.encoders:
        if part.encoding.id_columns:
            assert (part.table.weight[0] == 0).all()
            assert part.table.weight.grad is not None and (part.table.weight.grad[0] == 0).all()


def test_fields_all_of_one_other_size_are_a_network_of_that_size() -> None:
    all_fields = OwnSize(4, ENCODING.fields, tuple(BLOCKS.values()))
    encoding = Encoding(**{**vars(ENCODING), "own_sizes": (all_fields,)})
    sized = SizedEncoder(encoding, size=SIZE).double()
    plain = TabularEncoder(Encoding(**{**vars(ENCODING), "own_sizes": ()}), size=4).double()
    plain.load_state_dict(sized.encoders[0].state_dict())
    torch.testing.assert_close(sized(IDS, NUMERIC), plain(IDS, NUMERIC), rtol=0, atol=0)
    assert sized.cost() == plain.cost()


def test_single_lanes_and_parts_keep_their_weights_and_parts_the_tables() -> None:
    encoder = make_encoder()
    whole = encoder(IDS, NUMERIC)
    torch.testing.assert_close(encoder.only([1])(IDS, NUMERIC), whole[:, 1:], rtol=0, atol=1e-12)
    part = ENCODING.part({"user", "seen", "image"})
    ids, numbers = ENCODING.columns_of(part)
    small = encoder.part(part)
    columns = encoder.columns_of_fields()
    kept = [c for name in small.columns_of_fields() for c in columns[name]]
    got = small(IDS[:, ids], NUMERIC[:, numbers])
    torch.testing.assert_close(got, whole[:, :, kept], rtol=0, atol=1e-12)
    assert home_of(small, "seen").table is home_of(encoder, "item").table


def test_columns_are_summed_by_field_in_the_order_of_the_encoding() -> None:
    encoder = make_encoder()
    lanes = encoder(IDS, NUMERIC)
    sums = encoder.by_field(lanes.flatten(1))
    columns = encoder.columns_of_fields()
    for place, field in enumerate(ENCODING.fields):
        want = lanes[:, :, list(columns[field])].sum((1, 2))
        torch.testing.assert_close(sums[:, place], want, rtol=0, atol=1e-12)


def test_rare_ids_become_unknown_in_training_alone() -> None:
    encoder = make_encoder(lanes=1)
    counts, unknown = torch.zeros(13).long().numpy(), torch.tensor([1, 5, 10, 5, 5, 5, 10, 10])
    counts[6:10] = 1
    encoder.rare_ids = RareIds(counts, unknown.int().numpy(), k=1e9)
    replaced = IDS.clone()
    replaced[(IDS >= 6) & (IDS <= 9)] = 5
    torch.manual_seed(0)
    torch.testing.assert_close(encoder(IDS, NUMERIC), encoder.eval()(replaced, NUMERIC))
    assert not torch.equal(encoder(IDS, NUMERIC), encoder(replaced, NUMERIC))


def test_a_size_costs_its_rows_and_its_products() -> None:
    encoder = make_encoder()
    tables = (5 + 1) * 5 + (3 + 1) * 2 + (4 + 1) * SIZE + 1
    numbers = 3 * (2 + SIZE) + (2 + 2) * 1
    assert encoder.cost().parameters == LANES * (tables + numbers)
    assert encoder.cost().multiply_adds == LANES * (2 + SIZE + 2 * 1)


def test_interactions_of_whole_lanes_read_all_sizes_and_those_of_fields_are_refused() -> None:
    fields = ENCODING.num_fields
    encoder = make_encoder(lanes=1, interactions=[Interaction("dcn", fields)])
    lanes = encoder(IDS, NUMERIC)
    assert lanes.shape == (3, 2, encoder.width)
    torch.testing.assert_close(encoder.only([0, 1])(IDS, NUMERIC), lanes, rtol=0, atol=1e-12)
    with pytest.raises(ConfigError, match="fm multiplies embeddings of one size; drop dim"):
        make_encoder(interactions=[Interaction("fm", fields)])


def test_grown_tables_begin_as_the_rows_that_they_start_from() -> None:
    parent = make_encoder()
    # Two more items: later blocks begin two rows later.
    blocks = (OwnSize(1, ("image",)), OwnSize(2, ("kind", "kinds", "age"), ((12, 3),)))
    grown = (*blocks, OwnSize(5, ("item", "seen"), ((5, 7),)))
    encoding = Encoding(**{**vars(ENCODING), "table_rows": 15, "own_sizes": grown})
    later = SizedEncoder(encoding, size=SIZE, lanes=LANES).double()
    starts = torch.tensor([*range(10), 5, 5, 10, 11, 12])
    tables = grown_tables(parent, later, starts)
    later.load_state_dict({**parent.state_dict(), **tables})
    moved = torch.where(IDS >= 10, IDS + 2, IDS)
    torch.testing.assert_close(later(moved, NUMERIC), parent(IDS, NUMERIC), rtol=0, atol=0)
    new, unknown = moved.clone(), IDS.clone()
    new[:, 1], unknown[:, 1] = 11, 5
    torch.testing.assert_close(later(new, NUMERIC), parent(unknown, NUMERIC), rtol=0, atol=0)


def test_an_encoding_with_sizes_is_written_and_read_alike() -> None:
    assert Encoding.from_json(ENCODING.to_json()) == ENCODING
    assert "own_sizes" not in Encoding(4, ("user",), (), ()).to_json()
