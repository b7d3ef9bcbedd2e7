"""Named layouts: ways to share that the field publishes, each a point of one grid.

Every function takes the number of tasks (`branched` the tree) and sizes, and returns a `Layout`
whose `source` says "paper; reading". `widths` are an expert's widths from the first hidden one to
its output, `levels` the widths of each level. `CATALOG` builds any of them by name from sizes that
mean the same for all; `recmtl.report.catalog_page` writes the table of the documentation.

>>> from recmtl.grid.catalog import CATALOG
>>> CATALOG["ple"].layout(3, cells=8, widths=(64, 32), depth=2).layers[0].num_lanes
4
"""

from recmtl.grid.catalog.dependent import dbmtl
from recmtl.grid.catalog.gated import adatt, cgc, dselect_k, ml_mmoe, mmoe, omoe, ple, stem
from recmtl.grid.catalog.personal import GatePlace, pepnet, poso, with_feature_gates
from recmtl.grid.catalog.registry import CATALOG, CatalogSizes, Entry
from recmtl.grid.catalog.searched import (
    adashare,
    dynashare,
    mtnas,
    recmtl_grid,
    snr_aver,
    snr_trans,
)
from recmtl.grid.catalog.shared import (
    all_apart,
    branched,
    cross_features,
    cross_stitch,
    embeddings_apart,
    shared_bottom,
    single_task,
    towers_apart,
)

__all__ = [
    "CATALOG",
    "CatalogSizes",
    "Entry",
    "GatePlace",
    "adashare",
    "adatt",
    "all_apart",
    "branched",
    "cgc",
    "cross_features",
    "cross_stitch",
    "dbmtl",
    "dselect_k",
    "dynashare",
    "embeddings_apart",
    "ml_mmoe",
    "mmoe",
    "mtnas",
    "omoe",
    "pepnet",
    "ple",
    "poso",
    "recmtl_grid",
    "shared_bottom",
    "single_task",
    "snr_aver",
    "snr_trans",
    "stem",
    "towers_apart",
    "with_feature_gates",
]
