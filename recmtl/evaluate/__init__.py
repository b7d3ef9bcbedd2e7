"""How good is each task, and did sharing help or hurt it?

`evaluate` measures every task on the rows on which it is defined, `judge_transfer` compares the
searched network with each task's single-task network and with the other models, and `assemble`
collects everything in the form of results.json.
"""

from recmtl.evaluate.gain import Gain
from recmtl.evaluate.metrics import ReliabilityCurve, reliability_curve
from recmtl.evaluate.results import assemble
from recmtl.evaluate.task_metrics import PRIMARY, PrimaryMetric, evaluate
from recmtl.evaluate.transfer_test import TransferVerdict, judge_transfer

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
