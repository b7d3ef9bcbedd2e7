"""Ways to alter a bundle by accident or with bad intent; each is drawn from one seed."""

import json
import os
import pickle
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from recmtl.serve.bundle.manifest import MANIFEST, write_manifest

WEIGHTS = "model/weights.safetensors"


@dataclass(frozen=True)
class Target:
    """A copy to alter, another intact bundle, and places outside that nothing may touch."""

    folder: Path
    other: Path
    outside: Path
    executed: Path


class _Payload:
    """Unpickled, it leaves a trace."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.mkdir, (str(self.trace),)


Alteration = Callable[[Target, random.Random], object]


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def any_file(target: Target, dice: random.Random) -> Path:
    return dice.choice(files(target.folder))


def listed_file(target: Target, dice: random.Random) -> Path:
    return dice.choice([path for path in files(target.folder) if path.name != MANIFEST])


def flip_bits(target: Target, dice: random.Random) -> None:
    path = any_file(target, dice)
    content = bytearray(path.read_bytes())
    for place in dice.sample(range(len(content)), dice.choice([1, 1, 1, 2, 5])):
        content[place] ^= 1 << dice.randrange(8)
    path.write_bytes(content)


def overwrite(target: Target, dice: random.Random) -> None:
    path = any_file(target, dice)
    content = bytearray(path.read_bytes())
    start = dice.randrange(len(content))
    length = min(dice.randint(1, 64), len(content) - start)
    before = content[start : start + length]
    content[start : start + length] = bytes(byte ^ 0xFF for byte in before)
    path.write_bytes(content)


def truncate(target: Target, dice: random.Random) -> None:
    path = any_file(target, dice)
    content = path.read_bytes()
    path.write_bytes(content[: dice.randrange(len(content))])


def append(target: Target, dice: random.Random) -> None:
    path = any_file(target, dice)
    path.write_bytes(path.read_bytes() + dice.randbytes(dice.randint(1, 100)))


def enlarge(target: Target, dice: random.Random) -> None:
    """A hole of a terabyte: hashing it would never end."""
    os.truncate(listed_file(target, dice), dice.choice([1 << 33, 1 << 40]))


def swap(target: Target, dice: random.Random) -> None:
    first, second = dice.sample(files(target.folder), 2)
    contents = first.read_bytes(), second.read_bytes()
    first.write_bytes(contents[1])
    second.write_bytes(contents[0])


def swap_in(target: Target, dice: random.Random) -> None:
    """A file of another bundle, which is intact there."""
    name = dice.choice([WEIGHTS, "golden/rows.arrow", "encoder/vocabularies.arrow", MANIFEST])
    shutil.copy(target.other / name, target.folder / name)


def remove(target: Target, dice: random.Random) -> None:
    any_file(target, dice).unlink()


def rename(target: Target, dice: random.Random) -> None:
    path = any_file(target, dice)
    path.rename(path.with_name(path.name + dice.choice([".bak", " ", "~", "\u00e9", "\udc80"])))


def add(target: Target, dice: random.Random) -> None:
    names = ["model/extra.bin", ".hidden", "recmtl.py", "model/__pycache__/x.pyc", "x.pth", "a\nb"]
    path = target.folder / dice.choice(names)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(pickle.dumps(_Payload(target.executed)))


def link(target: Target, dice: random.Random) -> None:
    """A file, a folder or the manifest becomes a link to itself, inside or outside."""
    path = dice.choice([any_file(target, dice), target.folder / "model"])
    place = dice.choice([target.outside.parent / "moved", target.folder / "moved"])
    path.rename(place)
    path.symlink_to(place)


def bad_link(target: Target, dice: random.Random) -> None:
    path = any_file(target, dice)
    path.unlink()
    path.symlink_to(dice.choice([path, Path("/dev/zero"), target.outside, Path("absent")]))


def no_file(target: Target, dice: random.Random) -> None:
    """A folder or a pipe where a file should be."""
    path = any_file(target, dice)
    path.unlink()
    dice.choice([path.mkdir, lambda: os.mkfifo(path)])()


def pickled(target: Target, dice: random.Random) -> None:
    listed_file(target, dice).write_bytes(pickle.dumps(_Payload(target.executed)))


def edit(target: Target, change: Callable[[dict[str, Any]], object]) -> None:
    path = target.folder / MANIFEST
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n")


def path_trick(target: Target, dice: random.Random) -> None:
    outside = target.outside
    tricks = [
        str(outside), f"../{outside.name}", f"model/../../{outside.name}", "./README.md", "a//b",
        "model\\weights.safetensors", "", ".", "..", "/", "a\0b", "a\nb", "\ud800", "x" * 5000,
        "model/", "~/x", "file:///x", "C:\\x", "README.md ", "\u202egpj.exe", "%2e%2e/x",
        "/dev/zero",
    ]  # fmt: skip
    trick, manifest_file = dice.choice(tricks), target.folder / MANIFEST
    size = outside.stat().st_size
    entry = {"bytes": size, "sha256": dice.choice(["0" * 64, "", None])}
    if dice.random() < 0.5:
        edit(target, lambda m: m["files"].update({trick: entry}))
        return
    listed = listed_file(target, dice).relative_to(target.folder).as_posix()
    edit(target, lambda m: m["files"].update({trick: m["files"].pop(listed)}))
    if dice.random() < 0.3:
        manifest_file.write_text(manifest_file.read_text().replace("  ", "\t"))


def entry_value(target: Target, dice: random.Random) -> None:
    name = listed_file(target, dice).relative_to(target.folder).as_posix()
    sizes = [10**18, 10**40, -1, 0, 1.0, 1e308, float("nan"), True, None, "12", [1], {}]
    hashes = ["0" * 64, "A" * 64, "", None, 0, ["a"], "g" * 64, "0" * 10**5]
    entries = [None, [], {}, "x", {"bytes": 1}, {"sha256": "0" * 64}]
    kind = dice.randrange(3)
    if kind == 0:
        edit(target, lambda m: m["files"][name].update(bytes=dice.choice(sizes)))
    elif kind == 1:
        edit(target, lambda m: m["files"][name].update(sha256=dice.choice(hashes)))
    else:
        edit(target, lambda m: m["files"].update({name: dice.choice(entries)}))


def version(target: Target, dice: random.Random) -> None:
    values = [0, -1, 1, 3, 99, 10**400, "2", 2.0, True, None, [2], {}, float("nan")]
    edit(target, lambda m: m.update(version=dice.choice(values)))


def top_level(target: Target, dice: random.Random) -> None:
    """A key of the manifest is lost, added, or of another type or content."""
    values = [None, 0, 1.5, "x", [], {}, ["p_other"], [[]] * 3, {"a": {"b": []}}, True]
    key = dice.choice(["format", "files", "columns", "input_columns", "recmtl", "seal", "more"])
    if key != "more" and dice.random() < 0.3:
        edit(target, lambda m: m.pop(key))
    else:
        edit(target, lambda m: m.update({key: dice.choice(values)}))


def manifest_text(target: Target, dice: random.Random) -> None:
    """Other bytes in place of the manifest, some of which mean the same JSON."""
    path = target.folder / MANIFEST
    raw, depth = path.read_bytes(), dice.choice([500, 900, 5000, 200_000])
    nested = b"[" * depth + b"]" * depth
    texts = [
        b"", b"[]", b"null", b"{", b"\xff\xfe\x00", raw.decode().encode("utf-16"), nested,
        b"\xef\xbb\xbf" + raw, raw[:-2], raw + b"x", raw + b" ", raw + b" " * (17 << 20),
        raw.replace(b"  ", b" "), raw.replace(b'"version": 2', b'"version": 2, "version": 2'),
        raw.replace(b'"version": 2', b'"version": NaN'),
        raw.replace(b'"version": 2', b'"version": ' + b"9" * 6000),
        raw.replace(b'"recmtl": "', b'"recmtl": "\\u0030'), b'{"a":' * depth + b"1" + b"}" * depth,
        raw.replace(b'"files"', b'"more": ' + nested + b', "files"'),
    ]  # fmt: skip
    path.write_bytes(dice.choice(texts))


ACCIDENTS: tuple[Alteration, ...] = (
    flip_bits, flip_bits, flip_bits, flip_bits, overwrite, truncate, truncate, append, enlarge,
    swap, swap, swap_in, remove, rename, add, link, bad_link, no_file, pickled, path_trick,
    path_trick, entry_value, version, top_level, manifest_text, manifest_text,
)  # fmt: skip


def alter(target: Target, seed: int) -> str:
    """Alter a copy in a way that its manifest must give away; returns what was done."""
    dice = random.Random(seed)
    alteration = ACCIDENTS[seed % len(ACCIDENTS)]
    before = _state(target.folder)
    while _state(target.folder) == before:
        alteration(target, dice)
    return f"seed {seed}: {alteration.__name__}"


def _state(folder: Path) -> dict[str, object]:
    return {
        str(path): path.readlink() if path.is_symlink() else path.is_file() and _content(path)
        for path in sorted(folder.rglob("*"))
    }


def _content(path: Path) -> object:
    size = path.stat().st_size
    return size if size > 1 << 30 else path.read_bytes()


def mutate_json(value: Any, dice: random.Random) -> Any:
    """A JSON value with one random place of it replaced or lost."""
    if isinstance(value, dict) and value and dice.random() < 0.9:
        key = dice.choice(sorted(value))
        if dice.random() < 0.15:
            return {name: value[name] for name in value if name != key}
        return value | {key: mutate_json(value[key], dice)}
    if isinstance(value, list) and value and dice.random() < 0.9:
        place = dice.randrange(len(value))
        return [*value[:place], mutate_json(value[place], dice), *value[place + 1 :]]
    others = [None, True, -1, 0, 3, 1000, 0.5, float("nan"), float("inf"), 10**30, "x", "", [], {}]
    return dice.choice([*others, [[0]], {"a": 1}, "NaN", "../x"])


def reseal(folder: Path) -> None:
    """Write a manifest that fits the altered files, as someone with bad intent would."""
    manifest = json.loads((folder / MANIFEST).read_text())
    write_manifest(folder, {key: manifest[key] for key in ("recmtl", "columns", "input_columns")})


def unproved(folder: Path, dice: random.Random) -> None:
    """Golden rows without rows, or with scores that are absent, no numbers or others."""
    path = folder / "golden" / "rows.arrow"
    golden = pa.ipc.open_file(path.read_bytes()).read_all()
    name = dice.choice([n for n in golden.column_names if n.startswith("expected:")])
    value = dice.choice([float("nan"), float("inf"), -1e30, None])
    scores = pa.array([value, *golden[name].to_pylist()[1:]], pa.float32())
    others = [
        golden.slice(0, 0),
        golden.drop_columns(name),
        golden.set_column(golden.column_names.index(name), name, scores),
    ]
    _write_arrow(path, dice.choice(others))


def compressed(folder: Path, dice: random.Random) -> None:
    """A file whose buffers may state any size."""
    path = folder / dice.choice(["golden/rows.arrow", "encoder/vocabularies.arrow"])
    kind = dice.choice(["lz4", "zstd"])
    _write_arrow(path, pa.ipc.open_file(path.read_bytes()).read_all(), compression=kind)


def oversized(folder: Path, dice: random.Random) -> None:
    """Sizes of a network that its weights cannot hold."""
    path = folder / "model" / "network.json"
    network, size = json.loads(path.read_text()), dice.choice([10**4, 10**6, 10**12])
    places = [
        lambda: network["sizes"].update(embedding=size),
        lambda: network["sizes"].update(tower=[size, size]),
        lambda: network["encoding"].update(table_rows=size),
        lambda: network["layout"]["layers"][0].update(width=size),
    ]
    dice.choice(places)()
    path.write_text(json.dumps(network))


def lying_header(folder: Path, dice: random.Random) -> None:
    """Weights whose header states other lengths, shapes or types."""
    path = folder / WEIGHTS
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    name = dice.choice(sorted(header.keys() - {"__metadata__"}))
    lies = [{"shape": [10**9] * 2}, {"data_offsets": [0, 10**15]}, {"dtype": "F64"}, {"shape": [0]}]
    text = json.dumps(header | {name: header[name] | dice.choice(lies)}).encode()
    stated = dice.choice([len(text), len(text), len(text) + 8, 2**40, 2**63])
    path.write_bytes(stated.to_bytes(8, "little") + text + raw[8 + length :])


def _write_arrow(path: Path, table: pa.Table, **options: Any) -> None:
    with pa.ipc.new_file(str(path), table.schema, options=pa.ipc.IpcWriteOptions(**options)) as out:
        out.write_table(table)


LIES: tuple[Callable[[Path, random.Random], None], ...] = (
    unproved,
    compressed,
    oversized,
    lying_header,
)
"""What a stranger may state, with a seal that fits; none of it may load."""


def lie_and_reseal(target: Target, seed: int) -> str:
    """Alter a copy by one of `LIES`; returns what was done."""
    lie = LIES[seed % len(LIES)]
    lie(target.folder, random.Random(seed))
    reseal(target.folder)
    return f"seed {seed}: {lie.__name__}"


def alter_and_reseal(target: Target, seed: int) -> str:
    """Alter the content of a file and seal the bundle again; harmless changes may load."""
    dice = random.Random(seed)
    sealed = [path for path in files(target.folder) if path.name != MANIFEST]
    name = dice.choice([path for path in sealed if path.suffix in SUFFIXES])
    content = name.read_bytes()
    place = dice.randrange(len(content))
    way = dice.randrange(4)
    if name.suffix == ".json" and way < 3:
        mutated = mutate_json(json.loads(content), dice)
        name.write_text(json.dumps(mutated))
    elif name.suffix == ".yaml" and way < 2:
        call = f"!!python/object/apply:os.mkdir ['{target.executed}']"
        lines = content.decode().splitlines()
        row = dice.randrange(len(lines))
        texts = [call, "[" * 2000, "&a [*a]", "", "x: {", "- 1", "\u0007", "features: {}"]
        lines[row] = dice.choice([lines[row].split(":")[0] + ": " + dice.choice(texts), texts[0]])
        name.write_text("\n".join(lines))
    elif way == 0:
        name.write_bytes(pickle.dumps(_Payload(target.executed)))
    elif way == 1:
        name.write_bytes(content[:place])
    else:
        altered = bytearray(content)
        altered[place] ^= 1 << dice.randrange(8)
        name.write_bytes(altered)
    reseal(target.folder)
    return f"seed {seed}: {name.name}"


SUFFIXES = (".json", ".yaml", ".arrow", ".safetensors")
