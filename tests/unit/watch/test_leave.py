"""A run watches a day, and challenges another, as the commands do."""

import json
from pathlib import Path

import pytest

import recmtl
from recmtl.serve.bundle import Bundle
from recmtl.tracking import Tracker
from tests.late_logs import write_log
from tests.watched_shop import day, shop_bundle


def test_a_run_says_whether_a_day_looks_like_its_training(
    folder: Path, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Tracker, "feed", lambda tracker: True)
    run, out = recmtl.Run(folder.parent), tmp_path / "watch"
    usual = run.monitor(write_log(day(800, 5), tmp_path / "usual.parquet"))
    assert not usual.beyond and usual.bundle[1] == bundle.fingerprint
    assert sorted(path.name for path in tmp_path.iterdir()) == ["usual.parquet"]
    older = write_log(day(800, 5, age=2.0), tmp_path / "older.parquet")
    report = run.monitor(older, out=out)
    assert "age" in [check.name for check in report.beyond]
    assert "age" in repr(report) and len(repr(report).splitlines()) == 1
    assert json.loads((out / "monitor.json").read_text()) == report.to_json()
    journal = "".join(path.read_text() for path in out.rglob("*.jsonl"))
    assert "watch.feature.age" in journal and "monitor.html" in journal


def test_what_is_not_tracked_leaves_no_journal(folder: Path, tmp_path: Path) -> None:
    source, out = write_log(day(300, 6), tmp_path / "day.parquet"), tmp_path / "watch"
    recmtl.Run(folder.parent).monitor(source, out=out, track=False)
    assert sorted(path.name for path in out.iterdir()) == ["monitor.html", "monitor.json"]


def test_a_run_is_compared_with_another_run_and_with_a_bundle(folder: Path, tmp_path: Path) -> None:
    weak = shop_bundle(tmp_path / "weak", rows=300, epochs=1)
    source = write_log(day(1500, 1), tmp_path / "day.parquet")
    run = recmtl.Run(folder.parent)
    outcomes = [
        run.challenge(champion, source, segments=["place"])
        for champion in (recmtl.Run(weak.parent), weak)
    ]
    assert outcomes[0].to_json() == outcomes[1].to_json()
    assert outcomes[0].decision.promote
    assert outcomes[0].decision.reason in repr(outcomes[0])
    assert not recmtl.Run(weak.parent).challenge(run, source).decision.promote
