"""The frame of the HTML report, and the few elements that a page is made of.

Templates, style and script lie in `templates/`. A page follows the reader's choice of light or
dark; paper is light. Everything is in the one file: no font, no request, and one script, which
sorts tables. The page's policy lets the browser run that script alone. Text that comes from a user
(task names, warnings, models) is escaped by the templates.
"""

import base64
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from recmtl.atomic import write_text

__all__ = [
    "Card",
    "Content",
    "Html",
    "Section",
    "cards",
    "figure",
    "figures",
    "folded",
    "join",
    "listed",
    "page",
    "paragraph",
    "section",
    "table",
    "terms",
    "true_minus",
    "write_page",
]

Html = Markup
"""Text that is already HTML; everything else is escaped before it enters the page."""
Content = Markup | str

# fmt: off
ON_DARK = {
    "#1f2933": "#e4e7eb", "#52606d": "#a3aeba", "#e4e7eb": "#323b45", "#9aa5b1": "#5c6874",
    "#b8c0c9": "#5c6874", "#0b7a53": "#4cc38a", "#b3261e": "#ff8a80", "#1d4ed8": "#7aa2ff",
    "#b45309": "#f5a54a", "#0f766e": "#4fd1c5", "#9d174d": "#f48fb1", "#5b21b6": "#b79bff",
    "#4d7c0f": "#a3d65c", "#0e7490": "#5ccbe6",
}
# fmt: on
"""Colours of pictures on a light ground -> those on a dark one."""
MINUS = re.compile(r"(?<![\w.)-])-(?=\.?\d)")


@dataclass(frozen=True)
class Section:
    """A section of a page, which its contents list.

    Attributes:
        title: its heading.
        content: what stands below the heading.
        kind: its class; empty for none.
    """

    title: str
    content: Markup
    kind: str = ""

    @property
    def id(self) -> str:
        """The name by which links find it."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-") or "section"

    @property
    def markup(self) -> Markup:
        """The section as HTML."""
        return _element("section", self.title, self.id, self.content, self.kind)


@dataclass(frozen=True)
class Card:
    """A card: its title, a mark beside it, lines below, and a class that colours it."""

    title: str
    mark: str
    lines: Sequence[Content]
    kind: str


def page(title: str, body: Iterable[Section | Markup]) -> str:
    """The whole document; several sections are listed before it."""
    parts = list(body)
    sections = [part for part in parts if isinstance(part, Section)]
    script = read_template("sort.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'"
    )
    return (
        _templates()
        .get_template("page.html")
        .render(
            title=title,
            policy=policy,
            style=Markup(read_template("style.css")),
            script=Markup(script),
            contents=sections if len(sections) > 3 else [],
            body=[part.markup if isinstance(part, Section) else part for part in parts],
        )
    )


def write_page(path: str | Path, title: str, body: Iterable[Section | Markup]) -> None:
    """Write the document; `path` holds either the whole new file or what it held before."""
    write_text(Path(path), page(title, body))


def join(parts: Iterable[Markup]) -> Markup:
    """Several pieces, one after the other."""
    return Markup("\n").join(parts)


def paragraph(content: Content, kind: str = "") -> Markup:
    """A paragraph, with an optional class."""
    return _element("paragraph", content, kind)


def listed(items: Iterable[Content]) -> Markup:
    """A list of points."""
    return _element("listed", list(items))


def folded(summary: str, content: Markup) -> Markup:
    """What a reader unfolds if it is wanted."""
    return _element("folded", summary, content)


def terms(entries: Iterable[tuple[str, Content]]) -> Markup:
    """Terms and what they mean."""
    return _element("terms", list(entries))


def cards(items: Iterable[Card]) -> Markup:
    """Cards beside one another, as many as fit."""
    return _element("cards", list(items))


def section(title: str, *parts: Markup, kind: str = "") -> Section:
    """A section of these parts."""
    return Section(title, join(parts), kind)


def table(
    header: Sequence[str],
    rows: Sequence[Sequence[Content]],
    *,
    caption: str = "",
    kinds: Sequence[Sequence[str]] | None = None,
) -> Markup:
    """A table that scrolls inside itself on a narrow screen, and is sorted by its heads.

    Args:
        header: column titles.
        rows: cells; the first cell of each row is its heading.
        caption: a line above the table.
        kinds: a class for each cell, in the shape of `rows`.
    """
    of_rows = kinds or [[""] * len(row) for row in rows]
    cells = [list(zip(row, kind, strict=True)) for row, kind in zip(rows, of_rows, strict=True)]
    return _element("table", list(header), cells, caption)


def figure(svg: str, *, alt: str, title: str = "", kind: str = "") -> Markup:
    """A picture from SVG text, shown as an image: nothing in it can run, its ids stay its own.

    Its colours follow the reader's choice of light or dark, as far as `ON_DARK` knows them.
    """
    picture = base64.b64encode(_follow_theme(svg).encode()).decode()
    return _element("figure", picture, alt, title, kind)


def figures(pictures: Iterable[Markup]) -> Markup:
    """Pictures beside one another, as many as fit."""
    return _element("figures", list(pictures))


def true_minus(text: str) -> str:
    r"""Text with minus signs in place of the hyphens before its numbers; names keep theirs.

    >>> ascii(true_minus("searched-1 loses -0.5"))
    "'searched-1 loses \\u22120.5'"
    """
    return MINUS.sub("\u2212", text)


def _follow_theme(svg: str) -> str:
    colours = [colour for colour in ON_DARK if colour in svg]
    style = ";".join(f"--c{colour[1:]}:{ON_DARK[colour]}" for colour in colours)
    themed = (
        re.sub("|".join(colours), lambda c: f"var(--c{c[0][1:]},{c[0]})", svg) if colours else svg
    )
    head, start, rest = themed.partition("<svg")
    opening, end, content = rest.partition(">")
    rule = f"@media screen and (prefers-color-scheme: dark) {{ svg {{ {style} }} }}"
    return f"{head}{start}{opening}{end}<style>{rule}</style>{content}"


@cache
def read_template(name: str) -> str:
    """The text of a file of `templates/`."""
    return (files("recmtl.report") / "templates" / name).read_text(encoding="utf-8")


@cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("recmtl.report"),
        autoescape=True,
        finalize=lambda value: true_minus(value) if type(value) is str else value,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _element(name: str, *arguments: object) -> Markup:
    macro = getattr(_templates().get_template("elements.html").module, name)
    return Markup(macro(*arguments))
