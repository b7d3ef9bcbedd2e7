"""The encoded log: arrays come back as written, parts of an encoding fit, damage is named."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recmtl.data.encoded_log import (
    ARRAYS,
    NO_GROUP,
    ArrayWriter,
    EncodedLog,
    LogSplit,
    row_bytes,
)
from recmtl.data.encoding import Encoding, ListField, NumericField
from recmtl.errors import DataError
from recmtl.memory import release_pages

WIDTHS = {"ids": 3, "numeric": 2, "labels": 1, "waits": 2, "position": 1, "weights": 1}
STORED = [name for name in LogSplit.__annotations__ if name in ARRAYS]


def arrays(rows: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Arrays of each name's type, and of other types that hold the same numbers."""
    random = np.random.default_rng(seed)
    made = {}
    for name in STORED:
        shape = (rows, WIDTHS[name]) if name in WIDTHS else (rows,)
        made[name] = random.integers(0, 1000, shape).astype(np.float64)
    return made


def write(folder: Path, sizes: list[int]) -> dict[str, np.ndarray]:
    whole = arrays(sum(sizes))
    with ArrayWriter(folder, sum(sizes), widths=WIDTHS) as writer:
        for first, size in zip(np.cumsum([0, *sizes]), sizes, strict=False):
            writer.append({name: part[first : first + size] for name, part in whole.items()})
    return whole


@pytest.mark.parametrize("sizes", [[], [0], [5], [2, 0, 3], [1] * 7])
def test_arrays_are_read_as_they_were_appended(tmp_path: Path, sizes: list[int]) -> None:
    whole = write(tmp_path / "train", sizes)
    manifest = '{"rows": {"train": 1}}'
    (tmp_path / "manifest.json").write_text(manifest)
    split = EncodedLog.open(tmp_path).split("train")
    assert len(split) == sum(sizes)
    for name in STORED:
        array = getattr(split, name)
        assert array.dtype == ARRAYS[name]
        np.testing.assert_array_equal(array, whole[name])


@pytest.mark.parametrize("released", [True, False])
def test_a_missing_group_was_0_in_the_first_release(tmp_path: Path, released: bool) -> None:
    whole = arrays(6) | {"group": np.array([5, 0, -3, 0, 5, NO_GROUP])}
    with ArrayWriter(tmp_path / "train", 6, widths=WIDTHS) as writer:
        writer.append(whole)
    counts = "" if released else ', "counts": []'
    (tmp_path / "manifest.json").write_text(f'{{"rows": {{"train": 6}}{counts}}}')
    zero = NO_GROUP if released else 0
    split = EncodedLog.open(tmp_path).split("train")
    assert split.group.tolist() == [5, zero, -3, zero, 5, NO_GROUP]


def test_a_row_has_the_bytes_that_the_files_grow_by(tmp_path: Path) -> None:
    write(tmp_path / "few", [10])
    write(tmp_path / "many", [1010])
    size = [sum(f.stat().st_size for f in (tmp_path / n).iterdir()) for n in ("few", "many")]
    assert size[1] - size[0] == 1000 * row_bytes(WIDTHS)


def test_a_writer_refuses_a_folder_that_exists(tmp_path: Path) -> None:
    with pytest.raises(FileExistsError):
        ArrayWriter(tmp_path, 1, widths=WIDTHS)


def test_files_are_closed_when_an_error_leaves_the_writer(tmp_path: Path) -> None:
    with (
        pytest.raises(KeyError, match="numeric"),
        ArrayWriter(tmp_path / "train", 3, widths=WIDTHS) as writer,
    ):
        writer.append({"ids": np.zeros((3, 3))})
    assert all(stream.closed for stream in writer._files.values())


@pytest.mark.parametrize("manifest", [None, "{", ""])
def test_a_folder_that_prepare_did_not_finish_is_refused(
    tmp_path: Path, manifest: str | None
) -> None:
    if manifest is not None:
        (tmp_path / "manifest.json").write_text(manifest)
    with pytest.raises(DataError, match=r"not an encoded log|is damaged .* run prepare"):
        EncodedLog.open(tmp_path)


