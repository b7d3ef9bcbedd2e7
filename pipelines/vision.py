"""A study on images: search what the tasks share, train every model named, and compare them.

python pipelines/vision.py --config YAML [--data FOLDER] [--out FOLDER] [--seeds N]
"""

from recmtl.interrupts import answer_signals, leave

if __name__ == "__main__":
    answer_signals()  # before what takes seconds to import

from recmtl.vision.job import run_vision

if __name__ == "__main__":
    leave(run_vision())
