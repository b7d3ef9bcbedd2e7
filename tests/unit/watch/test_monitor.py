"""Drift watch: a day like the training is quiet, and what was planted is named."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recmtl.command.main import main
from recmtl.errors import BundleError, DataError
from recmtl.schema.daily.watch import WatchLimits
from recmtl.serve import load_bundle
from recmtl.serve.bundle import Bundle
from recmtl.serve.bundle.manifest import write_manifest
from recmtl.serve.bundle.reference import REFERENCE, Reference
from recmtl.tracking import Tracker
from recmtl.watch.monitor import DayReport, monitor
from tests.late_logs import write_log
from tests.watched_shop import day

ROWS = 4000


def watched(bundle: Bundle, tmp_path: Path, columns: dict[str, Any], **settings: Any) -> DayReport:
    return monitor(bundle, write_log(columns, tmp_path / "day.parquet"), **settings)


def beyond(report: DayReport) -> set[tuple[str, str]]:
    return {(check.kind, check.name) for check in report.beyond}


def resaved(folder: Path, copy: Path, *, reference: str | None) -> Path:
    """A copy of a bundle with another reference, sealed anew."""
    shutil.copytree(folder, copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / REFERENCE).unlink()
    if reference is not None:
        (copy / REFERENCE).write_text(reference)
    write_manifest(copy, {n: manifest[n] for n in ("recmtl", "columns", "input_columns")})
    return copy


@pytest.mark.parametrize("seed", range(3))
def test_a_day_like_the_training_is_within_all_limits(
    bundle: Bundle, tmp_path: Path, seed: int
) -> None:
    report = watched(bundle, tmp_path, day(ROWS, seed))
    assert beyond(report) == set()
    kinds = {check.kind for check in report.checks}
    assert kinds == {"unknown", "feature", "score", "calibration", "auc", "gauc", "loss"}
    assert report.rows == ROWS and report.labelled["click"] == ROWS
    assert report.labelled["buy"] == sum(day(ROWS, seed)["clicked"])
    assert report.notes == ()


def test_a_renamed_category_is_unknown_and_moves_its_feature(
    bundle: Bundle, tmp_path: Path
) -> None:
    columns = day(ROWS, 1)
    columns["place"] = [name.upper() for name in columns["place"]]
    report = watched(bundle, tmp_path, columns)
    assert {("unknown", "place"), ("feature", "place")} <= beyond(report)
    assert report.checks[0].is_beyond
    unknown = next(c for c in report.checks if (c.kind, c.name) == ("unknown", "place"))
    assert unknown.value == 1.0


def test_older_users_move_their_feature_and_the_scores(bundle: Bundle, tmp_path: Path) -> None:
    report = watched(bundle, tmp_path, day(ROWS, 1, age=1.5))
    assert {("feature", "age"), ("score", "p_click"), ("score", "value_watch")} <= beyond(report)
    assert ("feature", "place") not in beyond(report)


def test_fewer_purchases_are_a_fault_of_calibration_alone(bundle: Bundle, tmp_path: Path) -> None:
    report = watched(bundle, tmp_path, day(ROWS, 1, bought=0.5))
    assert beyond(report) == {("calibration", "buy")}
    ratio = next(c for c in report.checks if (c.kind, c.name) == ("calibration", "buy"))
    assert ratio.value == pytest.approx(2.0, rel=0.15)


def test_labels_that_follow_nothing_are_a_fall_of_auc_and_a_growth_of_loss(
    bundle: Bundle, tmp_path: Path
) -> None:
    columns, order = day(ROWS, 1), np.random.default_rng(0).permutation(ROWS)
    for name in ("clicked", "bought", "watched", "stars"):
        columns[name] = np.asarray(columns[name])[order]
    report = watched(bundle, tmp_path, columns)
    assert beyond(report) >= {
        ("auc", "click"), ("gauc", "click"), ("auc", "buy"), ("loss", "watch"), ("loss", "stars"),
    }  # fmt: skip
    assert not any(kind in ("feature", "score", "unknown") for kind, _ in beyond(report))


def test_what_is_a_tenth_of_a_small_day_is_chance(bundle: Bundle, tmp_path: Path) -> None:
    """Twenty rows prove nothing, whatever their index is."""
    report = watched(bundle, tmp_path, day(20, 3))
    assert not [c for c in report.beyond if c.kind in ("feature", "score")]


def test_a_day_without_labels_is_watched_and_says_so(bundle: Bundle, tmp_path: Path) -> None:
    columns = day(ROWS, 1)
    for name in ("clicked", "watched", "stars"):
        del columns[name]
    report = watched(bundle, tmp_path, columns)
    assert {check.kind for check in report.checks} == {"unknown", "feature", "score"}
    assert report.labelled == {"click": 0, "buy": 0, "watch": 0, "stars": 0}
    assert "click: the day has no labels of it yet" in report.notes
    assert "buy: the day has no labels of it yet" in report.notes  # its parent is not known


def test_few_labels_are_not_judged(bundle: Bundle, tmp_path: Path) -> None:
    columns = day(60, 1)
    columns["clicked"] = np.arange(60) % 60 < 5
    columns["bought"] = np.zeros(60, np.int64)
    report = watched(bundle, tmp_path, columns)
    assert "click: 60 rows have a label: too few of a kind to judge" in report.notes


def test_limits_of_the_caller_count_and_ignored_features_do_not(
    bundle: Bundle, tmp_path: Path
) -> None:
    columns = day(ROWS, 1, age=1.5)
    limits = WatchLimits(features=50, scores=50, ignore=("age",))
    report = watched(bundle, tmp_path, columns, limits=limits)
    assert not {kind for kind, _ in beyond(report)} & {"feature", "score"}
    assert ("feature", "age") not in {(c.kind, c.name) for c in report.checks}


def test_weights_stand_for_rows(bundle: Bundle, tmp_path: Path) -> None:
    """Every second purchase is left out, and the others weigh twice."""
    columns = day(4 * ROWS, 5)
    seldom = (columns["bought"] == 1) & (np.random.default_rng(0).random(4 * ROWS) < 0.5)
    weight = np.where(columns["bought"] == 1, 2.0, 1.0)
    kept = {n: np.asarray(v, object if n == "seen" else None)[~seldom] for n, v in columns.items()}
    kept["seen"] = list(kept["seen"])
    schema = replace(
        bundle.encoder.schema, roles=replace(bundle.encoder.schema.roles, sample_weight="w")
    )
    bundle.encoder.schema, before = schema, bundle.encoder.schema
    try:
        weighted = watched(bundle, tmp_path, {**kept, "w": weight[~seldom]})
        plain = watched(bundle, tmp_path, kept)
    finally:
        bundle.encoder.schema = before
    assert beyond(weighted) == set()
    assert ("calibration", "buy") in beyond(plain)


def test_an_empty_day_is_an_error(bundle: Bundle, tmp_path: Path) -> None:
    columns = {name: values[:0] for name, values in day(10, 0).items()}
    columns["seen"] = [[1]][:0]
    with pytest.raises(DataError, match=r"day\.parquet"):
        watched(bundle, tmp_path, columns)


def test_a_reference_is_read_as_it_was_written(bundle: Bundle) -> None:
    assert bundle.reference is not None
    again = Reference.from_json(json.loads(json.dumps(bundle.reference.to_json())))
    assert again == bundle.reference


def test_a_bundle_without_a_reference_is_watched_for_unknown_ids(
    folder: Path, tmp_path: Path
) -> None:
    bundle = load_bundle(resaved(folder, tmp_path / "old", reference=None))
    assert bundle.reference is None
    columns = day(ROWS, 1)
    columns["place"] = ["elsewhere"] * ROWS
    report = watched(bundle, tmp_path, columns)
    assert ("unknown", "place") in beyond(report)
    assert {check.kind for check in report.checks} <= {"unknown", "calibration"}
    assert "earlier release" in report.notes[0]


@pytest.mark.parametrize("text", ["[]", "{}", '{"format": 2}', '{"format": 1, "features": 3}'])
def test_a_damaged_reference_is_refused(folder: Path, tmp_path: Path, text: str) -> None:
    with pytest.raises(BundleError, match=r"reference\.json"):
        load_bundle(resaved(folder, tmp_path / "copy", reference=text))


def test_the_command_writes_a_page_and_ends_with_a_status(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quiet = write_log(day(ROWS, 1), tmp_path / "quiet.parquet")
    words = ["monitor", "--bundle", str(folder), "--data", str(quiet)]
    assert main(words) == 0
    assert "0 of" in capsys.readouterr().out
    columns = day(ROWS, 1)
    columns["place"] = ["<b>elsewhere</b>"] * ROWS
    loud, out = write_log(columns, tmp_path / "loud.parquet"), tmp_path / "out"
    words[-1] = str(loud)
    assert main([*words, "--out", str(out), "--no-track", "--json"]) == 4
    shown = json.loads(capsys.readouterr().out)
    assert shown["drifted"] is True
    assert json.loads((out / "monitor.json").read_text()) == shown
    page = (out / "monitor.html").read_text(encoding="utf-8")
    assert "place" in page and "<b>elsewhere" not in page and "Beyond their limits" in page
    limits = tmp_path / "schema.yaml"
    limits.write_text((folder / "encoder" / "schema.yaml").read_text() + "watch: {unknown: 1.0}\n")
    main([*words, "--limits", str(limits), "--json"])
    kinds = {c["kind"] for c in json.loads(capsys.readouterr().out)["checks"] if c["is_beyond"]}
    assert "unknown" not in kinds


def test_metrics_and_the_page_go_to_the_tracker(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Tracker, "feed", lambda tracker: True)  # MLflow has tests of its own
    quiet = write_log(day(500, 1), tmp_path / "quiet.parquet")
    out = tmp_path / "out"
    main(["monitor", "--bundle", str(folder), "--data", str(quiet), "--out", str(out)])
    journal = "".join(p.read_text() for p in out.rglob("*.jsonl"))
    assert "watch.score.p_click" in journal and "monitor.html" in journal
