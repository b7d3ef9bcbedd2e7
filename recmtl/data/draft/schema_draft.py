"""A drafted schema: the commented text that a person reads, and the schema that it says."""

from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path

from recmtl.atomic import write_text
from recmtl.data.describe import describe
from recmtl.data.draft.wishes import Wishes
from recmtl.errors import SchemaError
from recmtl.schema import Schema, TextFiles, parse_schema

__all__ = ["SchemaDraft", "draft_schema"]


@dataclass(frozen=True)
class SchemaDraft:
    """What `describe` makes of a log; read it, and correct what is wrong.

    A notebook and `print` show the text, with the reason beside every line.

    Attributes:
        text: YAML with comments, which `save` writes and an editor changes.
        wishes: what was said of the log before.
    """

    text: str
    wishes: Wishes

    @cached_property
    def schema(self) -> Schema:
        """The schema of the text.

        Raises:
            SchemaError: it has no task or no feature, or the rows refuse a part that was wished.
        """
        try:
            schema = parse_schema(self.text, source="draft")
        except SchemaError as fault:
            refused = self._refused()
            raise SchemaError(f"{fault}; {refused}") from None if refused else fault
        missing = self._missing(schema)
        if missing:
            raise SchemaError(f"draft: {', '.join(missing)}: does not fit; {self._refused()}")
        return schema

    def save(self, path: str | Path) -> Path:
        """Write the text to a file, in which it can be corrected; returns the path."""
        write_text(Path(path), self.text)
        return Path(path)

    def _missing(self, schema: Schema) -> list[str]:
        """The wishes that the schema does not fulfil."""
        names = {task.name for task in schema.tasks}
        missing = [f"task {name!r}" for name in self.wishes.tasks if name not in names]
        for role in ("group", "time"):
            wish = getattr(self.wishes, role)
            if wish not in ("", getattr(schema.roles, role)):
                missing.append(f"{role} {wish!r}")
        if self.wishes.time and schema.split.by not in ("time", "column"):
            missing.append(f"a split by the time {self.wishes.time!r}")
        return missing

    def _refused(self) -> str:
        """The lines that the rows refuse, and why."""
        lines = [line.strip(" #") for line in self.text.splitlines() if "# refused: " in line]
        return f"refused by the rows: {'; '.join(lines)}" if lines else ""

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return f"<pre>{escape(self.text)}</pre>"


def draft_schema(
    path: str, *, name: str = "", wishes: Wishes | None = None, files: TextFiles | None = None
) -> SchemaDraft:
    """The draft of the schema of a log; see `recmtl.data.describe.described`."""
    wishes = wishes or Wishes()
    return SchemaDraft(describe(path, name=name, wishes=wishes, layout=files), wishes)
