"""Ways in which the world outside can be wrong, for every script: one line and status 2."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


@dataclass(frozen=True)
class World:
    """What a script is given; a bad world is a copy with something wrong.

    Attributes:
        folder: where all lies that may be changed.
        data: the log, as the command line names it.
        schema: schema of the log.
        config: configuration of the job.
        out: the output folder, or file.
        bundle: a bundle to score with.
    """

    folder: Path
    data: str
    schema: str
    config: str
    out: str
    bundle: str

    def arguments(self, script: str) -> list[str]:
        """The command line of a script in this world."""
        if script == "describe":
            return ["--data", self.data, "--out", self.out]
        if script == "score":
            return ["--bundle", self.bundle, "--input", self.data, "--output", self.out]
        if script == "log":
            return ["--out", self.out]
        if script == "vision":
            return ["--config", self.config, "--out", self.out]
        rest = ["--config", self.config, "--out", self.out]
        return ["--data", self.data, "--schema", self.schema, *rest]


Change = Callable[[World], World]


def log_of(world: World) -> pa.Table:
    return pq.read_table(world.data)


def written(world: World, table: pa.Table, name: str = "other.parquet") -> World:
    path = world.folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return replace(world, data=str(path))


def text(world: World, name: str, content: bytes) -> str:
    path = world.folder / name
    path.write_bytes(content)
    return str(path)


def no_data(world: World) -> World:
    return replace(world, data=str(world.folder / "none.parquet"))


def empty_folder(world: World) -> World:
    (world.folder / "empty").mkdir()
    return replace(world, data=str(world.folder / "empty"))


def folder_of_csv(world: World) -> World:
    (world.folder / "csv").mkdir()
    (world.folder / "csv" / "log.csv").write_text("a,b\n1,2\n")
    return replace(world, data=str(world.folder / "csv"))


def csv(world: World) -> World:
    return replace(world, data=text(world, "log.csv", b"a,b\n1,2\n" * 99))


def truncated(world: World) -> World:
    content = Path(world.data).read_bytes()
    return replace(world, data=text(world, "short.parquet", content[: len(content) // 2]))


def empty_file(world: World) -> World:
    return replace(world, data=text(world, "zero.parquet", b""))


def damaged_pages(world: World) -> World:
    content = bytearray(Path(world.data).read_bytes())
    content[4 : len(content) // 2] = bytes(len(content) // 2 - 4)
    return replace(world, data=text(world, "pages.parquet", bytes(content)))


def no_rows(world: World) -> World:
    return written(world, log_of(world).slice(0, 0))


def duplicate_columns(world: World) -> World:
    log = log_of(world)
    return written(world, log.append_column("user_id", log["user_id"]))


def files_disagree(world: World) -> World:
    log = log_of(world)
    place = log.column_names.index("user_id")
    other = log.set_column(place, "user_id", pa.array(["x"] * log.num_rows))
    if pa.types.is_string(log["user_id"].type):
        other = log.set_column(place, "user_id", pa.array([1.5] * log.num_rows))
    written(world, log, "days/1.parquet")
    written(world, other, "days/2.parquet")
    return replace(world, data=str(world.folder / "days"))


def no_driver(world: World) -> World:
    return replace(world, data="abfs://container@account.example/log.parquet")


def no_such_scheme(world: World) -> World:
    return replace(world, data="nosuch://bucket/log.parquet")


def loop_of_links(world: World) -> World:
    (world.folder / "loop").symlink_to(world.folder / "loop")
    return replace(world, data=str(world.folder / "loop"))


def long_name(world: World) -> World:
    return replace(world, data=str(world.folder / ("x" * 5000)))


def out_is_a_file(world: World) -> World:
    return replace(world, out=text(world, "file", b"precious"))


def out_below_a_file(world: World) -> World:
    return replace(world, out=f"{text(world, 'file', b'precious')}/out")


def out_that_cannot_be_made(world: World) -> World:
    """Not even root may make a folder there."""
    return replace(world, out="/proc/recmtl/out")


def out_of_a_long_name(world: World) -> World:
    return replace(world, out=str(world.folder / ("y" * 300)))


def no_config(world: World) -> World:
    return replace(world, config=str(world.folder / "none.yaml"))


def config_is_a_folder(world: World) -> World:
    return replace(world, config=str(world.folder))


def latin_config(world: World) -> World:
    return replace(world, config=text(world, "latin.yaml", "# größe\nseed: 1\n".encode("latin-1")))


def utf16_config(world: World) -> World:
    return replace(world, config=text(world, "wide.yaml", "seed: 1\n".encode("utf-16")))


def binary_config(world: World) -> World:
    return replace(world, config=text(world, "binary.yaml", bytes(range(256))))


def no_schema(world: World) -> World:
    return replace(world, schema=str(world.folder / "none.yaml"))


def latin_schema(world: World) -> World:
    return replace(
        world, schema=text(world, "latin_schema.yaml", "name: größe\n".encode("latin-1"))
    )


def job_of_nothing(content: bytes) -> Change:
    """An output folder whose `job.json` was cut short; no input is named."""

    def change(world: World) -> World:
        out = world.folder / "begun"
        out.mkdir()
        (out / "job.json").write_bytes(content)
        return replace(world, out=str(out), data="", schema="")

    return change


def another_study(content: object) -> Change:
    def change(world: World) -> World:
        out = world.folder / "studied"
        out.mkdir()
        facts = content if isinstance(content, str) else json.dumps(content)
        (out / "study.json").write_text(facts)
        return replace(world, out=str(out))

    return change


def held_elsewhere(world: World) -> World:
    out = world.folder / "held"
    out.mkdir()
    (out / "tracking.jsonl").touch()
    owner = {"pid": 1, "host": "elsewhere", "command": "main.py", "started": "2026-01-01T00:00:00"}
    (out / ".lock").write_text(json.dumps(owner))
    return replace(world, out=str(out))


def unreadable(world: World) -> World:
    path = Path(text(world, "secret.parquet", Path(world.data).read_bytes()))
    path.chmod(0)
    return replace(world, data=str(path))


def read_only_out(world: World) -> World:
    out = world.folder / "read_only"
    out.mkdir(mode=0o500)
    return replace(world, out=str(out / "out"))


DATA: dict[str, tuple[Change, str]] = {
    "no data": (no_data, r"none\.parquet"),
    "an empty folder": (empty_folder, "no data file"),
    "a folder of other CSV": (folder_of_csv, r"log\.csv: column '.*': is missing"),
    "another CSV": (csv, r"log\.csv: column '.*': is missing"),
    "half a file": (truncated, r"short\.parquet: is truncated or not Parquet"),
    "a file of 0 bytes": (empty_file, r"zero\.parquet: is empty"),
    "damaged pages": (damaged_pages, r"pages\.parquet"),
    "no rows": (no_rows, "no rows"),
    "a column twice": (duplicate_columns, r"other\.parquet: column 'user_id': stands .* 2 times"),
    "files that disagree": (files_disagree, "user_id"),
    "no driver": (no_driver, "driver|abfs"),
    "no such scheme": (no_such_scheme, "nosuch"),
    "a loop of links": (loop_of_links, "loop"),
    "a long name": (long_name, "long"),
}
OUT: dict[str, tuple[Change, str]] = {
    "out is a file": (out_is_a_file, "file"),
    "out below a file": (out_below_a_file, "file"),
    "out cannot be made": (out_that_cannot_be_made, "/proc"),
    "out of a long name": (out_of_a_long_name, "long"),
}
LOCKED: dict[str, tuple[Change, str]] = {
    "held elsewhere": (held_elsewhere, r"process 1 on elsewhere .* delete .*\.lock"),
}
CONFIG: dict[str, tuple[Change, str]] = {
    "no configuration": (no_config, r"none\.yaml"),
    "a folder as configuration": (config_is_a_folder, "configuration|YAML"),
    "a configuration in Latin-1": (latin_config, "UTF-8"),
    "a configuration in UTF-16": (utf16_config, r"UTF-8|wide\.yaml"),
    "bytes as configuration": (binary_config, r"UTF-8|binary\.yaml"),
}
SCHEMA: dict[str, tuple[Change, str]] = {
    "no schema": (no_schema, r"none\.yaml"),
    "a schema in Latin-1": (latin_schema, "UTF-8"),
}
STATE: dict[str, tuple[Change, str]] = {
    **{
        f"job.json {content!r}": (job_of_nothing(content), r"job\.json: is damaged .* data and")
        for content in (b"", b"{", b"[]", b"null", b'{"data": 1, "x": 2}', b"\xff\xfe")
    },
    "study.json cut short": (another_study('{"data": '), r"study\.json: is damaged"),
    "study.json of other data": (another_study({"data": "other"}), "data was other and is"),
    "study.json of a release": (another_study({"recmtl": "0.0.1"}), r"recmtl was 0\.0\.1 and is"),
}
NOT_ROOT: dict[str, tuple[Change, str]] = {
    "data that may not be read": (unreadable, r"secret\.parquet"),
    "a folder that may not be written": (read_only_out, "read_only"),
}

DRAFTED = ("a folder of other CSV", "another CSV", "damaged pages", "files that disagree")
"""Of these `describe` drafts what can be read, and names the columns that cannot."""
STEPS = ("prepare", "search", "train", "evaluate", "benchmark", "main")
WORLDS: list[tuple[str, str]] = [
    *((script, name) for script in (*STEPS, "score") for name in DATA),
    *(("describe", name) for name in DATA if name not in DRAFTED),
    *((script, name) for script in (*STEPS, "score", "vision") for name in OUT),
    *(("describe", name) for name in OUT if name != "out is a file"),
    *((script, name) for script in (*STEPS, "score", "vision") for name in LOCKED),
    *((script, name) for script in (*STEPS, "vision") for name in CONFIG),
    *((script, name) for script in STEPS for name in {**SCHEMA, **STATE}),
]
if os.geteuid():
    WORLDS += [(script, name) for script in ("describe", *STEPS, "score") for name in NOT_ROOT]
NO_JOB: dict[str, tuple[Change, str]] = {
    "no job": (lambda world: world, r"tracking\.jsonl: is not there; give the output folder"),
}
WORLDS += [("log", name) for name in {**NO_JOB, "out is a file": 0, "held elsewhere": 0}]
CHANGES = {**NO_JOB, **DATA, **OUT, **LOCKED, **CONFIG, **SCHEMA, **STATE, **NOT_ROOT}
