"""YAML text to values with their lines, without what a settings file does not need.

Scalars follow the core rules of YAML 1.2: `no`, `on` and `2024-01-31` are strings, `1e-3` is a
number, and keys are always strings. Anchors, aliases and tags are refused, and so are texts that
are too long or nested too deep: all of this before a value is built.
"""

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from recmtl.errors import RecmtlError

__all__ = ["Located", "Problems", "Scalar", "join", "parse", "plain_scalar", "quoted", "read_text"]

Scalar = str | int | float | bool | None

MOST_BYTES = 1_000_000
"""Of a text; a schema of 10,000 columns has about 600,000."""
MOST_LEVELS = 40
"""Of lists and mappings within one another; the deepest setting stands on level 5."""
MOST_DIGITS = 400
"""A longer whole number is read as a float, and so refused as infinite."""
_INTEGER = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_CONSTANTS: dict[str, Scalar] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", "+.inf"), math.inf),
    "-.inf": -math.inf,
    ".nan": math.nan,
}
_OPENING = (
    yaml.BlockMappingStartToken,
    yaml.BlockSequenceStartToken,
    yaml.FlowMappingStartToken,
    yaml.FlowSequenceStartToken,
)
_CLOSING = (yaml.BlockEndToken, yaml.FlowMappingEndToken, yaml.FlowSequenceEndToken)
_ALIASES = "aliases (*name) are not supported; write the value out"
_REFUSED = {
    yaml.AliasToken: _ALIASES,
    yaml.AnchorToken: _ALIASES,  # an anchor is there for its aliases
    yaml.TagToken: "tags (!name) are not supported; write the plain value",
}


@dataclass(frozen=True)
class Located:
    """A value and the line of YAML on which it stands (1-based); None where there is no file."""

    value: Any
    line: int | None


class Problems:
    """Collects mistakes and raises them together, one line each, in the order of the file."""

    def __init__(self, source: str) -> None:
        """Collect mistakes in `source`, the name that opens each line: usually the file's."""
        self.source = source
        self._mistakes: list[tuple[int | None, str]] = []

    def add(self, line: int | None, path: str, message: str) -> None:
        """Record one mistake at `path` (dotted keys; empty for the top)."""
        entry = (line, f"{path}: {message}" if path else message)
        if entry not in self._mistakes:
            self._mistakes.append(entry)

    def of(self, source: str) -> "Problems":
        """The same mistakes in a text of another name."""
        problems = Problems(source)
        problems._mistakes = self._mistakes
        return problems

    def __len__(self) -> int:
        """Number of mistakes so far."""
        return len(self._mistakes)

    def raise_as(self, error: type[RecmtlError]) -> None:
        """Raise `error` with all mistakes, or return if there is none."""
        if self._mistakes:
            ordered = sorted(self._mistakes, key=lambda entry: entry[0] or 0)
            places = [
                self.source if line is None else f"{self.source}:{line}" for line, _ in ordered
            ]
            lines = zip(places, ordered, strict=True)
            raise error("\n".join(f"{place}: {text}" for place, (_, text) in lines))


def read_text(path: Path, error: type[RecmtlError], *, what: str) -> str:
    """The text of a settings file, a byte order mark aside.

    Args:
        path: the file.
        error: the class to raise where it cannot be read, is too large or is no UTF-8.
        what: the file in messages: `schema file`.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except FileNotFoundError as fault:
        raise error(f"{path}: no such {what}; check the path") from fault
    except (OSError, ValueError) as fault:  # a NUL in the path is a ValueError
        reason = getattr(fault, "strerror", None) or fault
        raise error(f"{path}: the {what} cannot be read ({reason}); check the path") from fault
    if len(content) > MOST_BYTES:
        raise error(f"{path}: is larger than {MOST_BYTES:,} bytes; give a {what} in YAML")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        line = content.count(b"\n", 0, fault.start) + 1
        wrong = f"byte {content[fault.start]:#04x} is not UTF-8 text"
        raise error(f"{path}:{line}: {wrong}; save the {what} as UTF-8") from fault


def parse(text: str, problems: Problems) -> Located | None:
    """Parse YAML text into located values; None, and a mistake, if it is not YAML."""
    if len(text) > MOST_BYTES:
        problems.add(1, "", f"is longer than {MOST_BYTES:,} characters; give YAML settings")
        return None
    try:
        if not _is_plain(text, problems):
            return None
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        return Located({}, 1) if node is None else _locate(node, "", problems)
    except yaml.YAMLError as fault:
        problems.add(_line_of(fault, text), "", f"not valid YAML: {_reason(fault)}")
        return None


def _is_plain(text: str, problems: Problems) -> bool:
    """Whether a text has no construct that is refused; reports the first one.

    Tokens are read one by one, so that the depth ends the reading, not the length.
    """
    level = 0
    for token in yaml.scan(text):
        line = token.start_mark.line + 1
        if type(token) in _REFUSED:
            problems.add(line, "", _REFUSED[type(token)])
            return False
        level += isinstance(token, _OPENING) - isinstance(token, _CLOSING)
        if level > MOST_LEVELS:
            problems.add(line, "", f"nested too deep (more than {MOST_LEVELS} levels); flatten it")
            return False
    return True


def _line_of(fault: yaml.YAMLError, text: str) -> int:
    mark = getattr(fault, "problem_mark", None)
    if mark is not None:
        return int(mark.line) + 1
    return text.count("\n", 0, getattr(fault, "position", 0)) + 1


def _reason(fault: yaml.YAMLError) -> str:
    """What is wrong, and a remedy where PyYAML's words need one."""
    if isinstance(fault, yaml.reader.ReaderError):
        return f"character U+{fault.character:04X} may not stand in it; remove it"
    reason = getattr(fault, "problem", None) or str(fault).splitlines()[0]
    return f"{reason}; indent with blanks, not tabs" if "'\\t'" in reason else str(reason)


def _locate(node: yaml.Node, path: str, problems: Problems) -> Located:
    line = node.start_mark.line + 1
    if isinstance(node, yaml.SequenceNode):
        return Located([_locate(item, path, problems) for item in node.value], line)
    if not isinstance(node, yaml.MappingNode):
        quoted = getattr(node, "style", None) is not None
        return Located(node.value if quoted else plain_scalar(node.value), line)
    entries: dict[str, Located] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            problems.add(key.start_mark.line + 1, path, "a key must be a single word")
            continue
        if key.value in entries:
            problems.add(key.start_mark.line + 1, path, f"key {key.value!r} is given twice")
        child = _locate(value, join(path, key.value), problems)
        entries[key.value] = Located(child.value, key.start_mark.line + 1)
    return Located(entries, line)


def plain_scalar(text: str) -> Scalar:
    """The value of an unquoted YAML scalar under the YAML 1.2 core rules."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INTEGER.fullmatch(text) and len(text) < MOST_DIGITS:
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text


def join(path: str, key: str) -> str:
    """The dotted path of a key within `path`, which is empty at the top."""
    return f"{path}.{key}" if path else key


def quoted(text: str) -> str:
    """The YAML scalar that is read back as this text."""
    plain = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", text) and isinstance(plain_scalar(text), str)
    if plain:
        return text
    # JSON would write characters beyond 16 bits as two, which YAML does not read as one.
    escaped = json.dumps(text, ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in escaped)
