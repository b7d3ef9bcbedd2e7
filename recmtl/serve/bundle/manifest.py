"""Where a bundle lies, and its inventory: every file with size and SHA-256, and the check of it.

The check opens only files that a walk through the folder has found, never a path that the manifest
names. It proves that a bundle is what was saved, not who saved it.
"""

import hashlib
import json
import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recmtl.errors import BundleError, ConfigError
from recmtl.mlflow_store import download_artifacts

__all__ = [
    "FORMAT",
    "MANIFEST",
    "VERSION",
    "Manifest",
    "local_folder",
    "verify_manifest",
    "write_manifest",
]


def local_folder(path_or_uri: str | Path) -> Path:
    """Map a path, `models:/name@alias`, `runs:/id/path` or `file:///...` to a bundle's folder.

    MLflow is imported only for a URI.

    Raises:
        BundleError: the URI names nothing that is there, or nothing that holds a bundle.
        ConfigError: the argument is neither a path nor a URI.
    """
    text = str(path_or_uri) if isinstance(path_or_uri, str | Path) else ""
    if not text or not set(text).isdisjoint("\0\r\n"):
        kind = type(path_or_uri).__name__
        raise ConfigError(f"bundle is {kind} {text!r:.80}; give a folder or an MLflow URI")
    if isinstance(path_or_uri, Path) or re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", text) is None:
        return Path(text)
    folder = download_artifacts(text)
    for place in (folder, folder / "artifacts" / "bundle", folder / "bundle"):
        if (place / MANIFEST).is_file():
            return place
    raise BundleError(f"{text}: holds no bundle; name a model or folder that recmtl has logged")


MANIFEST = "manifest.json"
FORMAT = "recmtl bundle"
VERSION = 2
READABLE = (1, 2)
SEAL = "seal"
FACTS = {"columns": list, "input_columns": list, "recmtl": str}
KEYS_OF_VERSION_1 = {"format", "version", "files", *FACTS}
MOST_BYTES = 16 << 20
TEXTS, MOST_TEXT_BYTES = (".json", ".yaml", ".txt"), 256 << 20
HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True)
class Manifest:
    """What a verified manifest says about its bundle.

    Attributes:
        fingerprint: SHA-256 of the manifest itself, and with it of every file that it lists.
        columns: names of the scored columns, in order.
        input_columns: names of the raw columns that scoring needs, in order.
        lineage: the bundles that it was updated from, the first one first; none of a bundle that
            was trained from scratch.
    """

    fingerprint: str
    columns: list[str]
    input_columns: list[str]
    lineage: list[dict[str, Any]] = field(default_factory=list)


def write_manifest(folder: Path, facts: dict[str, Any]) -> None:
    """Write `manifest.json` about the files that `folder` holds now.

    Args:
        folder: the bundle.
        facts: further keys: `recmtl` (its version), `columns`, `input_columns`, and `lineage` of a
            bundle that was updated.
    """
    files = {
        name: {"bytes": (folder / name).stat().st_size, "sha256": _sha256(folder / name)}
        for name in _files(folder)
        if name != MANIFEST
    }
    manifest = {"format": FORMAT, "version": VERSION, **facts, "files": files}
    (folder / MANIFEST).write_bytes(_canonical(manifest | {SEAL: _seal(manifest)}))


def verify_manifest(folder: Path) -> Manifest:
    """Check every file of a bundle against its manifest, and the manifest against its seal.

    Raises:
        BundleError: there is no manifest; it is of another format, of a newer version, or was
            edited; it lists a path that is not plain; or a file is missing, unlisted, altered, or
            a link.
    """
    try:
        raw = _read(folder)
        manifest = _parse(folder / MANIFEST, raw)
        _check_files(folder, manifest["files"])
    except OSError as error:
        raise BundleError(f"{folder}: cannot be read: {error.strerror or error}") from None
    except RecursionError:
        raise BundleError(f"{folder / MANIFEST}: is nested too deep; save it again") from None
    columns, fingerprint = manifest["columns"], hashlib.sha256(raw).hexdigest()
    lineage = manifest.get("lineage", [])
    return Manifest(fingerprint, columns, manifest["input_columns"], lineage)


def _files(folder: Path) -> dict[str, int]:
    """Names (POSIX, relative) of all files below `folder`, and their sizes in bytes."""
    sizes = {}
    for parent, folders, names in os.walk(folder, onerror=_raise):
        for name in (*folders, *names):
            path = Path(parent) / name
            relative, status = path.relative_to(folder).as_posix(), path.lstat()
            if stat.S_ISREG(status.st_mode):
                sizes[relative] = status.st_size
            elif not stat.S_ISDIR(status.st_mode):
                raise BundleError(
                    f"{folder}: {relative!r} is a link or a device; copy the file itself in"
                )
    return sizes


def _raise(error: OSError) -> None:
    raise error


