"""Weights of rows in a prepared log: 0 is absent, 2 is twice, a common factor is nothing."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recmtl.data.columns.numeric import Moments, NumericFit, repeated_quantiles
from recmtl.data.encoded_log import EncodedLog, LogSplit
from recmtl.data.prepare import prepare
from recmtl.errors import DataError
from recmtl.schema import Numeric, Schema, SplitRule

Write = Callable[..., str]
Columns = dict[str, Any]
PARTS = ("train", "validation", "test")
SPLITS = {
    "time": SplitRule("time", 0.2, 0.2),
    "group": SplitRule("group", 0.2, 0.2),
    "random": SplitRule("random", 0.2, 0.2),
    "column": SplitRule("column", column="part"),
}
few = settings(max_examples=30, deadline=None)


def chosen(columns: Columns, rows: np.ndarray) -> Columns:
    return pa.table(columns).take(pa.array(rows)).to_pydict()


def with_parts(columns: Columns) -> Columns:
    return {**columns, "part": np.repeat(PARTS, (240, 80, 80)).tolist()}


def same_logs(
    one: EncodedLog, other: EncodedLog, names: tuple[str, ...] = tuple(LogSplit.__annotations__)
) -> None:
    for part in PARTS:
        for name in names:
            arrays = [getattr(log.split(part), name) for log in (one, other)]
            np.testing.assert_array_equal(*arrays, err_msg=f"{part} {name}")


def same_scalers(one: EncodedLog, other: EncodedLog) -> None:
    """To 12 digits: what is merged batch by batch rounds by where the batches end."""
    for name, scaler in one.encoder().scalers.items():
        like = other.encoder().scalers[name]
        assert scaler.edges == pytest.approx(like.edges, rel=1e-12)
        assert (scaler.mean, scaler.std) == pytest.approx((like.mean, like.std), rel=1e-12)


def same_fits(one: EncodedLog, other: EncodedLog) -> None:
    same_scalers(one, other)
    for task, label in one.label_statistics.items():
        like = other.label_statistics[task]
        assert (label.mean, label.std) == pytest.approx((like.mean, like.std), rel=1e-12)
        assert (label.rows, label.positives, label.classes) == (
            like.rows,
            like.positives,
            like.classes,
        )


@pytest.mark.parametrize("by", SPLITS)
def test_a_row_of_weight_zero_is_absent_to_the_bit(
    schema: Schema, columns: Columns, write: Write, tmp_path: Path, by: str
) -> None:
    """Whatever it holds: an impossible label, no time, a city of its own, a label of a million."""
    schema = replace(schema, split=SPLITS[by])
    zero = np.random.default_rng(1).random(400) < 0.3
    columns = with_parts(columns)
    absent = prepare(write(chosen(columns, np.flatnonzero(~zero))), schema, tmp_path / "absent")
    for name, value in {"ts": None, "is_click": 7, "watch_s": 1e6, "price": np.inf}.items():
        columns[name] = [value if z else v for z, v in zip(zero, columns[name], strict=True)]
    columns["item_id"] = [
        "only here" if z else v for z, v in zip(zero, columns["item_id"], strict=True)
    ]
    columns["w"] = np.where(zero, 0.0, columns["w"])
    there = prepare(write(columns), schema, tmp_path / "there")
    same_logs(there, absent, ("ids", "numeric", "labels", "weight", "group"))
    for part in PARTS:
        kept = np.flatnonzero(~zero)[absent.split(part).row]
        np.testing.assert_array_equal(there.split(part).row, kept)
    for name in ("rows", "unknown", "values", "positives"):
        assert there.manifest[name] == absent.manifest[name]
    same_fits(there, absent)
    assert there.manifest["weights"]["rows_of_weight_0"] == zero.sum()
    assert absent.manifest["weights"]["rows_of_weight_0"] == 0


@pytest.mark.parametrize("factor", [2.0**-100, 1e-30, 1e-7, 3.0, 1e7, 1e39, 1e300])
def test_a_common_factor_changes_no_row(
    schema: Schema, columns: Columns, write: Write, tmp_path: Path, factor: float
) -> None:
    one = prepare(write(columns), schema, tmp_path / "one")
    columns["w"] = columns["w"] * factor
    other = prepare(write(columns), schema, tmp_path / "other")
    same_logs(one, other)
    means = [log.manifest["weights"]["train_mean"] for log in (one, other)]
    assert means[1] == pytest.approx(means[0] * factor)
    same_fits(one, other)


def test_a_weight_of_two_is_the_row_twice(
    schema: Schema, columns: Columns, write: Write, tmp_path: Path
) -> None:
    schema = replace(schema, split=SPLITS["column"])
    schema = replace(
        schema,
        features=tuple(
            replace(f, min_count=1) if f.name == "user_id" else f for f in schema.features
        ),
    )
    columns = with_parts(columns)
    columns["w"] = np.random.default_rng(1).integers(1, 4, 400)
    weighted = prepare(write(columns), schema, tmp_path / "weighted")
    rows = np.repeat(np.arange(400), columns["w"])
    plain = replace(schema, roles=replace(schema.roles, sample_weight=None))
    twice = prepare(write(chosen(columns, rows)), plain, tmp_path / "twice")
    for task, label in weighted.label_statistics.items():
        repeated = twice.label_statistics[task]
        assert (label.mean, label.std) == pytest.approx((repeated.mean, repeated.std), rel=1e-12)
        assert label.rows < repeated.rows
    same_scalers(weighted, twice)


def test_equal_weights_are_no_weights(
    schema: Schema, columns: Columns, write: Write, tmp_path: Path
) -> None:
    columns["w"] = np.full(400, 0.1)
    weighted = prepare(write(columns), schema, tmp_path / "weighted")
    schema = replace(schema, roles=replace(schema.roles, sample_weight=None))
    plain = prepare(write(columns), schema, tmp_path / "plain")
    same_logs(weighted, plain)
    assert weighted.encoder().scalers == plain.encoder().scalers
    assert weighted.manifest["tasks"] == plain.manifest["tasks"]
    assert "weights" not in plain.manifest


def test_weights_have_mean_one_on_train_rows(
    schema: Schema, columns: Columns, write: Write, tmp_path: Path
) -> None:
    columns["w"][240:] *= 5
    log = prepare(write(columns), schema, tmp_path / "log")
    assert log.split("train").weight.mean(dtype=np.float64) == pytest.approx(1.0)
    assert log.split("test").weight.mean() > 4


REFUSED = {
    "all zero": (lambda w: w * 0, "column 'w': all sample weights are 0"),
    "too wide": (
        lambda w: np.where(np.arange(400) == 7, 1e-50, w),
        "range from 1e-50 to 1.4977; clip them to a factor of 1e+30; 0 leaves a row out",
    ),
    "no test": (
        lambda w: np.where(np.arange(400) < 320, w, 0.0),
        "no row falls into test (80 rows have weight 0); correct w or split in the schema",
    ),
    "no validation": (
        lambda w: np.where(np.abs(np.arange(400) - 279.5) > 40, w, 0.0),
        "no row falls into validation (80 rows have weight 0)",
    ),
    "no train": (lambda w: np.where(np.arange(400) < 240, 0.0, w), "no row falls into train"),
    "infinite": (lambda w: w / 0.0, "400 sample weights are missing, infinite or negative"[4:]),
    "text": (lambda w: w.astype(str), "holds string, not numbers"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_weights_that_cannot_be_meant_are_one_clear_error(
    schema: Schema, columns: Columns, write: Write, tmp_path: Path, name: str
) -> None:
    change, message = REFUSED[name]
    columns = {**with_parts(columns), "w": change(columns["w"])}
    with pytest.raises(DataError) as fault:
        prepare(write(columns), replace(schema, split=SPLITS["column"]), tmp_path / "log")
    assert message in str(fault.value)
    assert "\n" not in str(fault.value) and not (tmp_path / "log").exists()


def test_a_weighted_log_of_an_earlier_release_is_prepared_again(
    schema: Schema, columns: Columns, write: Write, tmp_path: Path
) -> None:
    log = prepare(write(columns), schema, tmp_path / "log")
    manifest = json.loads((log.folder / "manifest.json").read_text())
    manifest["fingerprint"] = "of release 0.1"
    (log.folder / "manifest.json").write_text(json.dumps(manifest))
    assert prepare(write(columns), schema, tmp_path / "log").fingerprint == log.fingerprint


@few
@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 9))
def test_whole_number_weights_repeat_values_in_quantiles(seed: int, count: int, bins: int) -> None:
    random = np.random.default_rng(seed)
    values, times = random.integers(0, 9, count) / 7, random.integers(1, 5, count)
    times[0] = 1
    shares = np.linspace(0, 1, bins + 1)
    expected = np.quantile(np.repeat(values, times), shares)
    np.testing.assert_allclose(repeated_quantiles(values, times, shares), expected, atol=1e-12)


@few
@given(st.integers(0, 10_000), st.sampled_from(["piecewise", "quantile", "standard"]))
def test_whole_number_weights_repeat_values_in_scalers(seed: int, encoding: str) -> None:
    random = np.random.default_rng(seed)
    values, times = random.integers(0, 6, 40) / 7, random.integers(1, 4, 40)
    values[random.random(40) < 0.1] = np.nan
    values[0], times[0] = 0.0, 1
    feature = Numeric("x", "x", encoding=encoding, bins=4)
    weighted, repeated = NumericFit(feature), NumericFit(feature)
    for part in (slice(0, 15), slice(15, 40)):
        weighted.add(values[part], times[part] / 100)
        repeated.add(np.repeat(values[part], times[part]))
    one, other = weighted.finish(), repeated.finish()
    assert (one.mean, one.std) == pytest.approx((other.mean, other.std), abs=1e-12)
    assert one.edges == pytest.approx(other.edges, abs=1e-12)


def test_a_constant_has_no_deviation_whatever_its_weights_round_to() -> None:
    for seed in range(20):
        moments = Moments()
        for weights in np.random.default_rng(seed).exponential(size=(3, 11)):
            moments.add(np.full(11, 0.1), weights)
        assert moments.std == 0.0
        assert moments.mean == pytest.approx(0.1)
