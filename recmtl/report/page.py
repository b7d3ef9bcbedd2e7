"""The frame of the HTML report: style, escaping, and the few elements that a page is made of.

It follows the reader's choice of light or dark; pictures keep a light ground, and so does paper.

Everything is in the one file: no script, no font, no request. Text that comes from a user (task
names, warnings, models) passes through `escape` here and nowhere else.
"""

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template

from recmtl.atomic import write_text

__all__ = ["Html", "figure", "join", "page", "paragraph", "section", "table", "text", "write_page"]


@dataclass(frozen=True)
class Html:
    """Text that is already HTML; everything else is escaped before it enters the page."""

    markup: str


Content = Html | str

PAGE = Template(
    """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>$title</title>
<style>$style</style>
</head>
<body>
<main>
$body
</main>
</body>
</html>
"""
)

STYLE = """
:root { color-scheme: light dark; --page: #fff; --ink: #1f2933; --muted: #52606d; --line: #d9dee4;
  --rule: #9aa5b1; --good: #0b7a53; --bad: #b3261e; --open: #52606d; --star: #946200; }
@media screen and (prefers-color-scheme: dark) {
  :root { --page: #14181d; --ink: #e4e7eb; --muted: #a3aeba; --line: #323b45;
    --rule: #5c6874; --good: #4cc38a; --bad: #ff8a80; --open: #a3aeba; --star: #f0b429; }
  figure img { background: #fff; border-radius: 6px; padding: .5rem; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: .5rem 0 .25rem; }
h2 { font-size: 1.22rem; margin: 2.6rem 0 .5rem; padding-top: .9rem;
  border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; overflow-wrap: anywhere; }
p { margin: .4rem 0 .8rem; max-width: 46rem; overflow-wrap: anywhere; }
.quiet, figcaption, caption { color: var(--muted); font-size: .9rem; }
.cards { display: grid; gap: .8rem; margin: 1.1rem 0;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 19rem), 1fr)); }
.card { border: 1px solid var(--line); border-left: 5px solid var(--open); border-radius: 6px;
  padding: .7rem .9rem; break-inside: avoid; }
.card h3 { margin: 0 0 .2rem; display: flex; gap: .5rem; flex-wrap: wrap;
  justify-content: space-between; align-items: baseline; }
.card p { margin: .2rem 0; font-size: .93rem; }
.helped { border-left-color: var(--good); } .hurt { border-left-color: var(--bad); }
.mark { font-size: .82rem; font-weight: 600; color: var(--open); white-space: nowrap; }
.helped .mark, td.helped { color: var(--good); } .hurt .mark, td.hurt { color: var(--bad); }
td.helped, td.hurt { font-weight: 600; }
.scroll { overflow-x: auto; margin: .6rem 0 1rem; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding: 0 0 .4rem; }
th, td { padding: .34rem .75rem; border-bottom: 1px solid var(--line); text-align: right;
  white-space: nowrap; }
th { font-weight: 600; } thead th { border-bottom: 2px solid var(--rule); vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
td.best { font-weight: 700; } td.best::after { content: " \\2605"; color: var(--star); }
td.text, td.helped, td.hurt { text-align: left; }
td.signed { text-align: right; }
tbody th { position: sticky; left: 0; background: var(--page); }
.figures { display: grid; gap: 1rem 1.6rem; align-items: start;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 20rem), 1fr)); }
figure { margin: 0; min-width: 0; break-inside: avoid; }
figure img { display: block; width: 100%; height: auto; }
figure h3 { margin: .4rem 0 .1rem; }
.wide img { width: auto; max-width: 100%; min-width: min(100%, 20rem); margin: 0 auto; }
details { margin: .5rem 0; } summary { cursor: pointer; font-weight: 600; }
dl { margin: .5rem 0; max-width: 52rem; } dt { font-weight: 600; margin-top: .5rem; }
dd { margin: 0 0 .3rem; } li { overflow-wrap: anywhere; }
code { font-size: .88em; overflow-wrap: anywhere; }
@media print {
  @page { margin: 14mm; }
  body { font-size: 10.5pt; } table { font-size: 8pt; } main { max-width: none; padding: 0; }
  .scroll { overflow: visible; } td.signed { text-align: right; }
tbody th { position: static; }
  th, td { white-space: normal; padding: .2rem .35rem; }
  h2, h3 { break-after: avoid; } tr { break-inside: avoid; }
  .figures { grid-template-columns: 1fr 1fr; }
  details::details-content { content-visibility: visible; display: block; }
}
"""


def page(title: str, body: Iterable[Html]) -> str:
    """The whole document."""
    return PAGE.substitute(title=escape(title), style=STYLE, body=join(body).markup)


def write_page(path: str | Path, title: str, body: Iterable[Html]) -> None:
    """Write the document; `path` holds either the whole new file or what it held before."""
    write_text(Path(path), page(title, body))


def text(content: Content) -> str:
    """HTML as it is, anything else escaped."""
    return content.markup if isinstance(content, Html) else escape(content)


def join(parts: Iterable[Html]) -> Html:
    """Several pieces, one after the other."""
    return Html("\n".join(part.markup for part in parts))


def paragraph(content: Content, kind: str = "") -> Html:
    """A paragraph, with an optional class."""
    attribute = f' class="{escape(kind)}"' if kind else ""
    return Html(f"<p{attribute}>{text(content)}</p>")


def section(title: str, *parts: Html) -> Html:
    """A section with its heading."""
    return Html(f"<section>\n<h2>{escape(title)}</h2>\n{join(parts).markup}\n</section>")


def table(
    header: Sequence[str],
    rows: Sequence[Sequence[Content]],
    *,
    caption: str = "",
    kinds: Sequence[Sequence[str]] | None = None,
) -> Html:
    """A table that scrolls inside itself on a narrow screen.

    Args:
        header: column titles.
        rows: cells; the first cell of each row is its heading.
        caption: a line above the table.
        kinds: a class for each cell, in the shape of `rows`.
    """
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
    lines = []
    for i, row in enumerate(rows):
        cells = [f'<th scope="row">{text(row[0])}</th>']
        for j, cell in enumerate(row[1:], start=1):
            kind = kinds[i][j] if kinds else ""
            cells.append(f"<td class={escape(kind)!r}>{text(cell)}</td>" if kind else
                         f"<td>{text(cell)}</td>")  # fmt: skip
        lines.append(f"<tr>{''.join(cells)}</tr>")
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    return Html(
        f'<div class="scroll" tabindex="0"><table>{title}<thead><tr>{head}</tr></thead>\n'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def figure(svg: str, *, alt: str, title: str = "", kind: str = "") -> Html:
    """A picture from SVG text, shown as an image: nothing in it can run, its ids stay its own."""
    data = base64.b64encode(svg.encode()).decode()
    heading = f"<h3>{escape(title)}</h3>" if title else ""
    attribute = f' class="{escape(kind)}"' if kind else ""
    return Html(
        f"<figure{attribute}>{heading}"
        f'<img alt="{escape(alt)}" src="data:image/svg+xml;base64,{data}"></figure>'
    )
