"""A study on images: search what the tasks share, train every model named, and compare them.

python pipelines/vision.py --config YAML [--data FOLDER] [--out FOLDER] [--seeds N]
"""

import os
import sys

# Spinning OpenMP threads make a busy machine ten times slower; this must precede torch's load.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from recmtl.job.command import run_vision

if __name__ == "__main__":
    sys.exit(run_vision())
