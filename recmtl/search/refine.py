"""Refine a frozen route lane by lane: try other edges and another query, keep the best.

This is coordinate descent with the shared weights on a fixed sample of validation rows. The lanes
below a layer and the outputs of its experts are computed once. Alternatives are compared by
successive halving, here to a third: all on few rows, the best third on more. An alternative
replaces the present choice only if it is surely better.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from recmtl.data.batches import Batch
from recmtl.grid import Decision, Routes
from recmtl.grid.experts import pooled_features
from recmtl.policies import RoutePolicy
from recmtl.ranks import ranks
from recmtl.search.supernet import Supernet

__all__ = ["FOLDS", "refine", "surely_positive"]

STEP = 2
"""Edges in which an alternative may differ: one more, one less, or one in place of another."""
STRIDES, FEWEST_ROWS = (9, 3), 1000
"""The rounds before the last see every ninth row and every third, unless these are too few."""
FOLDS, STANDARD_ERRORS = 8, 2.0
"""A change must gain more than two standard errors, estimated from its gains on eight parts of the
rows: the best of a hundred alternatives always seems to gain something."""

Objective = Callable[[Tensor, Sequence[Decision]], float]
"""Value of losses `[T]` under decisions; less is better."""


@torch.no_grad()
def refine(
    supernet: Supernet,
    route: RoutePolicy,
    start: Routes,
    *,
    rows: Batch,
    value: Objective,
    rounds: int,
) -> Routes:
    """Change single lanes of `start` for the better until none can be, or for `rounds` rounds.

    Args:
        supernet: the trained weights.
        route: the policy, which lists the alternatives of a lane.
        start: a frozen route.
        rows: the sample of validation rows.
        value: the objective.
        rounds: the most passes over all searched lanes.
    """
    supernet.model.eval()
    encoded = supernet.model.encoder(*rows.inputs)
    decisions = start.decisions(supernet.layout)
    for _ in range(rounds):
        before = Routes.of(supernet.layout, decisions)
        for depth, layer in enumerate(supernet.layout.layers):
            if layer.searched:
                lanes = supernet.apply_layers(encoded, encoded, decisions[:depth])
                cached = _CachedLayer(supernet, depth, lanes=lanes, encoded=encoded, rows=rows)
                decisions = _refine_layer(decisions, route, cached, value)
        if Routes.of(supernet.layout, decisions) == before:
            break
    return Routes.of(supernet.layout, decisions)


class _CachedLayer:
    """A searched layer with its input lanes and its experts' outputs, computed once."""

    def __init__(
        self, supernet: Supernet, depth: int, *, lanes: Tensor, encoded: Tensor, rows: Batch
    ) -> None:
        self.supernet, self.depth = supernet, depth
        self.lanes, self.encoded, self.rows = lanes, encoded, rows
        self.layer, self.heads = supernet.model.grid.layer(depth), supernet.model.heads
        # Instance gates decide for each row which experts are computed: there is nothing to cache.
        self.outputs = None if self.layer.instance is not None else self.layer.outputs(lanes)
        strides = [stride for stride in STRIDES if len(rows) // stride >= FEWEST_ROWS]
        self.samples = [slice(None, None, stride) for stride in strides]

    def values(
        self, decisions: Sequence[Decision], value: Objective, *, rows: slice, parts: int = 0
    ) -> Tensor:
        """Values `[1 + parts]` of decisions: on some of the rows, then on each part of those."""
        batch, encoded = self.rows[rows], self.encoded[rows]
        lanes = self._lanes_above(decisions[self.depth], rows=rows)
        logits = self.supernet.logits_above(lanes, encoded, decisions[self.depth + 1 :], batch)
        values = []
        for part in (slice(None), *(slice(first, None, parts) for first in range(parts))):
            labelled, outputs = batch[part], [task_logits[part] for task_logits in logits]
            losses = self.heads.losses(outputs, labelled.labels, labelled.weight)
            values.append(value(losses, decisions))
        return torch.tensor(values)

    def _lanes_above(self, decision: Decision, *, rows: slice) -> Tensor:
        """What the layer writes under a decision."""
        lanes, source = self.lanes[rows], pooled_features(self.encoded[rows]).flatten(1)
        if self.outputs is None:
            lanes_above: Tensor = self.layer(lanes, source, decision)
            return lanes_above
        return self.layer.mix_outputs(self.outputs[rows], lanes, source, decision)


def _refine_layer(
    decisions: list[Decision], route: RoutePolicy, cached: _CachedLayer, value: Objective
) -> list[Decision]:
    """The decisions with the best subset, then the best query, of each lane of one layer."""
    depth = cached.depth
    for lane, sources in enumerate(cached.supernet.layout.layers[depth].queries):
        subsets = route.near(depth, lane, decisions[depth].keep[lane], step=STEP)
        alternatives = _alternatives(decisions, depth, lane, keep=subsets)
        decisions = _best(decisions, alternatives, cached, value)
        # The gate of a single edge is constant, whatever it looks at.
        if len(sources) > 1 and decisions[depth].keep[lane].sum() > 1:
            queries = torch.eye(len(sources), decisions[depth].query.shape[1])
            alternatives = _alternatives(decisions, depth, lane, query=queries)
            decisions = _best(decisions, alternatives, cached, value)
    return decisions


def _alternatives(
    decisions: list[Decision], depth: int, lane: int, **rows: Tensor
) -> list[list[Decision]]:
    """The decisions with each of the rows `[n, ...]` in place of the lane's present row."""
    alternatives = []
    for name, candidates in rows.items():
        present = getattr(decisions[depth], name)
        for row in candidates:
            if torch.equal(row, present[lane]):
                continue
            changed = present.index_copy(0, torch.tensor([lane]), row.unsqueeze(0))
            alternative = list(decisions)
            alternative[depth] = replace(decisions[depth], **{name: changed})
            alternatives.append(alternative)
    return alternatives


def _best(
    present: list[Decision],
    alternatives: list[list[Decision]],
    cached: _CachedLayer,
    value: Objective,
) -> list[Decision]:
    """The best alternative if it is surely better than the present decisions, else these."""
    for rows in cached.samples if len(alternatives) > 3 else ():
        judge = partial(cached.values, value=value, rows=rows)
        values = [float(judged[0]) for judged in ranks().map(judge, alternatives)]
        order = sorted(range(len(alternatives)), key=values.__getitem__)
        alternatives = [alternatives[number] for number in order[: -(-len(alternatives) // 3)]]
    if not alternatives:
        return present
    judge = partial(cached.values, value=value, rows=slice(None), parts=FOLDS)
    now, *others = ranks().map(judge, [present, *alternatives])
    gains = [now - other for other in others]
    best = max(range(len(gains)), key=lambda number: float(gains[number][0]))
    return alternatives[best] if surely_positive(gains[best][1:]) else present


def surely_positive(gains: Tensor) -> Tensor:
    """Whether the mean of gains `[FOLDS, ...]` is more than two standard errors above 0."""
    return gains.mean(0) > STANDARD_ERRORS * gains.std(0) / math.sqrt(len(gains))
