"""Champion and challenger: the better one is promoted, and no other; both are scored as alone."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recmtl.command.main import main
from recmtl.errors import BundleError, DataError, FormulaError
from recmtl.schema import parse_schema
from recmtl.serve import Scorer, load_bundle
from recmtl.serve.bundle import Bundle
from recmtl.tracking import Tracker
from recmtl.watch.challenge import Challenge, challenge
from tests.late_logs import write_log
from tests.watched_shop import SCHEMA, day, shop_bundle

ROWS = 4000


@pytest.fixture(scope="session")
def weak_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that has learned little: few rows, one pass."""
    return shop_bundle(tmp_path_factory.mktemp("weak"), rows=900, seed=3, epochs=1)


@pytest.fixture(scope="session")
def weak(weak_folder: Path) -> Bundle:
    """That bundle."""
    return load_bundle(weak_folder)


def judged(
    champion: Bundle, challenger: Bundle, tmp_path: Path, columns: dict[str, Any], **settings: Any
) -> Challenge:
    path = write_log(columns, tmp_path / "day.parquet")
    return challenge(champion, challenger, path, **settings)


def test_a_better_challenger_is_promoted_and_a_worse_one_is_not(
    bundle: Bundle, weak: Bundle, tmp_path: Path
) -> None:
    better = judged(weak, bundle, tmp_path, day(ROWS, 1))
    assert better.decision.promote
    assert better.decision.reason.startswith("promoted: better than the champion on")
    worse = judged(bundle, weak, tmp_path, day(ROWS, 1))
    assert not worse.decision.promote
    assert "worse than" in worse.decision.reason
    for task, entry in better.tasks.items():
        gain, loss = entry["champion"]["gain"], worse.tasks[task]["champion"]["gain"]
        assert gain == pytest.approx(-loss, abs=1e-12)


def test_segments_divide_the_day_and_are_judged_apart(
    bundle: Bundle, weak: Bundle, tmp_path: Path
) -> None:
    outcome = judged(weak, bundle, tmp_path, day(ROWS, 1), segments=("place", "age"))
    of_place = {n: s for n, s in outcome.segments.items() if n.startswith("place = ")}
    assert len(of_place) == 8
    assert sum(segment["rows"] for segment in of_place.values()) == ROWS
    quarters = [s for n, s in outcome.segments.items() if n.startswith("age: ")]
    assert [q["rows"] for q in quarters] == [ROWS // 4] * 4
    assert all("gain" in q["tasks"]["click"] for q in quarters)


def test_small_segments_are_counted_and_not_judged(
    bundle: Bundle, weak: Bundle, tmp_path: Path
) -> None:
    columns = day(ROWS, 1)
    columns["land"] = ["A"] * (ROWS - 100) + ["B"] * 99 + [None]
    segments = judged(weak, bundle, tmp_path, columns, segments=("land",)).segments
    assert segments["land = B"] == {"rows": 99, "tasks": {}}
    assert segments["land = missing"]["rows"] == 1
    assert segments["land = A"]["tasks"]


def test_scores_are_those_of_each_bundle_alone(
    bundle: Bundle, weak: Bundle, tmp_path: Path
) -> None:
    columns = day(500, 1)
    outcome = judged(weak, bundle, tmp_path, columns)
    frame = pa.table(columns)
    for column, change in outcome.scores.items():
        alone = [Scorer(b).score(frame)[column].to_numpy() for b in (weak, bundle)]
        assert change.champion == pytest.approx(alone[0].mean(), rel=1e-5)
        assert change.challenger == pytest.approx(alone[1].mean(), rel=1e-5)
        assert change.difference == pytest.approx(np.abs(alone[1] - alone[0]).mean(), rel=1e-4)


def test_a_day_without_labels_shows_what_would_change_and_leaves_the_champion(
    bundle: Bundle, weak: Bundle, tmp_path: Path
) -> None:
    columns = day(ROWS, 1)
    for name in ("clicked", "bought", "watched", "stars"):
        del columns[name]
    outcome = judged(weak, bundle, tmp_path, columns, k=3)
    assert outcome.decision.reason == "left: the day has no labels yet, which alone can decide"
    assert outcome.tasks == {} and outcome.lists is not None
    assert 0 < outcome.lists.overlap < 1 and outcome.lists.changes == ()


def test_tasks_whose_labels_are_there_decide(bundle: Bundle, weak: Bundle, tmp_path: Path) -> None:
    columns = day(ROWS, 1)
    del columns["stars"], columns["bought"]
    outcome = judged(weak, bundle, tmp_path, columns)
    assert set(outcome.tasks) == {"click", "watch"}
    assert outcome.decision.promote


def test_lists_are_ranked_by_the_formula(bundle: Bundle, weak: Bundle, tmp_path: Path) -> None:
    by = "p_click * p_buy_given_click"
    outcome = judged(weak, bundle, tmp_path, day(ROWS, 1), k=3, by=by)
    product = judged(weak, bundle, tmp_path, day(ROWS, 1), k=3, by="p_click_and_buy")
    assert outcome.lists is not None and product.lists is not None
    assert outcome.lists.overlap == pytest.approx(product.lists.overlap, abs=0.01)
    with pytest.raises(FormulaError, match="no column 'p_clik'"):
        judged(weak, bundle, tmp_path, day(100, 1), by="p_clik")


def test_what_cannot_be_compared_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is the champion itself"):
        judged(bundle, bundle, tmp_path, day(100, 1))
    text = SCHEMA.replace("  watch: {kind: regression, label: watched}\n", "")
    schema = parse_schema(text, source="other")
    other = load_bundle(shop_bundle(tmp_path / "other", rows=600, epochs=1, schema=schema))
    with pytest.raises(BundleError, match="the champion has other tasks: value_watch"):
        judged(bundle, other, tmp_path, day(100, 1))


def test_a_segment_that_is_no_column_is_an_error(
    bundle: Bundle, weak: Bundle, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="is missing; did you mean 'place'"):
        judged(weak, bundle, tmp_path, day(100, 1), segments=("plcae",))


def test_the_command_writes_scores_of_both_and_ends_with_a_status(
    folder: Path,
    weak_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Tracker, "feed", lambda tracker: True)
    source, out = write_log(day(ROWS, 1), tmp_path / "day.parquet"), tmp_path / "out"
    words = ["challenge", "--champion", str(weak_folder), "--challenger", str(folder)]
    words += ["--data", str(source)]
    assert main([*words, "--out", str(out), "--segment", "place", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown == json.loads((out / "challenge.json").read_text())
    assert shown["decision"]["promote"] is True
    scores = pq.read_table(out / "scores.parquet")
    assert scores.num_rows == ROWS
    assert {"row", "request", "champion:p_click", "candidate:p_click"} <= set(scores.column_names)
    alone = Scorer.load(folder).score(pq.read_table(source))["p_click"].to_numpy()
    np.testing.assert_array_equal(scores["candidate:p_click"].to_numpy(), alone)
    page = (out / "challenge.html").read_text(encoding="utf-8")
    assert "place = place 3" in page and "NDCG at 10 of click" in page
    journal = "".join(path.read_text() for path in out.rglob("*.jsonl"))
    assert "challenge.gain.click" in journal and "challenge.html" in journal
    words[2], words[4] = words[4], words[2]
    assert main(words) == 5
    assert "worse than" in capsys.readouterr().out
