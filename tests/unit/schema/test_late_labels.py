"""A late label in a schema: its short and long forms, and what contradicts it."""

import pytest

from recmtl.errors import SchemaError
from recmtl.schema import Condition, Label, TaskSpec, dump_schema, parse_schema

HEAD = "version: 1\nname: shop\nfeatures: {price: {kind: numeric}}\nsplit: {by: random}\n"
LATE = "{column: bought, time: at, window: 7d}"


def parsed(tasks: str, rest: str = "roles: {time: ts}") -> object:
    return parse_schema(f"{HEAD}{rest}\ntasks: {tasks}", source="s.yaml")


@pytest.mark.parametrize(
    "label",
    [
        "bought",
        LATE,
        "{column: at, is_missing: false, time: at, window: 3600}",
        "{column: bought, time: at, window: 2w, known_until: '2024-05-01T00:00:00'}",
    ],
)
def test_a_label_is_written_as_it_was_read(label: str) -> None:
    schema = parsed(f"{{buy: {{kind: binary, label: {label}}}}}")
    text = dump_schema(schema)
    assert parse_schema(text, source="again") == schema
    assert ("window" in text) == ("window" in label)


def test_a_condition_is_a_label_that_is_not_late() -> None:
    task = TaskSpec("buy", "binary", Condition("bought", equals=1))
    assert task.label == Label("bought", equals=1)
    assert not task.label.is_late


FAULTS = {
    "{column: bought, time: at}": "a late label needs both: time",
    "{column: bought, window: 7d}": "a late label needs both: time",
    "{column: bought, known_until: 3}": "known_until is for a late label",
    "{column: bought, time: at, window: 7x}": "'7x' is no duration",
    "{column: bought, time: at, window: 0d}": "window must be above 0",
    "{column: bought, time: at, windw: 7d}": "unknown key 'windw'; did you mean 'window'",
}


@pytest.mark.parametrize("label", FAULTS)
def test_half_a_late_label_is_refused(label: str) -> None:
    with pytest.raises(SchemaError, match=FAULTS[label]):
        parsed(f"{{buy: {{kind: binary, label: {label}}}}}")


def test_a_late_label_needs_the_time_of_the_rows() -> None:
    with pytest.raises(SchemaError, match=r"s\.yaml:.*tasks\.buy\.label: .*needs roles\.time"):
        parsed(f"{{buy: {{kind: binary, label: {LATE}}}}}", rest="")


def test_only_binary_labels_are_late() -> None:
    with pytest.raises(SchemaError, match="only the label of a binary task can be late"):
        parsed(f"{{buy: {{kind: regression, label: {LATE}}}}}")


def test_the_time_of_an_event_is_no_feature() -> None:
    text = HEAD.replace("{price: {kind: numeric}}", "{at: {kind: categorical}}")
    with pytest.raises(SchemaError, match="'at' is the time of the label of task 'buy'"):
        parse_schema(
            f"{text}roles: {{time: ts}}\ntasks: {{buy: {{kind: binary, label: {LATE}}}}}",
            source="s",
        )


@pytest.mark.parametrize(
    ("child", "refused"),
    [
        ("back", True),
        ("{column: back, time: back_at, window: 8d}", True),
        ("{column: back, time: back_at, window: 604800}", True),
        ("{column: back, time: back_at, window: 1w}", False),
    ],
)
def test_a_child_does_not_outlast_its_late_parent(child: str, refused: bool) -> None:
    tasks = (
        f"{{buy: {{kind: binary, label: {LATE}}}, "
        f"refund: {{kind: binary, parent: buy, label: {child}}}}}"
    )
    if refused:
        with pytest.raises(SchemaError, match="'buy' counts within 7d, so its child cannot"):
            parsed(tasks)
    else:
        parsed(tasks)


@pytest.mark.parametrize(("delay", "refused"), [("6d", True), ("7d", False), ("2w", False)])
def test_statistics_wait_for_a_late_label(delay: str, refused: bool) -> None:
    rest = (
        "roles: {time: ts}\n"
        f"statistics: [{{name: past, key: user, of: [buy], values: [rate], delay: {delay}}}]"
    )
    tasks = f"{{buy: {{kind: binary, label: {LATE}}}}}"
    if refused:
        with pytest.raises(
            SchemaError, match="'buy' happened is known 7d after a row; write delay"
        ):
            parsed(tasks, rest)
    else:
        parsed(tasks, rest)
