"""A bundle loads only if it is, byte for byte and score for score, what was saved."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch
from safetensors.torch import load_file, save_file

from recmtl.data.row_encoder import RowEncoder
from recmtl.errors import BundleError, ConfigError
from recmtl.serve import Scorer, load_bundle, save_bundle
from recmtl.serve.bundle.manifest import write_manifest
from recmtl.serve.scoring.onnx import equal_to_rounding
from tests.chaos.alterations import ACCIDENTS, Target, alter, reseal
from tests.unit.serve.shop import make_log, make_model

WEIGHTS = "model/weights.safetensors"
RELEASED = Path(__file__).parents[3] / "data" / "bundles" / "0.1"


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / "copy"))


def edit_manifest(folder: Path, change: Callable[[dict], object]) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def one_line(raised: pytest.ExceptionInfo[BundleError]) -> str:
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_loaded_model_scores_as_the_saved_one(
    bundle: Path, encoder: RowEncoder, log: pa.Table
) -> None:
    encoded = encoder.encode(log.slice(0, 256))
    saved = make_model(encoder).predict(
        torch.from_numpy(encoded.ids.copy()), torch.from_numpy(encoded.numeric.copy())
    )
    loaded = Scorer.load(bundle).scores(log.slice(0, 256))
    np.testing.assert_allclose(loaded, saved.numpy(), rtol=1e-6, atol=1e-7)


def test_saving_twice_gives_the_same_fingerprint(
    bundle: Path, encoder: RowEncoder, log: pa.Table, tmp_path: Path
) -> None:
    metrics = json.loads((bundle / "metrics.json").read_text())
    model = make_model(encoder)
    again = save_bundle(tmp_path / "b", model=model, encoder=encoder, rows=log, metrics=metrics)
    assert load_bundle(again).fingerprint == load_bundle(bundle).fingerprint


def test_nothing_in_a_bundle_is_a_pickle(bundle: Path) -> None:
    suffixes = {path.suffix for path in bundle.rglob("*") if path.is_file()}
    assert suffixes <= {".json", ".arrow", ".safetensors", ".yaml", ".md"}


def test_golden_rows_show_every_column_that_may_be_missing(
    encoder: RowEncoder, tmp_path: Path
) -> None:
    rows = make_log(500)
    complete = rows.filter(pc.and_(rows["price"].is_valid(), rows["item"].is_valid()))
    rows = pa.concat_tables([complete, rows.filter(rows["price"].is_null())])
    packed = rows["item"].dictionary_encode()
    rows = rows.set_column(rows.column_names.index("item"), "item", packed)
    model = make_model(encoder)
    save_bundle(tmp_path / "b", model=model, encoder=encoder, rows=rows, metrics={})
    golden = load_bundle(tmp_path / "b").golden
    assert golden.num_rows == 64
    assert golden["price"].null_count == 1
    assert golden["item"].type == pa.string()


def test_card_names_tasks_columns_and_verdict(bundle: Path) -> None:
    card = (bundle / "README.md").read_text()
    assert "| click | binary | clicked | helped |" in card
    assert "`p_click_and_buy`" in card


@pytest.mark.parametrize("name", [WEIGHTS, "metrics.json", "golden/rows.arrow", "README.md"])
def test_every_flipped_bit_is_refused(copy: Path, name: str) -> None:
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(BundleError, match="SHA-256") as raised:
        load_bundle(copy)
    assert name in one_line(raised)


def test_truncated_file_is_refused(copy: Path) -> None:
    (copy / WEIGHTS).write_bytes((copy / WEIGHTS).read_bytes()[:-1])
    with pytest.raises(BundleError, match=r"weights\.safetensors has \d+ bytes"):
        load_bundle(copy)


def test_missing_file_is_refused(copy: Path) -> None:
    (copy / WEIGHTS).unlink()
    with pytest.raises(BundleError, match=r"weights\.safetensors is missing"):
        load_bundle(copy)


def test_unlisted_file_is_refused(copy: Path) -> None:
    (copy / "model" / "extra.bin").write_bytes(b"x")
    with pytest.raises(BundleError, match=r"does not list: 'model/extra\.bin'"):
        load_bundle(copy)


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../outside", "model/../../outside", "a\\b", "./x"]
)
def test_listed_paths_cannot_leave_the_folder(copy: Path, path: str) -> None:
    (copy.parent / "outside").write_text("secret")
    edit_manifest(copy, lambda m: m["files"].update({path: {"bytes": 6, "sha256": "0"}}))
    with pytest.raises(BundleError, match="refused path"):
        load_bundle(copy)


@pytest.mark.parametrize("name", [WEIGHTS, "model", "manifest.json"])
@pytest.mark.parametrize("place", ["outside", "copy/inside"])
def test_links_are_refused_wherever_they_lead(copy: Path, name: str, place: str) -> None:
    os.replace(copy / name, copy.parent / place)
    (copy / name).symlink_to(copy.parent / place)
    with pytest.raises(BundleError, match=r"is a link|no readable manifest"):
        load_bundle(copy)


def test_a_link_to_the_folder_is_the_folder(copy: Path, tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to(copy)
    assert load_bundle(tmp_path / "current").fingerprint == load_bundle(copy).fingerprint


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(version=3), "bundle version 3 is not one .* newer one"),
        (lambda m: m.update(version=True), "bundle version True is not one"),
        (lambda m: m.update(format="other"), "not the manifest of a recmtl bundle"),
        (lambda m: m.update(files={}), "lists no files"),
        (lambda m: m["files"][WEIGHTS].pop("sha256"), "no size and SHA-256"),
        (lambda m: m["files"][WEIGHTS].update(bytes=1.0), "size or SHA-256 that is none"),
        (lambda m: m.update(recmtl="9.9"), "was edited"),
        (lambda m: m.update(columns=["p_other"]), "was edited"),
        (lambda m: m.pop("seal"), "was edited"),
        (lambda m: m.update(version=1), "was edited"),
    ],
)
def test_wrong_manifest_is_refused(
    copy: Path, change: Callable[[dict], object], message: str
) -> None:
    edit_manifest(copy, change)
    with pytest.raises(BundleError, match=message) as raised:
        load_bundle(copy)
    one_line(raised)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": 1}'])
def test_damaged_manifest_is_refused(copy: Path, text: str) -> None:
    (copy / "manifest.json").write_text(text)
    with pytest.raises(BundleError, match=r"manifest\.json"):
        load_bundle(copy)


def test_folder_without_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is not a bundle"):
        load_bundle(tmp_path)
    with pytest.raises(BundleError, match="no such folder"):
        load_bundle(tmp_path / "absent")


def test_the_manifest_must_be_the_bytes_that_were_written(copy: Path) -> None:
    edit_manifest(copy, lambda m: None)
    with pytest.raises(BundleError, match="was edited"):
        load_bundle(copy)


def test_a_pipe_is_no_manifest(copy: Path) -> None:
    (copy / "manifest.json").unlink()
    os.mkfifo(copy / "manifest.json")
    with pytest.raises(BundleError, match="no readable manifest"):
        load_bundle(copy)


@pytest.mark.parametrize("seed", range(2 * len(ACCIDENTS)))
def test_random_alterations_are_refused(bundle: Path, tmp_path: Path, seed: int) -> None:
    """The first few of the thousand of tests/chaos/test_bundles.py."""
    folder, outside = tmp_path / "copy", tmp_path / "outside"
    outside.write_text("secret")
    shutil.copytree(bundle, folder)
    shutil.copytree(RELEASED / "grid", tmp_path / "other")
    done = alter(Target(folder, tmp_path / "other", outside, tmp_path / "executed"), seed)
    with pytest.raises(BundleError) as raised:
        load_bundle(folder)
    assert one_line(raised), done
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("key", ["columns", "input_columns"])
def test_parts_of_different_bundles_are_refused(copy: Path, key: str) -> None:
    manifest = json.loads((copy / "manifest.json").read_text())
    facts = {name: manifest[name] for name in ("recmtl", "columns", "input_columns")}
    write_manifest(copy, facts | {key: ["other"]})
    with pytest.raises(BundleError, match=r"columns are not those|not of one bundle"):
        load_bundle(copy)


def test_arrow_offsets_that_leave_the_file_are_refused(copy: Path) -> None:
    """Arrow itself would follow them."""
    rows = pa.ipc.open_file(copy / "golden" / "rows.arrow").read_all()
    place = rows.column_names.index("item")
    item = rows["item"].combine_chunks()
    offsets = np.frombuffer(item.buffers()[1], np.int32).copy()
    offsets[5] = 2**30
    wrong = pa.Array.from_buffers(
        item.type, len(item), [item.buffers()[0], pa.py_buffer(offsets), item.buffers()[2]]
    )
    rows = rows.set_column(place, "item", wrong)
    with pa.ipc.new_file(copy / "golden" / "rows.arrow", rows.schema) as writer:
        writer.write_table(rows)
    reseal(copy)
    with pytest.raises(BundleError, match="cannot be read"):
        load_bundle(copy)


RELEASES = sorted(path.relative_to(RELEASED.parent) for path in RELEASED.parent.glob("*/*.arrow"))


def test_every_release_is_kept() -> None:
    assert {path.parts[0] for path in RELEASES} >= {"0.1"}


@pytest.mark.parametrize("name", RELEASES, ids=str)
def test_bundles_of_earlier_releases_load_and_give_their_scores(name: Path) -> None:
    rows = pa.ipc.open_file(RELEASED.parent / name).read_all()
    scorer = Scorer.load((RELEASED.parent / name).with_suffix(""))
    scores = scorer.scores(rows)
    expected = np.stack([rows[f"expected:{name}"].to_numpy() for name in scorer.columns], 1)
    assert equal_to_rounding(scores, expected)
    assert scores.std(axis=0).min() > 0.01


def test_golden_rows_catch_what_hashes_cannot(copy: Path) -> None:
    weights = load_file(copy / WEIGHTS)
    weights = {name: tensor * 1.01 for name, tensor in weights.items()}
    save_file(weights, copy / WEIGHTS)
    reseal(copy)
    with pytest.raises(BundleError, match="golden rows differs"):
        load_bundle(copy)


@pytest.mark.parametrize("name", [WEIGHTS, "model/network.json", "golden/rows.arrow"])
def test_resealed_rubbish_is_refused(copy: Path, name: str) -> None:
    (copy / name).write_bytes(b"\x80\x04rubbish")
    reseal(copy)
    with pytest.raises(BundleError) as raised:
        load_bundle(copy)
    one_line(raised)


def test_saving_over_a_bundle_replaces_it_and_leaves_no_rest(
    copy: Path, encoder: RowEncoder, log: pa.Table
) -> None:
    model = make_model(encoder, seed=1)
    before = load_bundle(copy).fingerprint
    save_bundle(copy, model=model, encoder=encoder, rows=log, metrics={})
    assert load_bundle(copy).fingerprint != before
    assert [path.name for path in copy.parent.iterdir()] == ["copy"]


def test_saving_over_something_else_is_refused(
    encoder: RowEncoder, log: pa.Table, tmp_path: Path
) -> None:
    (tmp_path / "thesis.txt").write_text("dear")
    model = make_model(encoder)
    for target in (tmp_path, tmp_path / "thesis.txt"):
        with pytest.raises(BundleError, match="choose another folder"):
            save_bundle(target, model=model, encoder=encoder, rows=log, metrics={})
    assert (tmp_path / "thesis.txt").read_text() == "dear"


def test_failed_save_leaves_nothing(encoder: RowEncoder, log: pa.Table, tmp_path: Path) -> None:
    target = tmp_path / "b"
    with pytest.raises(ConfigError):
        save_bundle(
            target, model=make_model(encoder), encoder=encoder, rows=log, metrics={"x": object()}
        )
    assert list(tmp_path.iterdir()) == []
