"""The sharing core: layouts, gates, experts, routes, pruning and cost. It needs only torch.

A grid is a stack of layers. A layer reads S lanes (running representations, `[B, S, *F]`),
applies experts to lanes, and writes K lanes:

    lane'[b,k] = run[b,k] * sum_a gate[b,k,a] * expert_a(lane[b, read_a])
               + (1 - run[b,k]) * shortcut(lane[b,k])

>>> import torch
>>> from recmtl.grid import Routes, SharingGrid, mmoe, prune_grid
>>> grid = SharingGrid(mmoe(2, experts=4, widths=(8, 4)), input_width=6)
>>> grid(torch.zeros(3, 1, 6)).shape
torch.Size([3, 2, 4])
"""

from recmtl.grid.catalog import (
    CATALOG,
    adashare,
    adatt,
    all_apart,
    branched,
    cgc,
    cross_features,
    cross_stitch,
    dbmtl,
    dselect_k,
    dynashare,
    embeddings_apart,
    ml_mmoe,
    mmoe,
    mtnas,
    omoe,
    pepnet,
    ple,
    poso,
    recmtl_grid,
    shared_bottom,
    single_task,
    snr_aver,
    snr_trans,
    stem,
    towers_apart,
    with_feature_gates,
)
from recmtl.grid.cost import (
    Cost,
    expected_multiply_adds,
    full_multiply_adds,
    layout_cost,
    matched,
    same_wiring,
    scaled,
)
from recmtl.grid.draw import draw_svg, draw_text, route_pictures
from recmtl.grid.expert_usage import (
    ExpertUsage,
    expert_names,
    expert_use,
    reachable_experts,
    row_use,
    shared_experts,
)
from recmtl.grid.gates import InstancePolicy
from recmtl.grid.layout import INPUT, FeatureGates, Layer, Layout, Prior, Selection, lane_widths
from recmtl.grid.network import SharingGrid
from recmtl.grid.prune import Pruned, prune, prune_grid
from recmtl.grid.routes import Decision, LayerRoutes, Routes, conjunction, full_decision

__all__ = [
    "CATALOG",
    "INPUT",
    "Cost",
    "Decision",
    "ExpertUsage",
    "FeatureGates",
    "InstancePolicy",
    "Layer",
    "LayerRoutes",
    "Layout",
    "Prior",
    "Pruned",
    "Routes",
    "Selection",
    "SharingGrid",
    "adashare",
    "adatt",
    "all_apart",
    "branched",
    "cgc",
    "conjunction",
    "cross_features",
    "cross_stitch",
    "dbmtl",
    "draw_svg",
    "draw_text",
    "dselect_k",
    "dynashare",
    "embeddings_apart",
    "expected_multiply_adds",
    "expert_names",
    "expert_use",
    "full_decision",
    "full_multiply_adds",
    "lane_widths",
    "layout_cost",
    "matched",
    "ml_mmoe",
    "mmoe",
    "mtnas",
    "omoe",
    "pepnet",
    "ple",
    "poso",
    "prune",
    "prune_grid",
    "reachable_experts",
    "recmtl_grid",
    "route_pictures",
    "row_use",
    "same_wiring",
    "scaled",
    "shared_bottom",
    "shared_experts",
    "single_task",
    "snr_aver",
    "snr_trans",
    "stem",
    "towers_apart",
    "with_feature_gates",
]
