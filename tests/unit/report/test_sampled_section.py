"""What a report says of a log whose negatives are sampled."""

from recmtl.report.sections.data import data

TASK = {"rows": 1000, "positives": 500, "mean": 0.0476, "std": 0.2, "classes": []}
MANIFEST = {
    "rows": {"train": 1000},
    "tasks": {"click": TASK, "watch": {**TASK, "positives": 0}},
    "sample": {"negatives": {"click": 0.05}, "left_out": {"train": 9500, "validation": 10}},
}


def test_what_was_left_out_and_the_share_of_the_whole_log_are_said() -> None:
    text = data(MANIFEST, {}).content
    assert "train 9,500, validation 10 rows" in text
    assert "the whole log are about: click 4.76%." in text


def test_other_logs_have_no_such_line() -> None:
    plain = {name: part for name, part in MANIFEST.items() if name != "sample"}
    assert "sampled" not in data(plain, {}).content