def _read(folder: Path) -> bytes:
    if not folder.is_dir():
        raise BundleError(f"{folder}: no such folder; give the folder that holds {MANIFEST}")
    path = folder / MANIFEST
    # Reading a pipe would never end, and a link may lead anywhere.
    if not os.path.lexists(path) or not stat.S_ISREG(path.lstat().st_mode):
        raise BundleError(f"{folder}: is not a bundle: it has no readable {MANIFEST}")
    if path.stat().st_size > MOST_BYTES:
        raise BundleError(f"{path}: is larger than any manifest; save the bundle again")
    return path.read_bytes()


def _parse(path: Path, raw: bytes) -> dict[str, Any]:
    try:
        manifest = json.loads(raw)
    except (ValueError, RecursionError):
        raise BundleError(f"{path}: is not JSON; the bundle is damaged, save it again") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise BundleError(f"{path}: is not the manifest of a recmtl bundle")
    version = manifest.get("version")
    if type(version) is not int or version not in READABLE:
        newer = type(version) is int and version > VERSION
        remedy = "use that one or a newer one" if newer else "save the bundle again"
        raise BundleError(
            f"{path}: bundle version {_short(version)} is not one that this recmtl reads "
            f"({', '.join(map(str, READABLE))}); it was written by recmtl "
            f"{_short(manifest.get('recmtl'))}: {remedy}"
        )
    _check_entries(path, manifest.get("files"))
    _check_facts(path, manifest, raw)
    return manifest


def _check_entries(path: Path, files: object) -> None:
    if not isinstance(files, dict) or not files:
        raise BundleError(f"{path}: lists no files; the bundle is damaged, save it again")
    for name, facts in files.items():
        plain = name.isprintable() and "\\" not in name
        if not plain or any(part in ("", ".", "..") for part in name.split("/")):
            raise BundleError(
                f"{path}: refused path {_short(name)}: it is not plain and inside the bundle"
            )
        if not isinstance(facts, dict) or facts.keys() != {"bytes", "sha256"}:
            raise BundleError(f"{path}: {_short(name)} has no size and SHA-256; save it again")
        size, digest = facts["bytes"], facts["sha256"]
        if type(size) is not int or size < 0 or not _is_digest(digest):
            raise BundleError(
                f"{path}: {_short(name)} has a size or SHA-256 that is none; save it again"
            )


def _check_facts(path: Path, manifest: dict[str, Any], raw: bytes) -> None:
    edited = BundleError(f"{path}: was edited after it was saved; save the bundle again")
    sealed = {key: value for key, value in manifest.items() if key != SEAL}
    if manifest["version"] == 1:
        # Version 1 has no seal, so its keys must be exactly those that it wrote.
        if manifest.keys() != KEYS_OF_VERSION_1:
            raise edited
    elif manifest.get(SEAL) != _seal(sealed):
        raise edited
    if any(type(manifest.get(key)) is not kind for key, kind in FACTS.items()):
        raise edited
    if type(manifest.get("lineage", [])) is not list:
        raise edited
    # Equal content in other bytes (a key twice, 1e2 for 100) was not written by recmtl.
    if raw != _canonical(manifest):
        raise edited


def _check_files(folder: Path, files: dict[str, Any]) -> None:
    sizes = _files(folder)
    sizes.pop(MANIFEST, None)
    unlisted = sorted(sizes.keys() - files.keys())
    if unlisted:
        raise BundleError(
            f"{folder}: holds files that its manifest does not list: "
            f"{', '.join(map(_short, unlisted[:5]))}; remove them, or save the bundle again"
        )
    for name, facts in files.items():
        if name not in sizes:
            raise BundleError(f"{folder}: {name} is missing; copy the whole bundle again")
        if sizes[name] != facts["bytes"]:
            raise BundleError(
                f"{folder}: {name} has {sizes[name]} bytes, the manifest says "
                f"{_short(facts['bytes'])}; copy the whole bundle again"
            )
    for name, size in sizes.items():
        if name.endswith(TEXTS) and size > MOST_TEXT_BYTES:
            raise BundleError(
                f"{folder}: {name} has {size:,} bytes, more than any that recmtl writes; save the "
                "bundle again"
            )
    for name, facts in files.items():
        if _sha256(folder / name) != facts["sha256"]:
            raise BundleError(f"{folder}: {name} was altered: its SHA-256 is not the manifest's")


def _canonical(manifest: dict[str, Any]) -> bytes:
    return (json.dumps(manifest, indent=2, sort_keys=True) + "\n").encode()


def _seal(manifest: dict[str, Any]) -> str:
    return hashlib.sha256(_canonical(manifest)).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and len(value) == 64 and HEX.issuperset(value)


def _short(value: object) -> str:
    """A value from an untrusted file, fit for one line of a message."""
    # A number of more digits than Python prints would raise here.
    text = "a huge number" if isinstance(value, int) and abs(value) > 1e30 else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
