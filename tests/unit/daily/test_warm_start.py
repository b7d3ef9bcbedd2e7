"""Networks that start from the weights of another."""

from dataclasses import replace

import numpy as np
import torch

from recmtl.daily.warm_start import warm_start
from recmtl.grid import Layout, mmoe, shared_bottom
from recmtl.model import ModelSizes, TabularModel
from tests.tabular_problems import ENCODING, make_heads, make_split

ROWS = make_split(50, seed=1)
UNKNOWN, NEW = 1, ENCODING.table_rows


def network(layout: Layout, table_rows: int = ENCODING.table_rows, seed: int = 0) -> TabularModel:
    torch.manual_seed(seed)
    encoding = replace(ENCODING, table_rows=table_rows)
    heads = make_heads(ROWS.labels, ROWS.weight)
    return TabularModel(encoding, heads, layout=layout, sizes=ModelSizes()).eval()


def scores(model: TabularModel, ids: np.ndarray) -> np.ndarray:
    return model.predict(torch.from_numpy(ids), torch.from_numpy(np.array(ROWS.numeric))).numpy()


def layout() -> Layout:
    return mmoe(4, experts=3, widths=(8,))


def test_known_values_score_as_before_and_new_ones_as_the_unknown_value() -> None:
    parent, later = network(layout()), network(layout(), NEW + 2, seed=1)
    warm_start(parent, np.array([*range(NEW), UNKNOWN, UNKNOWN]))(later)
    ids = np.array(ROWS.ids)
    assert (scores(later, ids) == scores(parent, ids)).all()
    new, unknown = ids.copy(), ids.copy()
    new[:, 0], unknown[:, 0] = NEW + 1, UNKNOWN
    assert (scores(later, new) == scores(parent, unknown)).all()
    assert (scores(later, new) != scores(parent, ids)).any()


def test_rows_may_move_within_the_table() -> None:
    parent, later = network(layout()), network(layout(), seed=1)
    order = np.append(0, np.random.default_rng(0).permutation(NEW - 1) + 1)
    warm_start(parent, order)(later)
    ids = np.array(ROWS.ids)
    moved = np.argsort(order).astype(np.int32)[ids]
    assert (scores(later, moved) == scores(parent, ids)).all()


def test_the_parent_stays_as_it_is_and_a_start_can_be_made_again() -> None:
    parent, later = network(layout()), network(layout(), seed=1)
    start = warm_start(parent, np.arange(NEW))
    start(later)
    before = {name: tensor.clone() for name, tensor in parent.state_dict().items()}
    with torch.no_grad():
        for parameter in later.parameters():
            parameter.add_(1.0)
    assert all((tensor == before[name]).all() for name, tensor in parent.state_dict().items())
    start(later)
    assert all((tensor == before[name]).all() for name, tensor in later.state_dict().items())


def test_another_layout_has_the_encoder_and_is_drawn_for_the_rest() -> None:
    parent, later = network(layout()), network(shared_bottom(4, widths=(8,)), seed=1)
    drawn = {name: tensor.clone() for name, tensor in later.state_dict().items()}
    warm_start(parent, np.arange(NEW))(later)
    for name, tensor in later.state_dict().items():
        origin = parent.state_dict() if name.startswith("encoder.") else drawn
        assert (tensor == origin[name]).all(), name
