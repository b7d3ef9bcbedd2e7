"""A simulated shop log with a known sharing structure, to judge what a search finds.

Four tasks depend on two independent interests: click and watch time on one, purchase and (with the
opposite sign) dislike on the other. So each task is related to one other and to no third. The true
probabilities are known, and with them the best score that any model can reach on the rows written.
`datasets/simulated/README.md` has the formulas and measured figures, and the schema beside it.

`shop` draws users and items, `world` turns them into probabilities, `impressions` draws rows from
those, and `log` writes files.
"""

from recmtl.simulate.log import RELATED, Truth, simulate, truth_path

__all__ = ["RELATED", "Truth", "simulate", "truth_path"]
