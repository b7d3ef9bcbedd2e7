"""Sampled negatives: what is kept, what it counts, and what stays as if nothing was sampled."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recmtl.data.encoded_log import EncodedLog
from recmtl.data.prepare import prepare
from recmtl.errors import SchemaError
from recmtl.evaluate.metrics import auc, calibration_ratio
from recmtl.schema import Label, SampledNegatives, Schema, SplitRule, TaskSpec, parse_schema
from tests.late_logs import late_log, late_schema, write_log

PARTS = ("train", "validation", "test")
SPLITS = {"random": SplitRule("random", 0.2, 0.2), "time": SplitRule("time", 0.2, 0.2)}


def prepared(
    folder: Path, columns: dict[str, Any], *, sample: tuple[SampledNegatives, ...], **changes: Any
) -> EncodedLog:
    folder.mkdir(exist_ok=True)
    schema = replace(late_schema("bought"), sample=sample, **changes)
    return prepare(write_log(columns, folder / "log.parquet"), schema, folder / "log")


def logs(tmp_path: Path, rows: int, share: float, **changes: Any) -> tuple[EncodedLog, EncodedLog]:
    """The whole log and the sampled one."""
    columns, _ = late_log(rows, seed=0)
    sample = (SampledNegatives("buy", share),)
    whole = prepared(tmp_path / "whole", columns, sample=(), **changes)
    return whole, prepared(tmp_path / "sampled", columns, sample=sample, **changes)


@pytest.mark.parametrize("by", SPLITS)
def test_every_positive_and_a_share_of_the_negatives_is_kept_in_its_part(
    tmp_path: Path, by: str
) -> None:
    whole, sampled = logs(tmp_path, 4000, 0.2, split=SPLITS[by])
    left_out = sampled.manifest["sample"]["left_out"]
    for part in PARTS:
        every, kept = whole.split(part), sampled.split(part)
        at = np.searchsorted(every.row, kept.row)
        np.testing.assert_array_equal(every.row[at], kept.row)
        np.testing.assert_array_equal(every.labels[at], kept.labels)
        positive = every.labels[:, 0] == 1
        assert positive[at].sum() == positive.sum()
        negatives = (~positive).sum()
        assert len(kept) - positive.sum() == pytest.approx(0.2 * negatives, rel=0.25)
        assert left_out[part] == len(every) - len(kept)


def test_a_kept_row_counts_for_those_that_are_not(tmp_path: Path) -> None:
    whole, sampled = logs(tmp_path, 20_000, 0.05)
    rows = sampled.split("train")
    weight, label = np.asarray(rows.weight, np.float64), rows.labels[:, 0]
    assert weight.mean() == pytest.approx(1.0, rel=1e-5)
    assert weight[label == 0].min() == weight[label == 0].max()
    assert weight[label == 0][0] / weight[label == 1][0] == pytest.approx(20.0, rel=1e-6)
    rate = whole.label_statistics["buy"].mean
    assert sampled.label_statistics["buy"].mean == pytest.approx(rate, rel=0.1)
    scalers = [log.encoder().scalers["age"] for log in (whole, sampled)]
    assert scalers[1].mean == pytest.approx(scalers[0].mean, abs=0.1)


def test_weights_of_the_log_and_of_the_sample_multiply(tmp_path: Path) -> None:
    columns, _ = late_log(2000, seed=1)
    columns["w"] = np.random.default_rng(0).uniform(0.5, 2, 2000)
    roles = replace(late_schema().roles, sample_weight="w")
    log = prepared(tmp_path / "x", columns, sample=(SampledNegatives("buy", 0.25),), roles=roles)
    rows = log.split("train")
    expected = columns["w"][rows.row] * np.where(rows.labels[:, 0] == 0, 4.0, 1.0)
    np.testing.assert_allclose(rows.weight, expected / expected.mean(), rtol=1e-5)


def test_metrics_of_the_sample_estimate_those_of_the_whole(tmp_path: Path) -> None:
    columns, _ = late_log(40_000, seed=2)
    score = 1 / (1 + np.exp(-(0.5 * (columns["place"] - 1.5) + 0.7 * columns["age"] - 0.9)))
    log = prepared(tmp_path / "x", columns, sample=(SampledNegatives("buy", 0.05),))
    rows = log.split("train")
    every = prepared(tmp_path / "y", columns, sample=()).split("train")
    for metric, tolerance in ((auc, 0.02), (calibration_ratio, 0.05)):
        estimate = metric(rows.labels[:, 0], score[rows.row], np.asarray(rows.weight))
        truth = metric(every.labels[:, 0], score[every.row])
        assert estimate == pytest.approx(truth, abs=tolerance)
        unweighted = metric(rows.labels[:, 0], score[rows.row])
        assert metric is auc or abs(unweighted - truth) > 0.2


def test_the_same_rows_are_kept_however_the_log_is_cut_into_files(tmp_path: Path) -> None:
    columns, _ = late_log(3000, seed=3)
    sample = (SampledNegatives("buy", 0.1, seed=7),)
    one = prepared(tmp_path / "one", columns, sample=sample)
    folder = tmp_path / "cut"
    folder.mkdir()
    for number, first in enumerate(range(0, 3000, 700)):
        cut = {name: values[first : first + 700] for name, values in columns.items()}
        write_log(cut, folder / f"{number}.parquet")
    schema = replace(late_schema("bought"), sample=sample)
    other = prepare(folder, schema, tmp_path / "log")
    for part in PARTS:
        np.testing.assert_array_equal(one.split(part).row, other.split(part).row)
    again = prepared(tmp_path / "seed", columns, sample=(SampledNegatives("buy", 0.1, seed=8),))
    assert not np.array_equal(one.split("train").row, again.split("train").row)


def test_a_row_is_negative_only_if_it_is_for_every_task_and_known_to_be(tmp_path: Path) -> None:
    """Of a funnel's child also where its parent did not happen."""
    columns, _ = late_log(4000, seed=4)
    random = np.random.default_rng(0)
    clicked = np.maximum(columns["bought"], random.integers(0, 2, 4000))
    columns["clicked"] = clicked
    columns["bought"] = np.where(clicked == 1, columns["bought"], np.nan)
    tasks = (
        TaskSpec("click", "binary", Label("clicked")),
        TaskSpec("buy", "binary", Label("bought"), parent="click", missing="ignore"),
    )
    both = (SampledNegatives("click", 0.1), SampledNegatives("buy", 0.3))
    log = prepared(tmp_path / "x", columns, sample=both, tasks=tasks)
    rows = log.split("train")
    kind = np.where(
        rows.labels[:, 1] == 1, "bought", np.where(rows.labels[:, 0], "clicked", "none")
    )
    weights = {name: np.unique(np.round(rows.weight[kind == name], 4)) for name in set(kind)}
    assert all(len(distinct) == 1 for distinct in weights.values())
    # A click is no negative of `click`; a row without one is negative for both: .3 is kept.
    assert weights["clicked"] == weights["bought"]
    assert weights["none"][0] / weights["bought"][0] == pytest.approx(1 / 0.3, rel=1e-3)


