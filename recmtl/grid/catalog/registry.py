"""The catalog: every published way to share by its short name, built from the same sizes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from recmtl.errors import ConfigError
from recmtl.grid.catalog.dependent import dbmtl
from recmtl.grid.catalog.gated import adatt, cgc, dselect_k, ml_mmoe, mmoe, omoe, ple, stem
from recmtl.grid.catalog.personal import pepnet, poso
from recmtl.grid.catalog.searched import (
    adashare,
    dynashare,
    mtnas,
    recmtl_grid,
    snr_aver,
    snr_trans,
    upper_half_rates,
)
from recmtl.grid.catalog.shared import (
    all_apart,
    balanced,
    branched,
    cross_features,
    cross_stitch,
    embeddings_apart,
    shared_bottom,
    single_task,
    towers_apart,
)
from recmtl.grid.layout import Layout

__all__ = ["CATALOG", "CatalogSizes", "Entry"]


@dataclass(frozen=True)
class CatalogSizes:
    """How large a network of the catalog is, whatever its kind.

    Attributes:
        cells: experts a level, if their number is free.
        widths: an expert's widths from the first hidden one to its output.
        depth: number of levels, of a column's experts or of blocks, if a network has several;
            those above the first have one product, of the last width.
        parents: of each task those that it depends on, for a network that knows them; by default
            each depends on the one before it.

    Raises:
        ConfigError: no experts, widths or levels.
    """

    cells: int
    widths: tuple[int, ...]
    depth: int
    parents: tuple[tuple[int, ...], ...] = ()

    def __post_init__(self) -> None:
        """Check that no size is zero."""
        if self.cells < 1 or self.depth < 1 or not self.widths:
            raise ConfigError("catalog: cells and depth must be at least 1, widths not empty")

    @property
    def levels(self) -> tuple[tuple[int, ...], ...]:
        """Expert widths of each level."""
        return (self.widths, *(self.widths[-1:],) * (self.depth - 1))

    @property
    def gate(self) -> int:
        """Features between the two products of a feature gate: half of an expert's width."""
        return max(1, self.widths[-1] // 2)

    def shared(self, num_tasks: int) -> int:
        """Number of shared experts if each task has one of its own; at least 1."""
        return max(1, self.cells - num_tasks)


@dataclass(frozen=True)
class Entry:
    """A named way to share."""

    build: Callable[[int, CatalogSizes], Layout]

    def layout(
        self,
        num_tasks: int,
        *,
        cells: int,
        widths: Sequence[int],
        depth: int = 2,
        experts: Literal["mlp", "cross"] = "mlp",
        parents: Sequence[tuple[int, ...]] = (),
    ) -> Layout:
        """The layout for T tasks; `CatalogSizes` says what the sizes mean.

        With `experts="cross"` the experts on the input are cross features; see `cross_features`.

        Raises:
            ConfigError: no experts, widths or levels.
        """
        layout = self.build(num_tasks, CatalogSizes(cells, tuple(widths), depth, tuple(parents)))
        return cross_features(layout) if experts == "cross" else layout

    @property
    def paper(self) -> str:
        """Who published it."""
        return self._sample.source.partition("; ")[0]

    @property
    def reading(self) -> str:
        """Which variant of the publication this is."""
        return self._sample.source.partition("; ")[2]

    @property
    def searched(self) -> tuple[str, ...]:
        """What policies decide, of `edges`, `queries`, `skips` and `examples`."""
        layers = self._sample.layers
        decided = {
            "edges": any(layer.searched for layer in layers),
            "queries": any(len(q) > 1 for layer in layers for q in layer.queries),
            "skips": any(
                edges and passed is not None
                for layer in layers
                for edges, passed in zip(layer.edges, layer.shortcut, strict=True)
            ),
            "examples": any(layer.rate < 1.0 for layer in layers),
        }
        return tuple(name for name, is_decided in decided.items() if is_decided)

    @property
    def _sample(self) -> Layout:
        return self.layout(2, cells=3, widths=(2,))


CATALOG: Mapping[str, Entry] = {
    "separate": Entry(lambda t, s: single_task(t, widths=s.widths)),
    "shared_bottom": Entry(lambda t, s: shared_bottom(t, widths=s.widths)),
    "towers_apart": Entry(lambda t, s: towers_apart(t, levels=s.levels)),
    "embeddings_apart": Entry(lambda t, s: embeddings_apart(t, levels=s.levels)),
    "all_apart": Entry(lambda t, s: all_apart(t, levels=s.levels)),
    "cross_stitch": Entry(lambda t, s: cross_stitch(t, levels=s.levels)),
    "omoe": Entry(lambda t, s: omoe(t, experts=s.cells, widths=s.widths)),
    "mmoe": Entry(lambda t, s: mmoe(t, experts=s.cells, widths=s.widths)),
    "dselect_k": Entry(
        lambda t, s: dselect_k(t, experts=s.cells, select=min(2, s.cells), widths=s.widths)
    ),
    "ml_mmoe": Entry(lambda t, s: ml_mmoe(t, experts=s.cells, levels=s.levels)),
    "cgc": Entry(lambda t, s: cgc(t, own=1, shared=s.shared(t), widths=s.widths)),
    "ple": Entry(lambda t, s: ple(t, own=1, shared=s.shared(t), levels=s.levels)),
    "ple_shared": Entry(
        lambda t, s: ple(t, own=1, shared=s.shared(t), levels=s.levels, shared_gate="shared")
    ),
    "adatt": Entry(lambda t, s: adatt(t, own=max(1, s.cells // t), levels=s.levels)),
    "stem": Entry(lambda t, s: stem(t, own=1, shared=s.shared(t), widths=s.widths)),
    "pepnet": Entry(lambda t, s: pepnet(t, levels=s.levels, hidden=s.gate)),
    "poso": Entry(lambda t, s: poso(t, levels=s.levels, hidden=s.gate)),
    "dbmtl": Entry(lambda t, s: dbmtl(t, widths=s.widths, parents=s.parents)),
    "snr_aver": Entry(lambda t, s: snr_aver(t, experts=s.cells, levels=s.levels)),
    "snr_trans": Entry(lambda t, s: snr_trans(t, experts=s.cells, levels=s.levels)),
    "mtnas": Entry(lambda t, s: mtnas(t, cells=s.cells, levels=s.levels)),
    "adashare": Entry(
        lambda t, s: adashare(t, widths=s.widths, blocks=s.depth, hidden=s.widths[-1:])
    ),
    "dynashare": Entry(
        lambda t, s: dynashare(
            t, widths=s.widths, rates=upper_half_rates(s.depth), hidden=s.widths[-1:]
        )
    ),
    "branched": Entry(lambda t, s: branched(balanced(t, s.depth), levels=s.levels)),
    "recmtl_grid": Entry(
        lambda t, s: recmtl_grid(t, cells=s.cells, widths=s.widths, depth=s.depth)
    ),
}
"""Entries by name, from the simplest to the search spaces.

PLE, CGC and STEM have one expert a task, the other cells are shared; AdaTT's cells are dealt out
evenly; the branched tree is the balanced binary one.
"""
