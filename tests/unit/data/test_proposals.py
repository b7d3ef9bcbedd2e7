"""What a draft says of values, proposes as comments, and sets aside as a leak."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recmtl.data.describe import describe, described
from recmtl.data.draft.column_facts import column_facts
from recmtl.data.prepare import prepare
from recmtl.errors import SchemaError
from recmtl.schema import ListOf, TextFiles, parse_schema

ROWS = 400


@pytest.fixture
def log(tmp_path: Path) -> Callable[..., str]:
    def write(**columns: Any) -> str:
        pq.write_table(pa.table(columns), tmp_path / "log.parquet")
        return str(tmp_path / "log.parquet")

    return write


def line_of(text: str, start: str) -> str:
    [line] = [line for line in text.splitlines() if line.startswith(f"  {start}:")]
    return line


def uncommented(text: str, *starts: str) -> str:
    for start in starts:
        text = text.replace(f"  # {start}:", f"  {start}:")
    return text


def test_lines_say_range_median_and_common_values(log: Callable[..., str]) -> None:
    text = describe(
        log(
            click=[0, 1] * 200,
            price=np.linspace(0.5, 20, ROWS),
            stock=np.arange(ROWS),
            city=["oslo"] * 300 + ["rome"] * 100,
            tags=[[1, 2, 3]] * 200 + [[4]] * 200,
            at=pa.array(np.arange(ROWS) * 3600 * 10**6, pa.timestamp("us")),
            user_id=np.arange(ROWS) // 4,
        )
    )
    assert "0.5 to 20, median 10.25" in line_of(text, "price")
    assert "0 to 399, median 199.5" in line_of(text, "stock")
    assert "75% are 'oslo'" in line_of(text, "city")
    assert "2.0 a row" in line_of(text, "tags")
    assert "1970-01-01 00:00:00" in line_of(text, "time")
    assert "to 1970-01-17 15:00:00" in line_of(text, "time")
    assert "100 of them, 4.0 rows each" in line_of(text, "group")


def test_a_feature_that_gives_a_task_away_is_ignored_with_the_reason(
    log: Callable[..., str],
) -> None:
    random = np.random.default_rng(0)
    click = random.integers(0, 2, ROWS)
    text = describe(
        log(
            click=click,
            copy=np.where(click == 1, "a", "b"),
            only_after=np.where(click == 1, random.random(ROWS), np.nan),
            noisy=click + random.random(ROWS),
            fair=random.random(ROWS) + click * 0.5,
        )
    )
    schema = parse_schema(text, source="draft")
    assert {feature.name for feature in schema.features} == {"fair"}
    assert set(schema.ignore) == {"copy", "only_after", "noisy"}
    assert "of 'click': known only afterwards?" in text


def test_a_childs_leak_is_judged_where_the_parent_happened(log: Callable[..., str]) -> None:
    random = np.random.default_rng(1)
    click = np.arange(ROWS) % 2
    buy = click * (random.random(ROWS) < 0.5)
    page = np.where(click == 1, buy, random.integers(0, 2, ROWS))
    text = describe(log(click=click, buy=buy, thanks_page=page, x=random.random(ROWS)))
    assert "of 'buy'" in text and "parent: click" in text
    assert {f.name for f in parse_schema(text, source="d").features} == {"x"}


def test_outcomes_without_telling_names_need_only_be_uncommented(
    log: Callable[..., str], tmp_path: Path
) -> None:
    random = np.random.default_rng(2)
    path = log(
        flag=random.integers(0, 2, ROWS),
        watch_ms=random.exponential(100, ROWS),
        x=random.random(ROWS),
    )
    text = describe(path)
    with pytest.raises(SchemaError):
        parse_schema(text, source="draft")
    text = uncommented(text, "flag", "watch_ms").replace("  - watch_ms", "  # ")
    lines = [line for line in text.splitlines() if "flag: {kind: categorical" not in line]
    schema = parse_schema("\n".join(line for line in lines if line != "ignore:"), source="draft")
    assert {task.name: task.kind for task in schema.tasks} == {
        "flag": "binary",
        "watch_ms": "regression",
    }
    assert schema.task("watch_ms").transform == "log1p"
    assert prepare(path, schema, tmp_path / "out").manifest["rows"]["train"] > 0


def test_beside_named_tasks_few_others_are_proposed(log: Callable[..., str]) -> None:
    random = np.random.default_rng(3)
    flags = {f"flag_{i}": random.integers(0, 2, ROWS) for i in range(6)}
    text = describe(log(click=random.integers(0, 2, ROWS), **flags))
    assert text.count("# flag_") == 3
    assert "# 3 more columns hold two values" in text
    assert len(parse_schema(text, source="d").features) == 6


def test_a_history_is_proposed_against_the_candidate(
    log: Callable[..., str], tmp_path: Path
) -> None:
    random = np.random.default_rng(4)
    lengths = random.integers(1, 5, ROWS)
    path = log(
        click=random.integers(0, 2, ROWS),
        item_id=random.integers(0, 90, ROWS),
        seen=[random.integers(0, 90, n).tolist() for n in lengths],
        seen_time=[random.integers(0, 9, n).tolist() for n in lengths],
        time=np.arange(ROWS),
    )
    text = describe(path)
    plain = line_of(text, "seen") + "\n"
    schema = parse_schema(uncommented(text.replace(plain, ""), "seen"), source="draft")
    seen = schema.feature("seen")
    assert isinstance(seen, ListOf)
    assert (seen.pooling, seen.target, seen.times) == ("attention", "item_id", "seen_time")
    assert prepare(path, schema, tmp_path / "out").manifest["rows"]["train"] > 0


def test_text_files_get_the_section_that_they_need(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    rows = [f"u{i % 30},{random.integers(0, 2)},a|b,{i}" for i in range(ROWS)]
    path = tmp_path / "day.v2.csv"
    path.write_text("\n".join(rows) + "\n")
    text = describe(str(path), layout=TextFiles(columns=("user_id", "click", "tags", "n")))
    assert "name: day_v2\n" in text
    assert "\n  columns: [user_id, click, tags, n]\n" in text
    listed = text.replace("  # lists:", "  lists:")
    schema = parse_schema(listed, source="draft")
    assert schema.files is not None and schema.files.lists[0].column == "tags"
    assert prepare(str(path), schema, tmp_path / "out").manifest["rows"]["train"] > 0
    again = describe(str(path), layout=schema.files)
    assert "tags: {kind: list" in again
    assert parse_schema(again, source="again").files == schema.files


def test_a_file_that_says_everything_gets_no_section(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("click,x\n" + "0,1.5\n1,2.5\n" * 50)
    assert "files:" not in describe(str(tmp_path / "log.csv"))


def test_a_rare_label_of_a_small_log_finds_a_split(log: Callable[..., str]) -> None:
    for at in range(0, 60, 3):
        buy = np.zeros(60, np.int64)
        buy[at] = 1
        path = log(click=np.ones(60) - (np.arange(60) % 3 == 1), buy=buy, x=np.arange(60) / 7)
        schema = parse_schema(describe(path), source="draft")
        assert [task.name for task in schema.tasks] == ["click", "buy"]


def test_every_column_has_its_part(log: Callable[..., str]) -> None:
    random = np.random.default_rng(6)
    seen = described(
        log(
            click=random.integers(0, 2, ROWS),
            x=random.random(ROWS),
            ts=np.arange(ROWS),
            same=[1] * ROWS,
        )
    )
    parts = {name: part for name, (part, _) in seen.parts.items()}
    assert parts == {"click": "task", "x": "feature", "ts": "time", "same": "ignored"}
    assert [column.name for column in seen.columns] == ["click", "x", "ts", "same"]
    assert (seen.rows, seen.sampled, seen.files) == (ROWS, ROWS, 1)


@pytest.mark.parametrize(
    ("values", "shape", "bars"),
    [([1.0, 2.0], "float", 12), ([3.0, 3.0], "float", 0), ([None, None], "float", 0)],
)
def test_bars_count_every_value(values: list[Any], shape: str, bars: int) -> None:
    facts = column_facts(pa.chunked_array([pa.array(values, pa.float64())]), shape)
    assert len(facts.bars) == bars
    assert sum(facts.bars) == (len(values) if bars else 0)


def test_parts_of_times_are_proposed_and_prepare_as_they_stand(
    log: Callable[..., str], tmp_path: Path
) -> None:
    seconds = 1_700_000_000 + np.arange(ROWS) * 3607
    data = log(
        click=[0, 1] * 200,
        price=np.linspace(0.5, 20, ROWS),
        time_ms=seconds * 1000,
        upload_ts=(seconds - 5000) // 7 * 7000,
        made=[None, *(seconds[1:] - 9000) * 1000],
        stock=np.arange(ROWS) + 10**6,
        seen_at=pa.array(seconds // 9 * 9 * 10**6, pa.timestamp("us")),
        read_date=pa.array(np.full(ROWS, 19_700) + np.arange(ROWS) % 2, pa.int32()).cast(
            pa.date32()
        ),
        step_time=np.arange(ROWS) % 60,
    )
    text = describe(data)
    own = "# time_ms: {kind: datetime, parts: [hour, weekday], unit: ms}"
    aged = "# upload_ts: {kind: datetime, parts: [hour, weekday], unit: ms, until: time_ms}"
    assert own in text and aged in text
    assert "# made: {kind: datetime, parts: [hour, weekday], unit: ms, until: time_ms}" in text
    assert "# stock: {kind: datetime" not in text
    assert "# seen_at: {kind: datetime, parts: [hour, weekday]}" in text
    assert "# read_date: {kind" not in text and "# step_time: {kind: datetime" not in text
    chosen = uncommented(text, "time_ms", "upload_ts", "seen_at")
    for name in ("upload_ts", "seen_at"):
        chosen = chosen.replace(f"  - {name}", f"  # - {name}")
    prepared = prepare(data, parse_schema(chosen, source="draft"), tmp_path / "log")
    assert (
        "upload_ts.age" in prepared.encoding.fields and "seen_at.hour" in prepared.encoding.fields
    )


def test_the_age_of_a_date_is_proposed_beside_dates(log: Callable[..., str]) -> None:
    days = np.arange(ROWS) // 2 + 19_000
    dates = {
        name: pa.array(days - by, pa.int32()).cast(pa.date32())
        for name, by in (("date", 0), ("born_date", 9))
    }
    text = describe(log(click=[0, 1] * 200, price=np.linspace(0.5, 20, ROWS), **dates))
    assert "# date: {kind: datetime, parts: [weekday]}" in text
    assert "# born_date: {kind: datetime, parts: [weekday], until: date}" in text


def test_heads_are_proposed_for_ratings_counts_and_watch_times(log: Callable[..., str]) -> None:
    dice = np.random.default_rng(0)
    duration = dice.integers(5, 400, ROWS) * 1000
    text = describe(
        log(
            click=dice.integers(0, 2, ROWS),
            stars=dice.integers(1, 6, ROWS),
            click_count=dice.poisson(3.0, ROWS) * dice.integers(1, 60, ROWS),
            duration_ms=duration,
            play_time_ms=duration * dice.random(ROWS),
            at=pa.array(np.arange(ROWS) * 3600 * 10**6, pa.timestamp("us")),
        )
    )
    for line in (
        "  # stars: {kind: multiclass, label: stars, head: ordinal}  # or its 5 values in their",
        "  # click_count: {kind: regression, label: click_count, head: negative_binomial}  # ? 0",
        "  # play_time_ms: {kind: regression, label: play_time_ms, "
        "head: {kind: d2q, duration: duration_ms}}  # or how far up",
    ):
        assert line in text, text
    without = "\n".join(
        line
        for line in text.splitlines()
        if not line.startswith(("  stars:", "ignore:", "  - play_time_ms"))
    )
    chosen = without.replace("  # stars: {kind: multi", "  stars: {kind: multi")
    chosen = chosen.replace(
        "  # play_time_ms: {kind: regression, label: play_time_ms, head",
        "  play_time_ms: {kind: regression, label: play_time_ms, head",
    )
    tasks = {task.name: task.head for task in parse_schema(chosen, source="chosen").tasks}
    assert {name: head and head.kind for name, head in tasks.items()} == {
        "click": None,
        "stars": "ordinal",
        "play_time_ms": "d2q",
    }


@pytest.mark.parametrize("with_time", [True, False])
def test_a_place_is_proposed_as_a_role(log: Callable[..., str], with_time: bool) -> None:
    columns: dict[str, Any] = {"click": [0, 1] * 200, "slot": np.arange(ROWS) % 7}
    if with_time:
        columns["at"] = pa.array(np.arange(ROWS) * 3600 * 10**6, pa.timestamp("us"))
    text = describe(log(**columns, price=np.linspace(0.5, 20, ROWS)))
    start = "  # position: slot" if with_time else "# roles: {position: slot}"
    assert any(line.startswith(f"{start}  # ? the place") for line in text.splitlines()), text
    without = "\n".join(li for li in text.splitlines() if not li.startswith("  slot:"))
    role = parse_schema(without.replace(start, start.replace("# ", "")), source="x").roles.position
    assert role is not None and role.column == "slot"
