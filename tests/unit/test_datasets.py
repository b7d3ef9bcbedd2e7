"""The shipped data set folders: every schema is valid, keeps outcomes out, and fits its data."""

from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from recmtl.data.prepare import prepare
from recmtl.schema import Schema, load_schema

ROOT = Path(__file__).resolve().parents[2]
SCHEMAS = {path.parent.name: path for path in sorted((ROOT / "datasets").rglob("schema.yaml"))}
DATA = {
    "brfss_heart2020": "heart_2020_cleaned.parquet",
    "census_income": "train.parquet",
    "kuairand_pure": "log_0425_0430.parquet",
    "incident_updates": "updates.parquet",
    "physionet2012": "set_*_table.parquet",
}
WARNED = {"incident_updates": ["caller_id"], "kuairand_pure": ["user_id"]}
"""Columns of which `prepare` says that most later values share the unknown row."""
NEVER = {
    "physionet2012": {
        "RecordID",
        "SAPS-I",
        "SOFA",
        "Length_of_stay",
        "Survival",
        "In-hospital_death",
    },
    "incident_updates": {
        "breach",
        "reassigned_later",
        "reopened_later",
        "unresolved_24h",
        "many_updates_left",
        "next_within_1h",
        "next_awaiting",
        "incident",
        "time",
        "split",
    },
    "census_income": {"income_50k", "marital_stat", "education", "instance_weight"},
    "kuairand_pure": {
        "is_click",
        "long_view",
        "is_like",
        "is_profile_enter",
        "is_comment",
        "is_follow",
        "is_forward",
        "is_hate",
        "play_time_ms",
        "profile_stay_time",
        "comment_stay_time",
    },
}


def columns(schema: Schema) -> set[str]:
    """Every column that a schema names."""
    roles = {role for role in vars(schema.roles).values() if role}
    labels = {task.label.column for task in schema.tasks}
    split = {schema.split.column} - {None}
    return {f.column for f in schema.features} | labels | roles | split | set(schema.ignore)


def test_there_is_a_card_beside_every_schema() -> None:
    assert set(SCHEMAS) >= {"simulated", *DATA}
    assert [
        name for name, path in SCHEMAS.items() if not path.with_name("README.md").is_file()
    ] == []


@pytest.mark.parametrize("name", SCHEMAS)
def test_schema_is_valid_and_named_after_its_folder(name: str) -> None:
    assert load_schema(SCHEMAS[name]).name == name


def test_kuairand_with_statistics_differs_by_these_alone() -> None:
    folder = SCHEMAS["kuairand_pure"].parent
    schema = load_schema(folder / "schema_statistics.yaml")
    assert len(schema.statistics) == 5
    assert replace(schema, statistics=()) == load_schema(folder / "schema.yaml")


@pytest.mark.parametrize("name", NEVER)
def test_outcomes_are_no_features(name: str) -> None:
    features = {feature.column for feature in load_schema(SCHEMAS[name]).features}
    assert features & NEVER[name] == set()


@pytest.mark.parametrize("name", DATA)
def test_schema_names_the_columns_of_the_data(name: str, real_data: Path) -> None:
    schema = load_schema(SCHEMAS[name])
    tables = [DATA[name], *(table.path for table in schema.tables)]
    files = [path for table in tables for path in (real_data / name).glob(table)]
    found = {column for path in files for column in pq.read_schema(path).names}
    assert columns(schema) == found


@pytest.mark.slow
@pytest.mark.parametrize("name", DATA)
def test_data_are_prepared_as_the_card_says(name: str, real_data: Path, tmp_path: Path) -> None:
    log = prepare(str(real_data / name / DATA[name]), load_schema(SCHEMAS[name]), tmp_path / "log")
    card = SCHEMAS[name].with_name("README.md").read_text()
    warnings = log.manifest["warnings"]
    assert [line.split("'")[1] for line in warnings] == WARNED.get(name, [])
    assert all(f"{rows:,}" in card for rows in log.manifest["rows"].values())
