"""The inventory of a bundle: what it lists, what it refuses, and that no byte of it may change."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recmtl.errors import BundleError
from recmtl.serve.bundle import manifest as inventory
from recmtl.serve.bundle.manifest import local_folder, verify_manifest, write_manifest

FACTS = {"recmtl": "0.1", "columns": ["p_click"], "input_columns": ["user", "item"]}


def fill(folder: Path, files: dict[str, bytes]) -> Path:
    """A sealed folder with these files."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    write_manifest(folder, FACTS)
    return folder


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    return fill(tmp_path / "bundle", {"model/network.json": b"{}", "README.md": b"# shop"})


def refused(folder: Path) -> str:
    with pytest.raises(BundleError) as raised:
        verify_manifest(folder)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_what_was_sealed_is_verified_and_described(sealed: Path) -> None:
    manifest = verify_manifest(sealed)
    assert (manifest.columns, manifest.input_columns) == (["p_click"], ["user", "item"])
    assert len(manifest.fingerprint) == 64


def test_no_byte_of_a_manifest_may_change(sealed: Path) -> None:
    path = sealed / "manifest.json"
    raw = path.read_bytes()
    for place in range(len(raw)):
        changed = bytearray(raw)
        changed[place] ^= 1
        path.write_bytes(changed)
        refused(sealed)
    path.write_bytes(raw)
    verify_manifest(sealed)


def test_no_byte_may_be_added_to_or_taken_from_a_manifest(sealed: Path) -> None:
    path = sealed / "manifest.json"
    raw = path.read_bytes()
    for changed in (raw[:-1], raw + b"\n", b" " + raw, raw.replace(b"\n", b"\r\n")):
        path.write_bytes(changed)
        refused(sealed)


names = st.text("abcxyz._-", min_size=1, max_size=8).filter(
    lambda name: name not in (".", "..", "manifest.json")
)


@settings(max_examples=30)
@given(st.dictionaries(names, st.binary(max_size=50), min_size=1, max_size=5), st.data())
def test_the_fingerprint_stands_for_every_byte_of_every_file(tmp_path_factory, files, data):
    folder = fill(tmp_path_factory.mktemp("bundle"), files)
    before = verify_manifest(folder).fingerprint
    write_manifest(folder, FACTS)
    assert verify_manifest(folder).fingerprint == before, "sealing again changes nothing"
    name = data.draw(st.sampled_from(sorted(files)))
    (folder / name).write_bytes(files[name] + b"x")
    assert f"{name} has {len(files[name]) + 1} bytes" in refused(folder)
    write_manifest(folder, FACTS)
    assert verify_manifest(folder).fingerprint != before


def test_files_of_equal_length_are_told_apart_by_their_hash(sealed: Path) -> None:
    (sealed / "model" / "network.json").write_bytes(b"[]")
    assert "model/network.json was altered" in refused(sealed)


def test_the_names_of_several_unlisted_files_are_shown_five_at_most(sealed: Path) -> None:
    for number in range(7):
        (sealed / f"extra-{number}").touch()
    message = refused(sealed)
    assert "'extra-4'; remove them" in message and "extra-5" not in message


def first_version(folder: Path) -> dict:
    """The manifest as version 1 wrote it: without a seal."""
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["seal"]
    return manifest | {"version": 1}


def rewrite(folder: Path, manifest: dict) -> None:
    text = json.dumps(manifest, indent=2, sort_keys=True) + "\n"
    (folder / "manifest.json").write_text(text)


def test_manifests_of_version_1_have_no_seal_and_are_read(sealed: Path) -> None:
    rewrite(sealed, first_version(sealed))
    assert verify_manifest(sealed).columns == ["p_click"]


@pytest.mark.parametrize("change", [{"seal": "0" * 64}, {"more": 1}, {"columns": "p_click"}])
def test_manifests_of_version_1_hold_nothing_else(sealed: Path, change: dict) -> None:
    rewrite(sealed, first_version(sealed) | change)
    assert "was edited" in refused(sealed)


def test_a_manifest_that_is_too_large_is_not_read(sealed: Path, monkeypatch) -> None:
    monkeypatch.setattr(inventory, "MOST_BYTES", 10)
    assert "is larger than any manifest" in refused(sealed)


def test_a_newer_version_says_who_wrote_it(sealed: Path) -> None:
    manifest = json.loads((sealed / "manifest.json").read_text())
    rewrite(sealed, manifest | {"version": 3, "recmtl": "7.1"})
    message = refused(sealed)
    assert (
        "reads (1, 2)" in message and "written by recmtl '7.1': use that one or a newer" in message
    )
    rewrite(sealed, manifest | {"version": 10**40})
    assert "bundle version a huge number" in refused(sealed)


def test_a_disk_that_fails_is_named(sealed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> str:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(inventory, "_sha256", fail)
    assert refused(sealed).endswith("cannot be read: Input/output error")


@pytest.mark.parametrize("path", ["runs/mine", "C:folder", "a:b", Path("models:/shop")])
def test_paths_are_folders_as_they_stand(path: str | Path) -> None:
    assert local_folder(path) == Path(path)
