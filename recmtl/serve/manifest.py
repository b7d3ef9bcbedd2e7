"""The inventory of a bundle: every file with its size and SHA-256, and the check of it."""

import hashlib
import json
import os
from pathlib import Path, PurePosixPath
from typing import Any

from recmtl.errors import BundleError

__all__ = ["FORMAT", "MANIFEST", "VERSION", "verify_manifest", "write_manifest"]

MANIFEST = "manifest.json"
FORMAT = "recmtl bundle"
VERSION = 1


def write_manifest(folder: Path, facts: dict[str, Any]) -> None:
    """Write `manifest.json` over the files that `folder` holds now; `facts` are carried along."""
    files = {
        name: {"bytes": (folder / name).stat().st_size, "sha256": _sha256(folder / name)}
        for name in _files(folder)
    }
    manifest = {"format": FORMAT, "version": VERSION, **facts, "files": files}
    text = json.dumps(manifest, indent=2, sort_keys=True) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8")


def verify_manifest(folder: Path) -> tuple[dict[str, Any], str]:
    """Check every file of a bundle against its manifest.

    Returns:
        The manifest and its own SHA-256, which is the bundle's fingerprint.

    Raises:
        BundleError: no manifest, another format or version, a file that is missing, unlisted,
            altered, or whose listed path or link leaves the folder.
    """
    raw = _read(folder)
    manifest = _parse(folder, raw)
    files = manifest["files"]
    for name, facts in files.items():
        _check_path(folder, name)
        _check_file(folder, name, facts)
    unlisted = sorted(set(_files(folder)) - set(files))
    if unlisted:
        raise BundleError(
            f"{folder}: holds files that its manifest does not list: {', '.join(unlisted[:5])}; "
            "remove them, or save the bundle again"
        )
    return manifest, hashlib.sha256(raw).hexdigest()


def _files(folder: Path) -> list[str]:
    """Names (POSIX, relative) of all files and links below `folder`, the manifest excepted."""
    names = []
    for parent, folders, files in os.walk(folder):
        links = [name for name in folders if (Path(parent) / name).is_symlink()]
        names += [(Path(parent) / name).relative_to(folder).as_posix() for name in files + links]
    return sorted(set(names) - {MANIFEST})


def _read(folder: Path) -> bytes:
    if not folder.is_dir():
        raise BundleError(f"{folder}: no such folder; give the folder that holds {MANIFEST}")
    try:
        return (folder / MANIFEST).read_bytes()
    except OSError:
        raise BundleError(f"{folder}: is not a bundle: it has no readable {MANIFEST}") from None


def _parse(folder: Path, raw: bytes) -> dict[str, Any]:
    place = folder / MANIFEST
    try:
        manifest = json.loads(raw)
    except ValueError:
        raise BundleError(f"{place}: is not JSON; the bundle is damaged, save it again") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise BundleError(f"{place}: is not the manifest of a recmtl bundle")
    if manifest.get("version") != VERSION:
        raise BundleError(
            f"{place}: bundle version {manifest.get('version')!r} is not {VERSION}, the one that "
            f"this recmtl reads; it was written by recmtl {manifest.get('recmtl')!r}: use that one"
        )
    files = manifest.get("files")
    if not isinstance(files, dict) or not files:
        raise BundleError(f"{place}: lists no files; the bundle is damaged, save it again")
    return manifest


def _check_path(folder: Path, name: str) -> None:
    path = PurePosixPath(name)
    tricks = path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name
    if tricks or path.as_posix() != name or name in ("", "."):
        raise BundleError(f"{folder / MANIFEST}: refused path {name!r}: it is not plain and inside")
    target = (folder / name).resolve()
    if not target.is_relative_to(folder.resolve()):
        raise BundleError(f"{folder}: {name} is a link that leaves the folder; copy the file in")


def _check_file(folder: Path, name: str, facts: object) -> None:
    path = folder / name
    if not isinstance(facts, dict) or not {"bytes", "sha256"} <= facts.keys():
        raise BundleError(f"{folder / MANIFEST}: {name} has no size and SHA-256; save it again")
    if not path.is_file():
        raise BundleError(f"{folder}: {name} is missing; copy the whole bundle again")
    if path.stat().st_size != facts["bytes"]:
        raise BundleError(
            f"{folder}: {name} has {path.stat().st_size} bytes, the manifest says "
            f"{facts['bytes']}; copy the whole bundle again"
        )
    if _sha256(path) != facts["sha256"]:
        raise BundleError(f"{folder}: {name} was altered: its SHA-256 is not the manifest's")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
