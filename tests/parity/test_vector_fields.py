"""Fields of vectors against plain loops: equal values and gradients in float64."""

import math

import torch
from torch import Tensor

from recmtl.data.encoding import Encoding, NumericField, VectorField
from recmtl.model.encoder import TabularEncoder
from recmtl.model.vectors import VectorProjection
from tests.parity.test_encoder_and_funnel import assert_same_gradients

SIZE, LANES = 3, 2
NUMBERS = (NumericField("age", "standard", 1),)
ENCODING = Encoding(4, ("user",), (), NUMBERS, (VectorField("image", 2), VectorField("text", 4)))
GAP = [math.nan] * 4
IDS = torch.tensor([[1], [2], [3]])
NUMERIC = torch.tensor(
    [[0.5, 0.6, -0.8, *GAP], [math.nan, *GAP[:2], 1, 2, 3, 4], [2.0, 0.0, 0.0, *GAP]],
    dtype=torch.float64,
)


def make_encoder() -> TabularEncoder:
    torch.manual_seed(2)
    encoder = TabularEncoder(ENCODING, size=SIZE, lanes=LANES).double()
    encoder.table.sparse = False
    return encoder


def plain_field(projection: VectorProjection, vector: list[float]) -> Tensor:
    """`W v + b`, number by number; the missing vector's own field."""
    if any(map(math.isnan, vector)):
        return projection.missing
    total = projection.offset
    for value, row in zip(vector, projection.weight, strict=True):
        total = total + value * row
    return total


def test_a_vector_is_one_field_of_every_lane() -> None:
    encoder, rows = make_encoder(), []
    lanes = encoder(IDS, NUMERIC)
    assert lanes.shape == (3, LANES, 4 * SIZE) and encoder.width == 4 * SIZE
    for (user,), (age, *numbers) in zip(IDS.tolist(), NUMERIC.tolist(), strict=True):
        number = (
            encoder.missing[0] if math.isnan(age) else encoder.offset[0] + age * encoder.ramps[0, 0]
        )
        image, text = (projection for projection in encoder.vectors)
        fields = [encoder.table.weight[user], number]
        fields += [plain_field(image, numbers[:2]), plain_field(text, numbers[2:])]
        by_lane = torch.stack(fields).view(4, LANES, SIZE)
        rows.append(by_lane.transpose(0, 1).reshape(LANES, -1))
    want = torch.stack(rows)
    torch.testing.assert_close(lanes, want, rtol=0, atol=1e-12)
    assert_same_gradients(encoder, lanes, want)


def test_a_missing_vector_gives_its_map_no_gradient() -> None:
    encoder = make_encoder()
    encoder(IDS[:1], NUMERIC[:1]).sum().backward()
    image, text = encoder.vectors
    assert (text.weight.grad == 0).all() and (text.offset.grad == 0).all()  # type: ignore[union-attr] # tensors
    assert (text.missing.grad == 1).all() and (image.missing.grad == 0).all()  # type: ignore[union-attr] # tensors


def test_parts_and_single_lanes_keep_the_maps_of_their_vectors() -> None:
    encoder = make_encoder()
    whole = encoder(IDS, NUMERIC).view(3, LANES, 4, SIZE)
    part = ENCODING.part({"user", "text"})
    columns = ENCODING.columns_of(part)
    some = encoder.part(part)(IDS[:, columns[0]], NUMERIC[:, columns[1]]).view(3, LANES, 2, SIZE)
    torch.testing.assert_close(some, whole[:, :, [0, 3]])
    torch.testing.assert_close(encoder.only([1])(IDS, NUMERIC).view(3, 1, 4, SIZE), whole[:, 1:])


def test_a_vector_costs_its_product_in_every_lane() -> None:
    without = TabularEncoder(Encoding(4, ("user",), (), NUMBERS), size=SIZE, lanes=LANES).cost()
    cost = make_encoder().cost()
    assert cost.multiply_adds - without.multiply_adds == (2 + 4) * SIZE * LANES
    assert cost.parameters - without.parameters == (2 + 4 + 2 * 2) * SIZE * LANES
