"""Saving: what goes in comes out, files from damaged disks do not, and a failure leaves nothing."""

import importlib.metadata
import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from recmtl.data.row_encoder import RowEncoder
from recmtl.errors import BundleError, ConfigError, DataError
from recmtl.serve import Scorer, load_bundle, save_bundle
from recmtl.serve.bundle import check_serving
from recmtl.serve.bundle import save as saving
from recmtl.serve.bundle.card import model_card
from recmtl.serve.calibration.calibrators import Calibrators, ColumnCalibration, Isotonic, Platt
from tests.chaos.alterations import reseal
from tests.unit.serve.shop import HEADS, USER, make_log, make_model

RELEASED = Path(__file__).parents[3] / "data" / "bundles" / "0.1"
METRICS = {"tasks": {"click": {"verdict": "hurt"}}, "fingerprint": "d1"}


@pytest.fixture(scope="module")
def parts(encoder: RowEncoder, log: pa.Table) -> dict[str, Any]:
    """Everything that a bundle can hold, but for ONNX."""
    maps = {
        "p_click": ColumnCalibration(Isotonic((0.1, 0.6), (0.05, 0.7)), {9: Platt(2.0, -0.1)}),
        "p_rating_2": ColumnCalibration(Platt(1 / 3, 1e-7), kept_negatives=0.3),
    }
    return {
        "model": make_model(encoder),
        "encoder": encoder,
        "rows": log,
        "metrics": METRICS,
        "notes": "Trained on **shop**.",
        "unknown": {"user_id": 0.25, "item": 1 / 3},
        "calibrators": Calibrators(maps, heads=HEADS, encoding=encoder.encoding, segment="user_id"),
        "user": USER,
    }


@pytest.fixture(scope="module")
def full(parts: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_bundle(tmp_path_factory.mktemp("full") / "bundle", **parts)


def test_all_that_was_saved_is_loaded(full: Path, parts: dict[str, Any], log: pa.Table) -> None:
    loaded = load_bundle(full)
    assert loaded.folder == full
    assert (loaded.metrics, loaded.unknown) == (METRICS, parts["unknown"])
    assert loaded.user == ("user_id", "history", "age", "history.count")
    assert loaded.calibrators is not None
    assert loaded.calibrators.columns == parts["calibrators"].columns
    assert loaded.golden.column_names == list(loaded.encoder.input_columns)
    assert loaded.golden.num_rows == 64
    for name, tensor in parts["model"].state_dict().items():
        assert tensor.equal(loaded.model.state_dict()[name]), name
    assert not loaded.model.training
    assert (full / "README.md").read_text().rstrip().endswith("Trained on **shop**.")


def test_a_loaded_bundle_saved_again_is_the_same_bundle(
    full: Path, parts: dict[str, Any], tmp_path: Path
) -> None:
    loaded = load_bundle(full)
    again = {name: getattr(loaded, name) for name in ("model", "encoder", "calibrators", "unknown")}
    again |= {"rows": loaded.golden, "metrics": loaded.metrics, "notes": parts["notes"]}
    save_bundle(tmp_path / "again", user=USER, **again)
    assert load_bundle(tmp_path / "again").fingerprint == loaded.fingerprint


@pytest.mark.parametrize("name", ["grid", "mmoe"])
def test_a_bundle_of_the_first_release_saved_again_scores_the_same_bits(
    name: str, tmp_path: Path
) -> None:
    rows = pa.ipc.open_file(RELEASED / f"{name}.arrow").read_all()
    old = Scorer.load(RELEASED / name, threads=1)
    parts = {part: getattr(old.bundle, part) for part in ("model", "encoder", "metrics")}
    save_bundle(tmp_path / "b", rows=rows, **parts)
    new = Scorer.load(tmp_path / "b", threads=1)
    np.testing.assert_array_equal(new.scores(rows), old.scores(rows))
    assert json.loads((tmp_path / "b" / "manifest.json").read_text())["version"] == 2


def flip_a_bit(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 128])


ALTERATIONS = {
    "a flipped bit": (flip_a_bit, "was altered"),
    "other bytes": (lambda content: bytes(len(content)), "was altered"),
    "a lost byte": (lambda content: content[1:], "bytes, the manifest says"),
    "one more byte": (lambda content: content + b"\0", "bytes, the manifest says"),
    "no bytes": (lambda content: b"", "has 0 bytes"),
    "no file": (None, "is missing"),
}


@pytest.mark.parametrize("alteration", ALTERATIONS)
def test_every_file_is_protected_from(alteration: str, full: Path, tmp_path: Path) -> None:
    change, message = ALTERATIONS[alteration]
    copy = Path(shutil.copytree(full, tmp_path / "copy"))
    names = [path.relative_to(copy) for path in copy.rglob("*") if path.is_file()]
    names.remove(Path("manifest.json"))
    assert len(names) == 11
    for name in names:
        content = (copy / name).read_bytes()
        (copy / name).unlink() if change is None else (copy / name).write_bytes(change(content))
        with pytest.raises(BundleError, match=message) as raised:
            load_bundle(copy)
        assert name.as_posix() in str(raised.value)
        (copy / name).write_bytes(content)
    load_bundle(copy)