def test_a_part_that_was_not_written_is_refused_with_those_that_were(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"rows": {"train": 3, "test": 1}}')
    with pytest.raises(DataError, match="no part 'valid'; ask for one of train, test"):
        EncodedLog.open(tmp_path).split("valid")


def test_a_file_that_was_cut_off_is_named(tmp_path: Path) -> None:
    write(tmp_path / "train", [100])
    (tmp_path / "manifest.json").write_text('{"rows": {"train": 100}}')
    path = tmp_path / "train" / "numeric.npy"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(DataError, match=r"numeric\.npy: damaged .*; run prepare again"):
        EncodedLog.open(tmp_path).split("train")


@given(st.lists(st.integers(0, 19)))
def test_rows_are_taken_by_number_in_any_order_and_repeatedly(rows: list[int]) -> None:
    split = LogSplit(**arrays(20))
    part = split.take(np.array(rows, np.int64))
    assert len(part) == len(rows)
    for field in fields(LogSplit):
        whole, picked = (getattr(each, field.name) for each in (split, part))
        assert picked.tolist() == [whole[row].tolist() for row in rows]


def test_released_pages_are_read_again_and_arrays_in_memory_are_left_alone(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(5000))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert mapped.sum() == 5000 * 4999 // 2
    release_pages(mapped)
    assert mapped.sum() == 5000 * 4999 // 2
    changed = np.arange(10)
    changed[3] = 7
    release_pages(changed)
    assert changed[3] == 7


names = st.lists(st.text("abcdefgh", min_size=1, max_size=3), unique=True, max_size=9)


@st.composite
def encodings(draw: st.DrawFn) -> Encoding:
    chosen = draw(names)
    cuts = sorted((draw(st.integers(0, len(chosen))), draw(st.integers(0, len(chosen)))))
    single, rest = chosen[: cuts[0]], chosen[cuts[0] : cuts[1]]
    lists, first = [], len(single)
    for name in rest:
        lists.append(ListField(name, first, draw(st.integers(1, 4)), "mean"))
        first += lists[-1].length
    numeric = tuple(NumericField(name, "piecewise", 8) for name in chosen[cuts[1] :])
    return Encoding(draw(st.integers(1, 99)), tuple(single), tuple(lists), numeric)


@given(encodings())
def test_an_encoding_is_read_back_from_its_text(encoding: Encoding) -> None:
    assert Encoding.from_json(encoding.to_json()) == encoding
    assert encoding.part(encoding.fields) == encoding
    assert encoding.num_fields == len(encoding.fields)


@given(encodings(), st.data())
def test_a_part_keeps_its_own_columns_and_no_others(
    encoding: Encoding, data: st.DataObject
) -> None:
    """Whose column each is, by name: of the whole, and of the part among the columns it keeps."""
    kept = data.draw(st.sets(st.sampled_from(encoding.fields))) if encoding.fields else set()
    part = encoding.part(kept)

    def owners(of: Encoding) -> list[str]:
        columns = [*of.single, *(field.name for field in of.lists for _ in range(field.length))]
        assert len(columns) == of.id_columns
        for field in of.lists:
            assert columns[field.first : field.first + field.length] == [field.name] * field.length
        return columns

    ids, numbers = encoding.columns_of(part)
    assert [owners(encoding)[column] for column in ids] == owners(part)
    assert tuple(encoding.numeric[column] for column in numbers) == part.numeric
    assert part.fields == tuple(name for name in encoding.fields if name in kept)
    assert part.table_rows == encoding.table_rows
    assert encoding.part([]) == replace(part, single=(), lists=(), numeric=())


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"table_rows": "x"}', '{"table_rows": 1, "single": 3}']
)
def test_another_text_is_no_encoding(text: str) -> None:
    with pytest.raises(DataError, match=r"not an encoding: .*; prepare the data again"):
        Encoding.from_json(text)
