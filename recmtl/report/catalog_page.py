"""The catalog as a page of the documentation; every cell of its table is read off a layout.

`python -m recmtl.report.catalog_page > docs/reference/catalog.md` writes it.
"""

import sys
from collections.abc import Iterable

from recmtl.grid.catalog.registry import CATALOG, Entry
from recmtl.grid.cost import layout_cost
from recmtl.grid.draw import draw_text
from recmtl.grid.layout import INPUT, Layer, Layout

__all__ = ["catalog_page"]

TASKS, CELLS, WIDTHS, DEPTH, INPUT_WIDTH = 3, 5, (64, 32), 2, 128
COLUMNS = (
    "name",
    "paper",
    "lanes",
    "experts",
    "an expert reads",
    "edges of a lane",
    "gate",
    "keep",
    "run",
    "parameters",
    "multiply-adds",
)
HEAD = f"""# The catalog

Ways to share that the field publishes, each a point of one grid (`recmtl/grid/catalog/`):

    lane'[b,k] = run[b,k] * sum_a gate[b,k,a] * expert_a(lane[b, read_a])
               + (1 - run[b,k]) * shortcut(lane[b,k])

The table describes layouts for {TASKS} tasks, `cells={CELLS}`, `widths={WIDTHS}`, `depth={DEPTH}`
and {INPUT_WIDTH} features an input lane; heads and embeddings are not counted. An arrow leads from
layer to layer; "then" separates kinds of layers, each named once. `tests/parity/` holds a second,
plain implementation of every entry; outputs and gradients are equal. To build one:

    from recmtl.grid import CATALOG
    CATALOG["ple"].layout(3, cells=8, widths=(64, 32), depth=2)

The page is written from the layouts: `python -m recmtl.report.catalog_page >
docs/reference/catalog.md`.

"""
OUTSIDE = """
ESMM and ESCM2 chain the heads, AITM transfers between heads, and MTAN masks features by attention:
these are not points of the grid. PEPNet and POSO are points of it whose layers also multiply the
features of their lanes by gates of the input: a factor outside the rule, which
`grid.feature_gates` of the configuration puts on the searched grid as well.
"""


def catalog_page() -> str:
    """The page: the rule, the table, then for each entry its reading and its drawing."""
    entries = {name: (entry, _example(entry)) for name, entry in CATALOG.items()}
    rows = [COLUMNS, ("---",) * len(COLUMNS)]
    rows += [_row(name, entry, layout) for name, (entry, layout) in entries.items()]
    table = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    sections = (_section(name, entry, layout) for name, (entry, layout) in entries.items())
    return HEAD + table + OUTSIDE + "".join(sections)


def _example(entry: Entry) -> Layout:
    return entry.layout(TASKS, cells=CELLS, widths=WIDTHS, depth=DEPTH)


def _row(name: str, entry: Entry, layout: Layout) -> tuple[str, ...]:
    layers = layout.layers
    cost = layout_cost(layout, input_width=INPUT_WIDTH)
    on_input = (layout.input_lanes == 1, *(False for _ in layers[1:]))
    return (
        f"[{name}](#{name})",
        entry.paper,
        " → ".join(str(n) for n in (layout.input_lanes, *(layer.num_lanes for layer in layers))),
        " → ".join(map(_experts, layers)),
        _kinds(
            _reads(*pair) for pair in zip(layers, on_input, strict=True) if not pair[0].only_mixes
        ),
        _kinds(map(_edges, layers)),
        _kinds(map(_gate, layers)),
        _kinds("route policy" if layer.searched else "1" for layer in layers),
        _kinds(map(_run, layers)),
        f"{cost.parameters:,}",
        f"{cost.multiply_adds:,}",
    )


def _section(name: str, entry: Entry, layout: Layout) -> str:
    decided = f"Policies decide: {', '.join(entry.searched)}. " if entry.searched else ""
    return (
        f"\n## {name}\n\n{layout.name}: {entry.paper}. Reading: {entry.reading}. {decided}\n\n"
        f"```text\n{draw_text(layout, tuple(f'task {t}' for t in range(layout.num_tasks)))}\n```\n"
    ).replace(" \n", "\n")


def _kinds(names: Iterable[str]) -> str:
    return ", then ".join(dict.fromkeys(names))


def _experts(layer: Layer) -> str:
    kind = "" if layer.experts in ("mlp", "carry") else f" {layer.experts}"
    return f"{layer.num_experts}{kind}"


def _reads(layer: Layer, on_input: bool) -> str:
    if on_input:
        return "the input"
    return "every lane" if len(layer.applications) > layer.num_experts else "its lane"


def _edges(layer: Layer) -> str:
    counts, several = [len(edges) for edges in layer.edges], len(layer.applications)
    text = f"{_counts(counts)} of {several}"
    if set(counts) == {1}:
        text = "one"
    elif set(counts) == {several}:
        text = "all"
    if any(layer.residual_edges):
        text += f", {_counts(map(len, layer.residual_edges))} of them also residual"
    if any(layer.detached_edges):
        text += f", {_counts(map(len, layer.detached_edges))} of them detached"
    return text


def _counts(counts: Iterable[int]) -> str:
    return " or ".join(map(str, sorted(set(counts))))


def _gate(layer: Layer) -> str:
    features = "" if layer.feature_gates is None else ", features by the input"
    if layer.gate != "softmax":
        kinds = {"scalar": "free scalar", "one": "1", "dselect": "selectors(input)"}
        return kinds[layer.gate] + features
    if any(len(sources) > 1 for sources in layer.queries):
        return "softmax(searched query)"
    on_input = all(sources == (INPUT,) for sources in layer.queries)
    return "softmax(input)" if on_input else "softmax(lane)"


def _run(layer: Layer) -> str:
    if all(source is None for source in layer.shortcut):
        return "1"
    examples = f", instance gate for {layer.rate:.0%}" if layer.rate < 1.0 else ""
    return f"skip policy{examples}"


if __name__ == "__main__":
    sys.stdout.write(catalog_page())
