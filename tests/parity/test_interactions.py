"""Interactions of fields against plain loops in float64, and as lanes that a route may drop."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from recmtl.data.encoding import Encoding, ListField, NumericField
from recmtl.errors import ConfigError
from recmtl.grid import (
    LayerRoutes,
    Layout,
    Routes,
    expected_multiply_adds,
    layout_cost,
    prune,
    recmtl_grid,
)
from recmtl.grid.layout import Interaction, InteractionKind
from recmtl.model import ModelSizes, TabularModel, prune_model
from recmtl.model.encoder import TabularEncoder
from recmtl.model.heads import HeadSpec
from recmtl.model.interactions import CrossNetwork, FieldPairs, interaction_of
from recmtl.serve.bundle.request_network import RequestNetwork
from recmtl.serve.scoring.attribution import Attribution
from recmtl.train.config import Grid

F, SIZE, ROWS = 4, 3, 5
WIDTH = F * SIZE
KINDS: tuple[InteractionKind, ...] = ("fm", "fwfm", "dcn", "dcn_low_rank")
EVERY = tuple(Interaction(kind, F, 2 if kind == "dcn_low_rank" else 0) for kind in KINDS)
HEADS = [HeadSpec("click", "binary"), HeadSpec("buy", "binary", parent="click")]
ENCODING = Encoding(
    20, ("user", "item"), (ListField("tags", 2, 3, "mean"),), (NumericField("age", "standard", 1),)
)
IDS = torch.tensor([[1, 5, 6, 7, 0], [2, 5, 0, 0, 0], [1, 6, 8, 8, 7], [3, 9, 9, 0, 0]])
NUMERIC = torch.tensor([[0.5], [float("nan")], [-1.5], [2.0]], dtype=torch.float64)


def plain_pairs(module: FieldPairs, lane: Tensor) -> Tensor:
    """Field by field `s v_i * sum_j r_ij v_j`, for one lane `[D]`."""
    fields = lane.view(F, SIZE)
    rows = []
    for i in range(F):
        total = torch.zeros(SIZE, dtype=lane.dtype)
        for j in range(F):
            pair: float | Tensor = 1.0
            if module.weight is not None:
                pair = (module.weight[i, j] + module.weight[j, i]) / 2
            total = total + (j != i) * pair * fields[j]
        rows.append(module.scale * fields[i] * total)
    return torch.cat(rows)


def plain_crossings(module: CrossNetwork, lane: Tensor) -> Tensor:
    """`x * (W x_l + b) + x_l`, the matrix written out, for one lane `[D]`."""
    crossed = lane
    for product in module.products:
        assert isinstance(product, nn.Sequential)
        matrix, last = torch.eye(WIDTH, dtype=lane.dtype), product[-1]
        for linear in product:
            matrix = linear.weight @ matrix
        crossed = lane * (matrix @ crossed + last.bias) + crossed
    return crossed


@pytest.mark.parametrize("interaction", EVERY, ids=KINDS)
def test_every_interaction_is_its_formula(interaction: Interaction) -> None:
    torch.manual_seed(1)
    module = interaction_of(interaction, WIDTH).double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_()
    results = []
    for plain in (False, True):
        module.zero_grad()
        lanes = torch.arange(ROWS * WIDTH, dtype=torch.float64).view(ROWS, WIDTH).cos()
        lanes.requires_grad_()
        if not plain:
            made = module(lanes)
        elif isinstance(module, FieldPairs):
            made = torch.stack([plain_pairs(module, lane) for lane in lanes])
        else:
            made = torch.stack([plain_crossings(module, lane) for lane in lanes])  # type: ignore[arg-type] # the other kind
        (made * torch.linspace(-1, 1, WIDTH, dtype=torch.float64)).sum().backward()
        gradients = [lanes.grad, *(parameter.grad for parameter in module.parameters())]
        results.append([made.detach(), *gradients])
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=1e-10)


@pytest.mark.parametrize("is_weighted", [False, True])
def test_half_the_sum_of_the_lane_is_the_second_order_term(is_weighted: bool) -> None:
    """Of the factorisation machine, and of the weighted one as long as its weights are 1."""
    module = FieldPairs(F, is_weighted=is_weighted).double()
    lane = torch.randn(1, WIDTH, dtype=torch.float64)
    fields = lane.view(F, SIZE)
    pairs = sum(fields[i] @ fields[j] for i in range(F) for j in range(i))
    torch.testing.assert_close(module(lane).sum() / (2 * module.scale), torch.as_tensor(pairs))


@pytest.mark.parametrize("interaction", EVERY, ids=KINDS)
def test_parameters_are_counted_as_they_are(interaction: Interaction) -> None:
    module = interaction_of(interaction, WIDTH)
    assert interaction.weights(WIDTH) == sum(p.numel() for p in module.parameters())


def layout_of(interactions: Sequence[Interaction] = EVERY, embeddings: str = "shared") -> Layout:
    return recmtl_grid(
        2,
        cells=3,
        widths=(6, 5),
        embeddings=embeddings,  # type: ignore[arg-type] # one of the two
        interactions=interactions,
    )


def make_model(layout: Layout) -> TabularModel:
    torch.manual_seed(4)
    model = TabularModel(ENCODING, HEADS, layout=layout, sizes=ModelSizes(SIZE, (4,))).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        model.encoder.table.weight[0] = 0.0
    return model.eval()


def hearing(layout: Layout, columns: Sequence[int]) -> Routes:
    """The route on which both tasks listen to these columns, and no column skips."""
    *below, last = Routes.full(layout).layers
    edges = (tuple(columns),) * len(last.edges)
    queries = tuple(queries[0] for queries in layout.layers[-1].queries)
    return Routes((*below, LayerRoutes(edges, queries, last.run)))


@pytest.mark.parametrize("embeddings", ["shared", "apart"])
@pytest.mark.parametrize("columns", [(2,), (2, 4), (3,), (3, 6), (0, 5)])
def test_a_pruned_network_holds_the_interactions_that_its_route_hears(
    embeddings: str, columns: tuple[int, ...]
) -> None:
    layout = layout_of(embeddings=embeddings)
    routes, model = hearing(layout, columns), make_model(layout).float()
    small = prune_model(model, routes)
    numeric = NUMERIC.float()
    expected = model.predict(IDS, numeric, routes.decisions(layout))
    torch.testing.assert_close(small.predict(IDS, numeric), expected, rtol=1e-5, atol=1e-6)
    heard = [c for c in columns if c >= 3]
    # Both tasks' gates look at a column of the embeddings if there is more than one edge.
    assert [i.kind for i in small.grid.layout.interactions] == [KINDS[c - 3] for c in heard]
    kept = {id(m) for m in small.encoder.interactions}
    assert len(kept) == len(heard)


def test_the_price_of_a_lane_falls_with_its_columns() -> None:
    layout = layout_of()
    costs = {}
    for columns in [(2,), *((c,) for c in range(3, 7))]:
        routes = hearing(layout, columns)
        pruned = prune(layout, routes).layout
        exact = layout_cost(pruned, input_width=WIDTH).multiply_adds
        decisions = routes.decisions(layout)
        expected = expected_multiply_adds(layout, decisions, input_width=WIDTH)
        assert float(expected) == pytest.approx(exact)
        costs[columns[0]] = exact
    for column, interaction in enumerate(EVERY, 3):
        assert costs[column] - costs[2] == interaction.multiply_adds(WIDTH)


def test_a_network_with_interactions_costs_what_it_holds() -> None:
    model = make_model(layout_of())
    assert model.cost().parameters == sum(parameter.numel() for parameter in model.parameters())


def test_a_layout_is_written_and_read_alike_and_without_interactions_as_before() -> None:
    layout = layout_of()
    assert Layout.from_json(layout.to_json()) == layout
    assert "interactions" not in layout_of(()).to_json()
    assert layout_of(()) == recmtl_grid(2, cells=3, widths=(6, 5))
    with pytest.raises(ConfigError, match="need a lane of embeddings before them"):
        Layout("bare", layout.layers, layout.readout, input_lanes=4, interactions=EVERY)
    with pytest.raises(ConfigError, match="names a kind twice"):
        Grid(interactions=("fm", "fm"))


def test_an_encoder_refuses_interactions_of_other_fields() -> None:
    with pytest.raises(ValueError, match="of 3 fields, and a lane has 4"):
        TabularEncoder(ENCODING, size=SIZE, interactions=[Interaction("fm", 3)])


@pytest.mark.parametrize("user", [{"user"}, {"user", "tags"}, {"item", "age"}])
def test_a_request_multiplies_the_fields_of_both_sides(user: set[str]) -> None:
    model = make_model(layout_of())
    mine, theirs = ENCODING.part(user), ENCODING.part(set(ENCODING.fields) - user)
    columns = [ENCODING.columns_of(part) for part in (mine, theirs)]
    ids, numeric = IDS.clone(), NUMERIC.clone()
    ids[:, columns[0][0]] = ids[2, columns[0][0]]
    numeric[:, columns[0][1]] = numeric[2, columns[0][1]]
    parts = [ids[:1, columns[0][0]], numeric[:1, columns[0][1]]]
    parts += [ids[:, columns[1][0]], numeric[:, columns[1][1]]]
    with torch.no_grad():
        got = RequestNetwork(model, mine.fields).eval()(*parts)
    torch.testing.assert_close(got, model.predict(ids, numeric), rtol=1e-10, atol=1e-12)


def test_contributions_go_through_interactions_to_the_fields() -> None:
    model = make_model(layout_of())
    unknown = torch.tensor([[1, 4, 0, 0, 0]])
    rows = Attribution(model, [0], unknown=unknown).attribute(IDS, NUMERIC, steps=400)
    assert rows.contributions.shape == (4, 1, F)
    gap = rows.predicted - rows.base - rows.contributions.sum(2)
    assert gap.abs().max() < 1e-3