@pytest.mark.parametrize("name", ["metrics.json", "unknown.json", "request.json"])
def test_facts_that_are_no_object_are_refused_even_if_sealed(
    name: str, full: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(full, tmp_path / "copy"))
    (copy / name).write_text("[]")
    reseal(copy)
    with pytest.raises(BundleError, match=f"{name}: holds no JSON object"):
        load_bundle(copy)


def test_requests_of_unknown_columns_are_refused_even_if_sealed(full: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(full, tmp_path / "copy"))
    (copy / "request.json").write_text('{"user": ["nobody"]}')
    reseal(copy)
    with pytest.raises(BundleError, match=r"cannot be read \(user: has no column 'nobody'"):
        load_bundle(copy)


def test_requests_that_leave_nothing_to_the_candidates_are_refused_even_if_sealed(
    full: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(full, tmp_path / "copy"))
    columns = list(load_bundle(full).encoder.input_columns)
    (copy / "request.json").write_text(json.dumps({"user": columns}))
    reseal(copy)
    with pytest.raises(BundleError, match="leave some to the candidates"):
        load_bundle(copy)


def test_a_short_log_gives_all_its_rows_as_golden_rows(
    parts: dict[str, Any], log: pa.Table, tmp_path: Path
) -> None:
    save_bundle(tmp_path / "b", **parts | {"rows": log.slice(5, 3)})
    assert load_bundle(tmp_path / "b").golden["age"].equals(log["age"].slice(5, 3))


def test_a_row_far_behind_that_shows_a_missing_value_is_golden(
    parts: dict[str, Any], tmp_path: Path
) -> None:
    rows = make_log(300)
    price = rows["price"].to_numpy(zero_copy_only=False).copy()
    price[~np.isfinite(price)] = 1.0
    price[250] = np.nan
    rows = rows.set_column(
        rows.column_names.index("price"), "price", pa.array(price, from_pandas=True)
    )
    save_bundle(tmp_path / "b", **parts | {"rows": rows})
    golden = load_bundle(tmp_path / "b").golden
    assert golden["user_id"][-1] == rows["user_id"][250] and golden["price"][-1].as_py() is None


def test_a_full_disk_leaves_neither_a_bundle_nor_a_rest(
    parts: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(saving, "save_blend", fail)
    with pytest.raises(BundleError, match=r"No space left on device, [0-9,]+ bytes are free"):
        save_bundle(tmp_path / "b", **parts)
    assert list(tmp_path.iterdir()) == []


def test_a_save_that_fails_leaves_the_bundle_that_was_there(
    full: Path, parts: dict[str, Any], tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(full, tmp_path / "copy"))
    with pytest.raises(ConfigError, match=r"metrics\.json: cannot be written as JSON"):
        save_bundle(copy, **parts | {"metrics": {"a": {1, 2}}})
    assert load_bundle(copy).fingerprint == load_bundle(full).fingerprint


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("model", None, "model is None; give a TabularModel"),
        ("encoder", "e", "encoder is 'e'; give a RowEncoder"),
        ("calibrators", {}, "calibrators is {}; give a Calibrators"),
        ("rows", [1], r"rows is \[1\]; give a Table"),
        ("notes", None, "notes is None; give a str"),
    ],
)
def test_parts_of_other_kinds_are_named(
    parts: dict[str, Any], tmp_path: Path, argument: str, value: object, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        save_bundle(tmp_path / "b", **parts | {argument: value})


def test_what_saving_would_refuse_is_refused_before_training(
    encoder: RowEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_serving(encoder, user=USER, onnx=False)
    with pytest.raises(DataError, match="user: has no column 'agee'; did you mean 'age'"):
        check_serving(encoder, user=["agee"], onnx=False)
    with pytest.raises(ConfigError, match="all features are the user's"):
        check_serving(encoder, user=encoder.input_columns, onnx=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    check_serving(encoder, user=USER, onnx=False)
    with pytest.raises(ConfigError, match=r"onnx is not installed: pip install 'recmtl\[onnx\]'"):
        check_serving(encoder, user=USER, onnx=True)


def test_a_package_without_metadata_has_an_unknown_version(
    parts: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    save_bundle(tmp_path / "b", **parts)
    assert json.loads((tmp_path / "b" / "manifest.json").read_text())["recmtl"] == "unknown"


def test_a_card_shows_what_is_known_and_no_more(encoder: RowEncoder) -> None:
    card = model_card(encoder.schema, ["age"], ["p_click"], {"tasks": {"buy": "helped"}})
    for task, kind, label in (("buy", "binary", "bought"), ("watch", "regression", "watch_s")):
        assert f"| {task} | {kind} | {label} | - |" in card
    assert "fingerprint" not in card and "## Calibration" not in card
    corrected = {"segment": "", "method": "none", "columns": {}, "kept_negatives": {"click": 0.2}}
    card = model_card(encoder.schema, [], [], {"calibration": corrected, "fingerprint": "f0"})
    assert "the log has kept: click 0.2." in card and "before -> after" not in card
    assert "Data fingerprint: `f0`" in card
