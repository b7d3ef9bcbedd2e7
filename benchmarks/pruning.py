"""Does a pruned network cost what its multiply-adds say? `python -m benchmarks.pruning`.

Arms are interleaved in one process on one thread: the full grid under a route's mask, and the
pruned network of the same route, at falling numbers of multiply-adds. Each figure is the median of
the repeats, as a ratio to the full grid of the same run.
"""

import json
import statistics
import sys
import time
from pathlib import Path

import torch

from recmtl.grid import (
    LayerRoutes,
    Layout,
    Routes,
    SharingGrid,
    layout_cost,
    prune_grid,
    recmtl_grid,
)

INPUT_WIDTH, ROWS, REPEATS, TASKS, CELLS = 256, 2048, 21, 4, 8


def route(layout: Layout, columns: int, *, run: bool) -> Routes:
    """Every task listens to the same first `columns` columns; upper experts run or are skipped."""
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
        f"`python -m benchmarks.pruning`: one thread, forward passes of {ROWS:,} rows, arms",
        f"interleaved, medians of {REPEATS} repeats, as shares of the full grid in the same run",
        f"({CELLS} columns of experts 128-64 on {INPUT_WIDTH} inputs, an upper expert each,",
        f"{TASKS} tasks). A mask saves nothing; the time of a pruned network falls with its",
        "multiply-adds. Outputs are equal to rounding: `tests/properties/test_prune_and_cost.py`",
        "demands it in float64 for random layouts and routes.",
        "",
        "| network | multiply-adds | time |",
        "|---|---|---|",
    ]
    for row in rows:
        shares = f"{row['multiply_adds_share']:.2f} | {row['time_share']:.2f}"
        lines.append(f"| {row['network']} | {shares} |")
    return "\n".join(lines) + "\n"


@torch.inference_mode()
def main() -> int:
    """Measure, print a table, and write `docs/benchmarks/pruning.json`."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    layout = recmtl_grid(TASKS, cells=CELLS, widths=(128, 64), depth=2)
    full = SharingGrid(layout, input_width=INPUT_WIDTH).eval()
    lanes = torch.randn(ROWS, 1, INPUT_WIDTH)
    arms = {"full grid": (full, None)}
    for columns, run in ((8, False), (4, True), (4, False), (2, True), (2, False), (1, False)):
        chosen = route(layout, columns, run=run)
        name = f"{columns} columns{'' if run else ', upper experts skipped'}"
        arms[f"{name}: masked"] = (full, chosen.decisions(layout))
        arms[f"{name}: pruned"] = (prune_grid(full, chosen).eval(), None)
    times: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(REPEATS):
        for name, (network, masks) in arms.items():
            times[name].append(seconds(network, lanes, masks))
    whole = layout_cost(layout, input_width=INPUT_WIDTH).multiply_adds
    base = statistics.median(times["full grid"])
    rows = [
        {
            "network": name,
            "multiply_adds": layout_cost(n.layout, input_width=INPUT_WIDTH).multiply_adds,
            "multiply_adds_share": layout_cost(n.layout, input_width=INPUT_WIDTH).multiply_adds
            / whole,
            "time_share": statistics.median(times[name]) / base,
        }
        for name, (n, _) in arms.items()
    ]
    target = Path("docs/benchmarks/pruning.json")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps({"rows": ROWS, "repeats": REPEATS, "arms": rows}, indent=1) + "\n")
    target.with_suffix(".md").write_text(page(rows))
    for row in rows:
        sys.stdout.write(
            f"{row['network']:<45} multiply-adds {row['multiply_adds_share']:5.2f}"
            f"   time {row['time_share']:5.2f}\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
