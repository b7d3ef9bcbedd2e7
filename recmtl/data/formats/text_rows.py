"""Streams a text file as columns of text: cells trimmed, missing ones null, lists and pairs apart.

Memory holds one block of the file, whatever its size.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv

from recmtl.data.formats.text_layout import TextLayout, opened_text
from recmtl.errors import SourceLocation, first_line
from recmtl.paths import AnyPath
from recmtl.schema import ListCells, Pairs

__all__ = ["text_blocks"]

BLOCK_BYTES = 8 << 20
WHOLE_LINE = "\x1f"
"""A separator that no line holds: rows of pairs are taken apart here."""
NOTHING = ("", r"\N")
"""What is missing in a column of any type."""
ENCLOSING = "[](){} \t"


def text_blocks(path: AnyPath, layout: TextLayout) -> Iterator[dict[str, Any]]:
    """The columns of consecutive rows, as arrays of text or of lists of text.

    Raises:
        DataError: a row has another number of cells than the columns, or is no text.
    """
    place = SourceLocation(str(path))
    missing = pa.array([*NOTHING, *(str(word) for word in layout.files.missing)], pa.string())
    lists = {cells.column: cells for cells in layout.files.lists}
    unknown = sorted(lists.keys() - set(layout.columns))
    if unknown:
        raise place.error("is no column", "correct `lists` in `files`", column=unknown[0])
    for batch in _batches(path, layout, place):
        columns = dict(zip(batch.schema.names, batch.columns, strict=True))
        if layout.files.pairs is not None:
            columns = _split_pairs(columns[WHOLE_LINE], layout, layout.files.pairs, place)
        yield {name: _cells(column, missing, lists.get(name)) for name, column in columns.items()}


def _batches(path: AnyPath, layout: TextLayout, place: SourceLocation) -> Iterator[Any]:
    files = layout.files
    names = [WHOLE_LINE] if files.pairs is not None else list(layout.columns)
    quote = False if files.pairs is not None or not files.quote else files.quote
    reading = pcsv.ReadOptions(
        column_names=names,
        skip_rows=layout.skipped,
        block_size=BLOCK_BYTES,
        encoding=files.encoding,
        use_threads=False,
    )
    parsing = pcsv.ParseOptions(
        delimiter=WHOLE_LINE if files.pairs is not None else layout.separator,
        quote_char=quote,
        newlines_in_values=bool(quote),
        # In a file of one column an empty line is a missing value.
        ignore_empty_lines=len(names) > 1 or files.pairs is not None,
    )
    converting = pcsv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()), null_values=[], strings_can_be_null=False
    )
    with opened_text(path) as stream:
        try:
            reader = pcsv.open_csv(stream, reading, parsing, converting)
            yield from reader
        except (pa.ArrowInvalid, UnicodeError) as fault:
            reason = first_line(fault)
            if "Empty CSV file" in reason or "Could not skip initial 1" in reason:
                return  # nothing, or a header alone
            remedy = "correct it, or `files` of the schema (separator, quote, columns)"
            if "UTF8" in reason or isinstance(fault, UnicodeError):
                remedy = "say `files: {encoding: latin-1}` in the schema, or write it as UTF-8"
            raise place.error(f"cannot be read ({reason[:200]})", remedy) from fault


def _cells(column: Any, missing: Any, lists: ListCells | None) -> Any:
    """Trimmed text, null where nothing is; lists of it where cells hold lists."""
    if pa.types.is_list(column.type):
        values = _trimmed(column.values, missing)
        return pa.ListArray.from_arrays(column.offsets, values)
    column = _trimmed(column, missing)
    if lists is None:
        return column
    split = pc.split_pattern(pc.utf8_trim(column, ENCLOSING), lists.separator)
    values = _trimmed(pc.utf8_trim(split.values, " '\""), missing)
    # "[]" is an empty list, and so has no empty value.
    kept, parents = pc.is_valid(values), pc.list_parent_indices(split)
    counts = np.bincount(np.asarray(parents.filter(kept)), minlength=len(split))
    offsets = pa.array(np.append(0, np.cumsum(counts)).astype(np.int32))
    return pa.ListArray.from_arrays(offsets, values.filter(kept), mask=pc.is_null(split))


def _trimmed(column: Any, missing: Any) -> Any:
    trimmed = pc.ascii_trim_whitespace(column)
    return pc.if_else(pc.is_in(trimmed, value_set=missing), pa.scalar(None, pa.string()), trimmed)


def _split_pairs(
    lines: Any, layout: TextLayout, pairs: Pairs, place: SourceLocation
) -> dict[str, Any]:
    """The columns before the pairs as text, and every name of the pairs as a column of lists."""
    before = len(layout.columns)
    parts = pc.split_pattern(lines, layout.separator, max_splits=before)
    widths = pc.list_value_length(parts)
    if pc.any(pc.less(widths, before)).as_py():
        row = pc.index(pc.less(widths, before), True).as_py()
        fault = f"has {widths[row]} cells before the pairs in {lines[row].as_py()[:40]!r}"
        raise place.error(fault, f"{before} are named in `columns` of `files`")
    offsets = np.asarray(parts.offsets)[:-1]
    columns = {
        name: parts.values.take(pa.array(offsets + i)) for i, name in enumerate(layout.columns)
    }
    rest = pa.array(offsets + before, mask=np.asarray(widths) <= before)
    packed = pc.split_pattern(pc.fill_null(parts.values.take(rest), ""), pairs.between)
    row_of = np.asarray(pc.list_parent_indices(packed))
    cells = packed.values
    is_pair = np.asarray(pc.match_substring(cells, pairs.after_name))
    is_blank = np.asarray(pc.equal(pc.ascii_trim_whitespace(cells), ""))
    if not (is_pair | is_blank).all():
        cell = cells[int(np.flatnonzero(~is_pair & ~is_blank)[0])].as_py()
        raise place.error(f"holds {cell[:40]!r} among its pairs", "correct `pairs` of `files`")
    halves = pc.split_pattern(cells.filter(pa.array(is_pair)), pairs.after_name, max_splits=1)
    names = pc.ascii_trim_whitespace(pc.list_element(halves, 0))
    values = pc.list_element(halves, 1)
    if pairs.after_value is not None:
        values = pc.list_element(pc.split_pattern(values, pairs.after_value, max_splits=1), 0)
    return columns | dict(_lists_of_names(names, values, row_of[is_pair], len(lines)))


def _lists_of_names(names: Any, values: Any, row_of: Any, rows: int) -> Iterator[tuple[str, Any]]:
    """Of every name the lists of its values in each row."""
    codes = names.dictionary_encode()
    order = np.argsort(np.asarray(codes.indices), kind="stable")
    counts = np.bincount(np.asarray(codes.indices), minlength=len(codes.dictionary))
    first = 0
    for name, count in zip(codes.dictionary.to_pylist(), counts.tolist(), strict=True):
        mine = order[first : first + count]
        lengths = np.bincount(row_of[mine], minlength=rows)
        offsets = pa.array(np.append(0, np.cumsum(lengths)).astype(np.int32))
        yield name, pa.ListArray.from_arrays(offsets, values.take(pa.array(mine)))
        first += count
