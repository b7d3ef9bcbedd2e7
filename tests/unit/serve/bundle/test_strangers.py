"""A bundle of a stranger reads nothing outside of it, takes no memory that it does not hold."""

import json
import re
import shutil
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file, save_file

from recmtl.command.main import main
from recmtl.data.row_encoder import RowEncoder
from recmtl.errors import BundleError, ConfigError, DataError
from recmtl.grid import CATALOG
from recmtl.model import ModelSizes, TabularModel, load_model, save_model
from recmtl.serve import Scorer, load_bundle, save_bundle, score_parquet
from recmtl.serve.bundle import manifest
from recmtl.serve.bundle.arrow_file import read_arrow
from recmtl.serve.bundle.card import model_card
from recmtl.serve.bundle.onnx_export import NETWORK_FILE
from recmtl.serve.scoring.onnx import OnnxNetwork
from tests.chaos.alterations import reseal
from tests.unit.serve.shop import HEADS, SCHEMA, make_encoder, make_log, make_model

GOLDEN, VOCABULARIES = Path("golden/rows.arrow"), Path("encoder/vocabularies.arrow")


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / "copy"))


def refusal(folder: Path) -> str:
    """The one line with which a bundle is refused, though its seal fits."""
    reseal(folder)
    with pytest.raises(BundleError) as raised:
        load_bundle(folder)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def write_arrow(path: Path, table: pa.Table, **options: Any) -> None:
    with pa.ipc.new_file(str(path), table.schema, options=pa.ipc.IpcWriteOptions(**options)) as out:
        out.write_table(table)


def changed_golden(folder: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    write_arrow(folder / GOLDEN, change(read_arrow(folder / GOLDEN)))


def with_scores(values: list[float]) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        scores = pa.array([*values, *[0.5] * (table.num_rows - len(values))], pa.float32())
        return table.set_column(
            table.column_names.index("expected:p_click"), "expected:p_click", scores
        )

    return change


GOLDENS = {
    "no row": (lambda table: table.slice(0, 0), "has 0 golden rows"),
    "no score": (lambda table: table.drop_columns("expected:p_click"), "expected:p_click"),
    "NaN": (with_scores([float("nan")]), "no numbers"),
    "infinity": (with_scores([float("inf")]), "no numbers"),
    "another score": (with_scores([0.123]), "differs by"),
    "text": (lambda table: table.set_column(0, "user_id", pa.array(["x"] * 64)), "user_id"),
}


@pytest.mark.parametrize("kind", GOLDENS)
def test_golden_rows_that_prove_nothing_are_refused(kind: str, copy: Path) -> None:
    change, message = GOLDENS[kind]
    changed_golden(copy, change)
    assert message in refusal(copy)


def test_a_network_without_finite_scores_is_not_saved(
    encoder: RowEncoder, log: pa.Table, tmp_path: Path
) -> None:
    model = make_model(encoder)
    next(iter(model.heads.parameters())).data.fill_(float("nan"))
    parts: dict[str, Any] = {"model": model, "encoder": encoder, "rows": log, "metrics": {}}
    with pytest.raises(BundleError, match="not all finite"):
        save_bundle(tmp_path / "b", **parts)
    assert not any(tmp_path.iterdir())


SIZES = {
    "embedding": lambda network: network["sizes"].update(embedding=60_000),
    "tower": lambda network: network["sizes"].update(tower=[60_000, 60_000]),
    "table": lambda network: network["encoding"].update(table_rows=10**12),
    "negative": lambda network: network["encoding"].update(table_rows=-5),
    "bins": lambda network: network["encoding"]["numeric"][1].update(bins=10**10),
    "layer": lambda network: network["layout"]["layers"][0].update(width=10**9),
    "hidden": lambda network: network["layout"]["layers"][0].update(hidden=[10**6, 10**6]),
}


@pytest.mark.parametrize("kind", SIZES)
def test_sizes_beyond_the_weights_are_refused_before_memory_is_taken(kind: str, copy: Path) -> None:
    path = copy / "model" / "network.json"
    network = json.loads(path.read_text())
    SIZES[kind](network)
    path.write_text(json.dumps(network))
    reseal(copy)
    tracemalloc.start()
    try:
        assert "not a saved model" in refusal(copy)
        assert tracemalloc.get_traced_memory()[1] < 50 << 20
    finally:
        tracemalloc.stop()
    if kind in ("embedding", "tower", "table", "layer", "hidden"):
        assert "weights.safetensors holds" in refusal(copy)


@pytest.mark.parametrize("name", sorted(CATALOG))
@pytest.mark.parametrize("tower", [(), (8,), (8, 4)])
def test_no_published_layout_states_more_than_its_weights(
    name: str, tower: tuple[int, ...], encoder: RowEncoder, tmp_path: Path
) -> None:
    layout = CATALOG[name].layout(len(HEADS), cells=6, widths=(8, 4), depth=2)
    sizes = ModelSizes(embedding=4, tower=tower)
    save_model(TabularModel(encoder.encoding, HEADS, layout=layout, sizes=sizes), tmp_path)
    load_model(tmp_path)


def test_weights_whose_header_lies_are_refused(copy: Path) -> None:
    path = copy / "model" / "weights.safetensors"
    weights = load_file(path)
    raw = path.read_bytes()
    (length,) = struct.unpack_from("<Q", raw)
    for lie in (length + 8, 2**40, 2**63):
        path.write_bytes(struct.pack("<Q", lie) + raw[8:])
        assert "not a saved model" in refusal(copy)
    header = json.loads(raw[8 : 8 + length])
    name = next(key for key in header if key != "__metadata__")
    for change in ({"shape": [10**9, 10**9]}, {"data_offsets": [0, 10**15]}, {"dtype": "F8"}):
        text = json.dumps(header | {name: header[name] | change}).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + length :])
        assert "not a saved model" in refusal(copy)
    save_file({**weights, name: weights[name][:1].contiguous()}, path)
    assert "not a saved model" in refusal(copy)


