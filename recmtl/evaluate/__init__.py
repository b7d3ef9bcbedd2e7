"""How good is each task, did sharing help or hurt it, and a page that shows it.

`evaluate` measures every task on its own population, `judge_transfer` compares the searched network
with each task's own single-task model and with LightGBM,
`assemble` puts all into results.json, and
`write_report` makes one self-contained HTML file of it.
"""

from recmtl.evaluate.metrics import ReliabilityCurve, reliability_curve
from recmtl.evaluate.results import assemble
from recmtl.evaluate.task_metrics import PRIMARY, PrimaryMetric, evaluate
from recmtl.evaluate.transfer_test import Gain, TransferVerdict, judge_transfer

__all__ = [
    "PRIMARY",
    "Gain",
    "PrimaryMetric",
    "ReliabilityCurve",
    "TransferVerdict",
    "assemble",
    "evaluate",
    "judge_transfer",
    "reliability_curve",
]
