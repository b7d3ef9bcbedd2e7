"""Logs as they are published get in by `describe` and the lines that the guide shows."""

import re
from pathlib import Path

import pytest

from recmtl.command.main import main
from recmtl.data.prepare import prepare
from recmtl.schema import Schema, load_schema

ROOT = Path(__file__).resolve().parents[3]
GUIDE = ROOT / "docs" / "guides" / "known_logs.md"
DOUYIN = (
    "uid,user_city,item_id,author_id,item_city,channel,finish,like,music_id,device,time,"
    "duration_time"
)
FUNNEL = {"click": None, "conversion": "click"}
BOUGHT = {"click": None, "purchase": "click"}
CASES: dict[str, tuple[str, dict[str, str | None]]] = {
    "aliexpress_train_sample.csv": ("", FUNNEL),
    "aliexpress_test_sample.csv": ("", FUNNEL),
    "aliexpress_*_sample.csv": ("", FUNNEL),
    "fuxictr_tiny_mtl_train.csv": ("", {"click": None, "conversion": "click"}),
    "fuxictr_tiny_mtl_test.csv": ("", {"click": None, "conversion": "click"}),
    "ali_ccp_train_sample.csv": ("", BOUGHT),
    "ali_ccp_val_sample.csv": ("", BOUGHT),
    "ali_ccp_*_sample.csv": ("", BOUGHT),
    "criteo_sample.txt": ("", {"label": None}),
    "avazu_sample.txt": ("", {"click": None}),
    "byterec_douyin_sample.txt": (DOUYIN, {"finish": None, "like": None}),
    "paddlerec_esmm_aliccp_*.txt": ("id,click,buy", {"click": None, "buy": "click"}),
}
"""Names of columns to give, and the tasks of the draft with their parents."""


def drafted(data: str, columns: str, tmp_path: Path) -> Path:
    arguments = ["describe", "--data", data, "--out", str(tmp_path / "schema.yaml")]
    assert main([*arguments, "--columns", columns]) == 0
    return tmp_path / "schema.yaml"


@pytest.mark.parametrize("name", CASES)
def test_a_published_log_gets_in_without_an_edit(
    name: str, real_data: Path, tmp_path: Path
) -> None:
    columns, tasks = CASES[name]
    data = str(real_data / "schema_samples" / name)
    schema = load_schema(drafted(data, columns, tmp_path))
    parents = {task.name: task.parent for task in schema.tasks}
    assert {task: parents[task] for task in tasks if task in parents} == {
        task: parent if parents.get(task) or parent is None else None
        for task, parent in tasks.items()
    }
    log = prepare(data, schema, tmp_path / "log")
    assert all(rows > 0 for rows in log.manifest["rows"].values())
    assert (tmp_path / "schema_profile.html").read_text().startswith("<!doctype html>")


def test_every_sample_is_tried(real_data: Path) -> None:
    folder = real_data / "schema_samples"
    tried = {path.name for name in CASES for path in folder.glob(name)}
    assert {path.name for path in folder.iterdir()} - tried == {"README.md"}


def test_roles_and_kinds_are_those_that_a_person_would_give(
    real_data: Path, tmp_path: Path
) -> None:
    def schema(name: str) -> Schema:
        data = str(real_data / "schema_samples" / name)
        return load_schema(drafted(data, CASES[name][0], tmp_path))

    douyin = schema("byterec_douyin_sample.txt")
    assert (douyin.roles.group, douyin.roles.time, douyin.split.by) == ("uid", "time", "time")
    assert {type(feature).__name__ for feature in douyin.features} == {"Categorical"}
    assert schema("avazu_sample.txt").roles.row_id == "id"
    assert schema("aliexpress_*_sample.csv").roles.group == "search_id"
    ali_ccp = schema("ali_ccp_*_sample.csv")
    kinds = {feature.name: type(feature).__name__ for feature in ali_ccp.features}
    assert {kind for name, kind in kinds.items() if name.isdigit()} == {"Categorical"}
    assert {kind for name, kind in kinds.items() if name.startswith("D")} == {"Numeric"}
    pairs = schema("paddlerec_esmm_aliccp_*.txt")
    lists = {f.name for f in pairs.features if type(f).__name__ == "ListOf"}
    assert {"210", "150_14", "127_14"} <= lists


def test_the_edits_of_the_guide_turn_the_draft_into_a_schema(
    real_data: Path, tmp_path: Path
) -> None:
    data = str(real_data / "schema_samples" / "paddlerec_esmm_aliccp_*.txt")
    draft = drafted(data, "", tmp_path)
    [block] = re.findall(r"```diff\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    removed = [line[1:] for line in block.splitlines() if line.startswith("-")]
    added = [line[1:] for line in block.splitlines() if line.startswith("+")]
    assert len(removed) <= 5
    lines, text = [], draft.read_text(encoding="utf-8")
    for line in text.splitlines():
        if not any(line.startswith(old) for old in removed):
            lines.append(line)
        elif line.startswith("  # "):
            name = line.strip(" #").partition(":")[0]
            lines += [new for new in added if new.strip().startswith(f"{name}:")]
    draft.write_text("\n".join(lines) + "\n", encoding="utf-8")
    schema = load_schema(draft)
    assert {task.name: task.parent for task in schema.tasks} == {
        "column_2": None,
        "column_3": "column_2",
    }
    assert prepare(data, schema, tmp_path / "log").manifest["rows"]["train"] > 0