@pytest.mark.parametrize("file", [GOLDEN, VOCABULARIES])
@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_compressed_files_are_refused(file: Path, compression: str, copy: Path) -> None:
    write_arrow(copy / file, read_arrow(copy / file), compression=compression)
    assert f"{file.name}: is compressed" in refusal(copy)


def test_columns_without_bytes_may_state_no_more_rows_than_a_file_could_hold(
    tmp_path: Path,
) -> None:
    nulls = pa.nulls(10**9)
    ends = pa.RunEndEncodedArray.from_arrays(pa.array([10**9], pa.int32()), pa.array([1]))
    inner = pa.ListArray.from_arrays(pa.array([0, 10**9], pa.int32()), nulls)
    fixed = pa.FixedSizeListArray.from_arrays(nulls, 10**9)
    for number, column in enumerate((nulls, ends, inner, fixed)):
        write_arrow(tmp_path / f"{number}", pa.table({"a": column}))
        with pytest.raises(BundleError, match="states more values than it holds"):
            read_arrow(tmp_path / f"{number}")


@pytest.mark.parametrize("rows", [0, 1, 300])
def test_files_that_recmtl_writes_are_read_as_they_are(rows: int, tmp_path: Path) -> None:
    log = make_log(300).slice(0, rows)
    log = log.append_column("codes", log["item"].dictionary_encode())
    write_arrow(tmp_path / "log", log)
    assert read_arrow(tmp_path / "log").equals(log)


def test_every_cut_and_many_flips_of_an_arrow_file_are_refused_or_read(tmp_path: Path) -> None:
    path, dice = tmp_path / "log", np.random.default_rng(0)
    write_arrow(path, make_log(5))
    raw = path.read_bytes()
    faults = (BundleError, pa.ArrowException, struct.error, IndexError, ValueError, OSError)
    for attempt in range(400):
        altered = bytearray(raw)
        for place in dice.integers(0, len(raw), 3):
            altered[place] ^= 1 << int(dice.integers(8))
        path.write_bytes(altered if attempt % 2 else raw[: int(dice.integers(len(raw)))])
        try:
            read_arrow(path)
        except faults:
            continue


def test_texts_larger_than_any_are_refused_unread(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifest, "MOST_TEXT_BYTES", 1000)
    assert "more than any that recmtl writes" in refusal(copy)


@pytest.mark.parametrize("name", ["metrics.json", "encoder/encoder.json", "model/network.json"])
def test_deep_nesting_is_refused_or_harmless(name: str, copy: Path) -> None:
    (copy / name).write_text("[" * 200_000 + "]" * 200_000)
    assert str(copy) in refusal(copy)


def side_table_log(folder: Path, stated: str) -> Path:
    """A bundle whose schema states that path of a side table, which lies in `folder/else`."""
    log = make_log(300)
    items = pa.table({"item": [f"item-{n}" for n in range(40)], "size": np.arange(40.0)})
    (folder / "log").mkdir()
    (folder / "else").mkdir()
    pq.write_table(log, folder / "log" / "log.parquet")
    pq.write_table(items, folder / "else" / "items.parquet")
    schema = SCHEMA.replace("tasks:", "  size: {kind: numeric}\ntasks:")
    schema += f"tables: [{{path: {json.dumps(stated)}, key: item}}]\n"
    by_item = dict(zip(items["item"].to_pylist(), items["size"].to_pylist(), strict=True))
    joined = log.append_column("size", pa.array([by_item.get(i) for i in log["item"].to_pylist()]))
    encoder = make_encoder(joined, schema)
    parts: dict[str, Any] = {"model": make_model(encoder), "encoder": encoder, "rows": joined}
    return save_bundle(folder / "bundle", metrics={}, **parts)