def test_statistics_of_the_past_count_every_row(
    tmp_path: Path, schema: Schema, columns: dict[str, Any], write: Callable[..., str]
) -> None:
    text = "{name: past, key: city, of: [click], windows: [4], grain: 1, values: [rate, count]}"
    entry = parse_schema(
        "version: 1\nname: x\nfeatures: {age: {kind: numeric}}\nroles: {time: ts}\nsplit: "
        f"{{by: random}}\ntasks: {{click: {{kind: binary, label: c}}}}\nstatistics: [{text}]",
        source="x",
    ).statistics
    schema = replace(schema, statistics=entry)
    whole = prepare(write(columns), schema, tmp_path / "whole")
    schema = replace(schema, sample=(SampledNegatives("click", 0.3),))
    sampled = prepare(write(columns), schema, tmp_path / "sampled")
    assert sampled.manifest["statistics"] == whole.manifest["statistics"]
    states = [log.encoder().past.entries[0].sums for log in (whole, sampled)]  # type: ignore[union-attr] # there is one
    np.testing.assert_array_equal(states[0].keys, states[1].keys)


FAULTS = {
    "{clik: {negatives: 0.1}}": "there is no task 'clik'; did you mean 'click'",
    "{watch: {negatives: 0.1}}": "'watch' is not binary, so it has no negative rows",
    "{click: {negatives: 0.1}, buy: {negatives: 0.1, seed: 1}}": "give them the seed 0",
    "{click: {negatives: 0}}": "must be above 0",
    "{click: {negative: 0.1}}": "unknown key 'negative'; did you mean 'negatives'",
}


@pytest.mark.parametrize("sample", FAULTS)
def test_a_sample_of_nothing_is_refused(sample: str) -> None:
    text = (
        "version: 1\nname: x\nfeatures: {age: {kind: numeric}}\nsplit: {by: random}\n"
        "tasks: {click: {kind: binary, label: c}, buy: {kind: binary, label: b},"
        f" watch: {{kind: regression, label: w}}}}\nsample: {sample}"
    )
    with pytest.raises(SchemaError, match=FAULTS[sample]):
        parse_schema(text, source="x")
