"""Improve a frozen route lane by lane: try what else a lane could hear and look at, keep the best.

Coordinate descent with the shared weights on a fixed sample of validation rows. What lies below
a layer and its experts' outputs are computed once. Alternatives race: all are tried on few rows,
the best third on more, and only what surely beats the present choice replaces it.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from recmtl.data.batches import Batch
from recmtl.grid import Decision, Routes
from recmtl.grid.experts import pooled_features
from recmtl.policies import RoutePolicy
from recmtl.search.supernet import Supernet

__all__ = ["FOLDS", "refine", "surely"]

STEP = 2
"""Edges by which an alternative may differ: one more, one less, or one in place of another."""
STRIDES, FEWEST_ROWS = (9, 3), 1000
"""Which rows the heats of a race see: every ninth, every third, unless they are too few."""

FOLDS, SURE = 8, 2.0
"""A change must gain more than two standard errors, by the gains on eight parts of the rows: of a
hundred alternatives the best always seems to gain something."""

Value = Callable[[Tensor, Sequence[Decision]], float]


@torch.no_grad()
def refine(
    supernet: Supernet,
    route: RoutePolicy,
    start: Routes,
    *,
    rows: Batch,
    value: Value,
    rounds: int,
) -> Routes:
    """The route that is left when no lane of `start` can be changed for the better.

    Args:
        supernet: the trained weights.
        route: the policy, which knows the alternatives.
        start: a frozen route.
        rows: the sample of rows.
        value: of losses `[T]` under decisions; less is better.
        rounds: the most passes over all searched lanes.
    """
    supernet.model.eval()
    encoded = supernet.model.encoder(*rows.inputs)
    decisions = start.decisions(supernet.layout)
    for _ in range(rounds):
        before = Routes.of(supernet.layout, decisions)
        for depth, layer in enumerate(supernet.layout.layers):
            if layer.searched:
                lanes = supernet.climb(encoded, encoded, decisions[:depth])
                bench = _Bench(supernet, depth, lanes=lanes, encoded=encoded, rows=rows)
                decisions = _improved(decisions, route, bench, value)
        if Routes.of(supernet.layout, decisions) == before:
            break
    return Routes.of(supernet.layout, decisions)


class _Bench:
    """One searched layer with its input lanes and its experts' outputs at hand."""

    def __init__(
        self, supernet: Supernet, depth: int, *, lanes: Tensor, encoded: Tensor, rows: Batch
    ) -> None:
        self.supernet, self.depth = supernet, depth
        self.lanes, self.encoded, self.rows = lanes, encoded, rows
        self.layer, self.heads = supernet.model.grid.layer(depth), supernet.model.heads
        # Instance gates choose for themselves on which rows an expert is computed.
        self.outputs = None if self.layer.instance is not None else self.layer.outputs(lanes)
        strides = [stride for stride in STRIDES if len(rows) // stride >= FEWEST_ROWS]
        self.heats = [slice(None, None, stride) for stride in strides]

    def values(
        self, decisions: Sequence[Decision], value: Value, *, rows: slice, parts: int = 0
    ) -> Tensor:
        """Values `[1 + parts]` of decisions on some of the rows, and on each part of those."""
        batch, encoded = self.rows[rows], self.encoded[rows]
        lanes = self._lanes_above(decisions[self.depth], rows=rows)
        logits = self.supernet.logits_above(lanes, encoded, decisions[self.depth + 1 :])
        found = []
        for part in (slice(None), *(slice(first, None, parts) for first in range(parts))):
            some, said = batch[part], [one[part] for one in logits]
            found.append(value(self.heads.losses(said, some.labels, some.weight), decisions))
        return torch.tensor(found)

    def _lanes_above(self, decision: Decision, *, rows: slice) -> Tensor:
        """What the layer writes under a decision."""
        lanes, source = self.lanes[rows], pooled_features(self.encoded[rows]).flatten(1)
        if self.outputs is None:
            lanes_above: Tensor = self.layer(lanes, source, decision)
            return lanes_above
        return self.layer.mix_outputs(self.outputs[rows], lanes, source, decision)


def _improved(
    decisions: list[Decision], route: RoutePolicy, bench: _Bench, value: Value
) -> list[Decision]:
    """The decisions with each lane's best subset, then its best query, in one layer."""
    depth = bench.depth
    for lane, sources in enumerate(bench.supernet.layout.layers[depth].queries):
        subsets = route.near(depth, lane, decisions[depth].keep[lane], step=STEP)
        tried = _changed(decisions, depth, lane, keep=subsets)
        decisions = _winner(decisions, tried, bench, value)
        if len(sources) > 1 and decisions[depth].keep[lane].sum() > 1:
            queries = torch.eye(len(sources), decisions[depth].query.shape[1])
            tried = _changed(decisions, depth, lane, query=queries)
            decisions = _winner(decisions, tried, bench, value)
    return decisions


def _changed(
    decisions: list[Decision], depth: int, lane: int, **rows: Tensor
) -> list[list[Decision]]:
    """The decisions with each of the rows `[n, ...]` in place of the lane's."""
    found = []
    for name, alternatives in rows.items():
        now = getattr(decisions[depth], name)
        for row in alternatives:
            if torch.equal(row, now[lane]):
                continue
            new = now.index_copy(0, torch.tensor([lane]), row.unsqueeze(0))
            tried = list(decisions)
            tried[depth] = replace(decisions[depth], **{name: new})
            found.append(tried)
    return found


def _winner(
    present: list[Decision], tried: list[list[Decision]], bench: _Bench, value: Value
) -> list[Decision]:
    """The best of what was tried, or the present decisions if that is not surely better."""
    for rows in bench.heats if len(tried) > 3 else ():
        worth = [float(bench.values(decisions, value, rows=rows)[0]) for decisions in tried]
        order = sorted(range(len(tried)), key=worth.__getitem__)
        tried = [tried[number] for number in order[: -(-len(tried) // 3)]]
    if not tried:
        return present

    now, *others = (
        bench.values(decisions, value, rows=slice(None), parts=FOLDS)
        for decisions in (present, *tried)
    )
    gains, best = max(
        ((now - other, decisions) for other, decisions in zip(others, tried, strict=True)),
        key=lambda found: float(found[0][0]),
    )
    return best if surely(gains[1:]) else present


def surely(gains: Tensor) -> Tensor:
    """Whether the mean of gains `[FOLDS, ...]` is more than two standard errors above 0."""
    return gains.mean(0) > SURE * gains.std(0) / math.sqrt(len(gains))
