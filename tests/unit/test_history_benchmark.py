"""The benchmark of histories measures networks that differ in the history alone."""

from collections.abc import Callable
from typing import Any

import torch

from benchmarks.histories import USER, built, ratio, request, rows_of, schemas, training_step


def test_both_networks_read_the_same_columns_and_differ_in_the_lists() -> None:
    attention, mean = schemas(4).values()
    assert attention.feature_columns() == mean.feature_columns()
    models = {name: built(schema, rows_of(4, 50))[0] for name, schema in schemas(4).items()}
    assert models["attention"].encoder.width - models["mean"].encoder.width == -8
    assert len(models["attention"].encoder.units) == 1 and not models["mean"].encoder.units


def test_a_training_step_moves_every_weight_of_the_unit() -> None:
    rows = rows_of(4, 1024)
    model, encoder = built(schemas(4)["attention"], rows)
    before = {name: p.clone() for name, p in model.encoder.attention.named_parameters()}
    training_step(model, encoder, rows)()
    for name, parameter in model.encoder.attention.named_parameters():
        assert not torch.equal(parameter, before[name]), name


def test_a_request_ranks_its_candidates(tmp_path: Any) -> None:
    rows = rows_of(4, 400)
    model, encoder = built(schemas(4)["attention"], rows)
    ranked = request(model, encoder, rows, folder=tmp_path / "bundle", engine="torch")()
    assert ranked.num_rows == 300 and not set(USER) & set(ranked.column_names)


def test_rounds_alternate_and_the_first_two_do_not_count() -> None:
    calls: list[str] = []
    runs: dict[str, Callable[[], Any]] = {
        name: (lambda name=name: calls.append(name)) for name in ("attention", "mean")
    }
    assert ratio(runs, 3)[0] > 0
    assert calls == ["attention", "mean"] * 5
