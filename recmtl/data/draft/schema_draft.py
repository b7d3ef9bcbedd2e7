"""A drafted schema: the commented text that a person reads, and the schema that it says."""

from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from pathlib import Path

from recmtl.atomic import write_text
from recmtl.data.describe import describe
from recmtl.data.draft.wishes import Wishes
from recmtl.errors import SchemaError
from recmtl.schema import Schema, TextFiles, parse_schema

__all__ = ["SchemaDraft", "draft_schema"]

PAGE_HEIGHT = 600
"""Pixels of the page in a notebook, which scrolls."""


@dataclass(frozen=True)
class SchemaDraft:
    """What `describe` makes of a log; read it, and correct what is wrong.

    A notebook and `print` show the text, with the reason beside every line.

    Attributes:
        text: YAML with comments, which `save` writes and an editor changes.
        wishes: what was said of the log before.
        page: an HTML page about the columns, with the text in it; empty for none.
    """

    text: str
    wishes: Wishes
    page: str = field(default="", repr=False)

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
        """Write the text to a file, in which it can be corrected; returns the path.

        The page, if there is one, is written beside it: `NAME_profile.html`.
        """
        path = Path(path)
        write_text(path, self.text)
        if self.page:
            write_text(path.with_name(f"{path.stem}_profile.html"), self.page)
        return path

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
        if not self.page:
            return f"<pre>{escape(self.text)}</pre>"
        style = f"width:100%;height:{PAGE_HEIGHT}px;border:1px solid #8888"
        return f'<iframe srcdoc="{escape(self.page)}" style="{style}" title="profile"></iframe>'


def draft_schema(
    path: str, *, name: str = "", wishes: Wishes | None = None, files: TextFiles | None = None
) -> SchemaDraft:
    """The draft of the schema of a log; see `recmtl.data.describe.described`."""
    wishes = wishes or Wishes()
    return SchemaDraft(describe(path, name=name, wishes=wishes, layout=files), wishes)
