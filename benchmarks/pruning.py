"""Does a pruned network cost what its multiply-adds say? `python -m benchmarks.pruning`.

One process with one thread takes turns between the full grid under the mask of a route and the
pruned network of the same route, for routes of ever fewer multiply-adds. Each figure is the median
of the repeats, as a ratio to the full grid of the same run. `--page` only rewrites the page.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import torch

from benchmarks.pages import paragraph
from recmtl.grid import (
    LayerRoutes,
    Layout,
    Routes,
    SharingGrid,
    layout_cost,
    prune_grid,
    recmtl_grid,
)

OUT = Path(__file__).parents[1] / "docs" / "benchmarks" / "pruning.json"
INPUT_WIDTH, ROWS, REPEATS, TASKS, CELLS = 256, 2048, 21, 4, 8


def route(layout: Layout, columns: int, *, run: bool) -> Routes:
    """Routes: every task reads the first `columns` columns; all upper experts run, or none."""
    layers = [
        LayerRoutes(
            tuple(edges[:columns] if layer.searched else edges for edges in layer.edges),
            tuple(sources[0] for sources in layer.queries),
            tuple(run or source is None for source in layer.shortcut),
        )
        for layer in layout.layers
    ]
    return Routes(tuple(layers))


def seconds(network: SharingGrid, lanes: torch.Tensor, masks: list | None) -> float:
    """Wall time of one forward pass."""
    began = time.perf_counter()
    network(lanes, masks)
    return time.perf_counter() - began


def page(rows: list[dict]) -> str:
    """The figures as a page of Markdown."""
    lines = [
        "# Pruned against masked",
        "",
        *paragraph(
            f"`python -m benchmarks.pruning`: forward passes of {ROWS:,} rows on one thread, the",
            f"arms in turns, medians of {REPEATS} repeats, as shares of the full grid in the",
            f"same run. The grid has {CELLS} columns of experts 128-64 on {INPUT_WIDTH} inputs,",
            f"an upper expert for each, and {TASKS} tasks. A mask saves no time; the time of a",
            "pruned network falls with its multiply-adds. Both compute the same outputs up to",
            "rounding: `tests/properties/test_prune_and_cost.py` checks it in float64 for random",
            "layouts and routes.",
        ),
        "| network | multiply-adds | time |",
        "|---|---|---|",
    ]
    for row in rows:
        shares = f"{row['multiply_adds_share']:.2f} | {row['time_share']:.2f}"
        lines.append(f"| {row['network']} | {shares} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure, print a table, and write `docs/benchmarks/pruning.{json,md}`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pruning", description=__doc__)
    parser.add_argument("--page", action="store_true", help="only write the page anew")
    options = parser.parse_args()
    if not options.page:
        figures = {"rows": ROWS, "repeats": REPEATS, "arms": measured()}
        OUT.parent.mkdir(parents=True, exist_ok=True)
        OUT.write_text(json.dumps(figures, indent=1) + "\n")
    text = page(json.loads(OUT.read_text())["arms"])
    OUT.with_suffix(".md").write_text(text)
    sys.stdout.write(text)
    return 0


@torch.inference_mode()
def measured() -> list[dict]:
    """Multiply-adds and time of every arm, as shares of the full grid's."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    layout = recmtl_grid(TASKS, cells=CELLS, widths=(128, 64), depth=2)
    full = SharingGrid(layout, input_width=INPUT_WIDTH).eval()
    lanes = torch.randn(ROWS, 1, INPUT_WIDTH)
    arms = {"full grid": (full, None)}
    for columns, run in ((8, False), (4, True), (4, False), (2, True), (2, False), (1, False)):
        routes = route(layout, columns, run=run)
        name = f"{columns} columns{'' if run else ', upper experts skipped'}"
        arms[f"{name}: masked"] = (full, routes.decisions(layout))
        arms[f"{name}: pruned"] = (prune_grid(full, routes).eval(), None)
    times: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(REPEATS):
        for name, (network, masks) in arms.items():
            times[name].append(seconds(network, lanes, masks))
    costs = {
        name: layout_cost(network.layout, input_width=INPUT_WIDTH).multiply_adds
        for name, (network, _) in arms.items()
    }
    base = statistics.median(times["full grid"])
    return [
        {
            "network": name,
            "multiply_adds": cost,
            "multiply_adds_share": cost / costs["full grid"],
            "time_share": statistics.median(times[name]) / base,
        }
        for name, cost in costs.items()
    ]


if __name__ == "__main__":
    sys.exit(main())
