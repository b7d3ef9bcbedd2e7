"""A simulated shop log with a known sharing structure, to judge what a search finds.

Four tasks hang on two independent interests: click and watch time on one, purchase and (with the
opposite sign) dislike on the other. So each task has one relative to learn from and two strangers.
The probabilities are known, hence also the best score that any model could reach on the rows
written. Formulas and measured figures are in `datasets/simulated/README.md`, its schema beside it.
"""

from recmtl.simulate.log import RELATED, Truth, simulate, truth_path

__all__ = ["RELATED", "Truth", "simulate", "truth_path"]
