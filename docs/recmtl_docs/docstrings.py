"""Docstrings as this project writes them, turned into reStructuredText for Sphinx.

They are read as plain text in an editor: `code` stands between single backticks, a formula or a
code block is indented after an empty line, and a star is a star.
"""

import re
from collections.abc import Iterator
from typing import Any

__all__ = ["rst", "to_rst"]

CODE = re.compile(r"(`+)(.+?)\1")
SPECIAL = re.compile(r"([\\*|]|(?<=\w)_(?=\W|$))")
SECTION = re.compile(r"\s*(Args|Attributes|Raises|Returns|Yields|Note|Example)s?:$")
BULLET = re.compile(r"\s*[-*] ")
TABLE = re.compile(r"\s*=+( +=+)+$")


def to_rst(_app: Any, _what: str, _name: str, _obj: Any, _options: Any, lines: list[str]) -> None:
    """Sphinx's event `autodoc-process-docstring`: replaces the lines of a docstring."""
    lines[:] = rst(lines)


def rst(lines: list[str]) -> list[str]:
    r"""The lines of a docstring as reStructuredText.

    >>> rst(["`p` is a * b:", "", "    p = a * b"])
    ['``p`` is a \\* b:', '', '::', '', '    p = a * b']
    """
    return [text for paragraph in _paragraphs(lines) for text in paragraph]


def _paragraphs(lines: list[str]) -> Iterator[list[str]]:
    """Each paragraph, converted, with the empty line behind it."""
    around = 0  # indent of the prose that a block would be indented from
    for paragraph in _split(lines):
        first = paragraph[0]
        indent = len(first) - len(first.lstrip())
        if first.lstrip().startswith(">>>") or TABLE.match(first):
            yield paragraph  # its single backticks are code too: conf.default_role
        elif indent >= around + 4:
            yield [" " * around + "::", "", *paragraph]
        else:
            yield [_escaped(line) for line in paragraph]
            last = paragraph[-1] or paragraph[-2 if len(paragraph) > 1 else -1]
            in_section = any(SECTION.match(line) for line in paragraph)
            around = _indent_within(last, in_section, indent)


def _split(lines: list[str]) -> Iterator[list[str]]:
    paragraph: list[str] = []
    for line in lines:
        paragraph.append(line)
        if not line.strip():
            yield paragraph
            paragraph = []
    if paragraph:
        yield paragraph


def _indent_within(last: str, in_section: bool, indent: int) -> int:
    """The indent that the next paragraph of prose may have at most."""
    deepest = len(last) - len(last.lstrip())
    return max(deepest, indent + 4) if in_section else indent


def _escaped(line: str) -> str:
    """A line of prose: code between double backticks, and no character with a second meaning."""
    bullet = BULLET.match(line)
    start = bullet.end() if bullet else 0
    parts, end = [line[:start].replace("*", "-")], start
    for code in CODE.finditer(line, start):
        parts += [SPECIAL.sub(r"\\\1", line[end : code.start()]), f"``{code.group(2)}``"]
        end = code.end()
        if line[end : end + 1].isalnum():
            parts.append("\\ ")  # code ends only before a break
    return "".join([*parts, SPECIAL.sub(r"\\\1", line[end:])])