@pytest.mark.parametrize(
    "stated", ["ABSOLUTE", "../else/items.parquet", "a/../../else/x", "s3://b/x"]
)
def test_a_side_table_outside_of_the_log_is_read_only_if_the_caller_says_so(
    stated: str, tmp_path: Path
) -> None:
    place = tmp_path / "else" / "items.parquet"
    stated = stated.replace("ABSOLUTE", str(place))
    bundle = side_table_log(tmp_path, stated)
    source, out = tmp_path / "log", tmp_path / "out"
    place.rename(place.with_suffix(".away"))
    with pytest.raises(BundleError, match="lies outside of the log's folder") as raised:
        score_parquet(Scorer.load(bundle), source, out)
    assert "side_tables={" in str(raised.value) and "--side-table" in str(raised.value)
    place.with_suffix(".away").rename(place)
    scorer = Scorer.load(bundle, side_tables={stated: place})
    score_parquet(scorer, source, out)
    command = [
        "score",
        "--bundle",
        str(bundle),
        "--input",
        str(source),
        "--output",
        str(tmp_path / "cli"),
    ]
    assert main(command) == 2
    assert main([*command, "--side-table", f"{stated}={place}"]) == 0
    scores = [pq.read_table(folder) for folder in (out, tmp_path / "cli")]
    assert scores[0].equals(scores[1])


def test_a_side_table_beside_the_log_needs_no_word_and_may_still_be_elsewhere(
    tmp_path: Path,
) -> None:
    bundle = side_table_log(tmp_path, "items.parquet")
    place, source = tmp_path / "else" / "items.parquet", tmp_path / "log"
    with pytest.raises(DataError, match=r"items\.parquet: does not exist"):
        score_parquet(Scorer.load(bundle), source, tmp_path / "none")
    score_parquet(Scorer.load(bundle, side_tables={"items.parquet": place}), source, tmp_path / "a")
    shutil.copy(place, source)
    score_parquet(Scorer.load(bundle), source, tmp_path / "b")
    assert pq.read_table(tmp_path / "a").equals(pq.read_table(tmp_path / "b"))
    with pytest.raises(ConfigError, match=r"no table 'item'; it has 'items\.parquet'"):
        load_bundle(bundle, side_tables={"item": place})


@pytest.mark.parametrize("place", ["../../secret", "ABSOLUTE", "link", "/dev/zero"])
def test_a_network_in_onnx_reads_no_weights_outside_of_its_folder(
    place: str, tmp_path: Path
) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    (tmp_path / "b" / "model").mkdir(parents=True)
    np.arange(4, dtype=np.float32).tofile(tmp_path / "secret")
    (tmp_path / "b" / "model" / "link").symlink_to(tmp_path / "secret")
    weight = onnx.TensorProto(name="w", data_type=1, dims=[4])
    weight.data_location = onnx.TensorProto.EXTERNAL
    location = place.replace("ABSOLUTE", str(tmp_path / "secret"))
    for key, value in {"location": location, "offset": "0", "length": "16"}.items():
        weight.external_data.add(key=key, value=value)
    vectors = [onnx.helper.make_tensor_value_info(name, 1, [4]) for name in ("x", "scores")]
    node = onnx.helper.make_node("Add", ["x", "w"], ["scores"])
    graph = onnx.helper.make_graph([node], "g", vectors[:1], vectors[1:], [weight])
    network = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    network.ir_version = 9
    path = tmp_path / "b" / NETWORK_FILE
    path.write_bytes(network.SerializeToString())
    with pytest.raises(BundleError, match="no ONNX network"):
        OnnxNetwork(path, ["p_click"])


def test_names_are_neither_markdown_nor_html_in_the_card() -> None:
    encoder = make_encoder(make_log(50))
    odd = "<script>alert(1)</script>", "a|b", "x`y", "two\nlines", "[l](javascript:x)", "**b**"
    metrics = {
        "tasks": {"click": {"verdict": "helped | <b>"}},
        "fingerprint": "`<i>",
        "calibration": {
            "method": "<u>platt</u>",
            "segment": "se|g",
            "columns": {"c|`": {key: dict.fromkeys(("log_loss", "brier", "ece"), 0.1)
                                for key in ("before", "after")}},
            "kept_negatives": {"t|<": 0.5},
        },
    }  # fmt: skip
    card = model_card(encoder.schema, odd, odd, metrics)
    rows = [line for line in card.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in rows} == {5}
    prose = re.sub(r"`[^`\n]*`", "", card.partition("## Tasks")[2])
    assert not set("<`[*") & set(prose) and "two lines" in prose
    plain = model_card(encoder.schema, ["user_id"], ["p_click_and_buy"], {})
    assert "`user_id`" in plain and "`p_click_and_buy`" in plain
