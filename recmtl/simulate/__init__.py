"""A simulated shop log with a known sharing structure, to judge what a search finds.

Four tasks depend on two independent interests: click and watch time on one, purchase and (with the
opposite sign) dislike on the other. So each task is related to one other and to no third. The true
probabilities are known, and with them the best score that any model can reach on the rows written.
`datasets/simulated/README.md` has the formulas and measured figures, and the schema beside it.

A second log has plants for sources of knowledge (`source_log`): the past of the user decides one
task, his history another, or nothing of it matters.

`shop` draws users and items, `world` turns them into probabilities, `impressions` draws rows from
those, and `log` writes files.
"""

from recmtl.simulate.log import RELATED, Truth, simulate, truth_path
from recmtl.simulate.source_log import PLANTS, SourceTruth, simulate_sources

__all__ = [
    "PLANTS",
    "RELATED",
    "SourceTruth",
    "Truth",
    "simulate",
    "simulate_sources",
    "truth_path",
]
