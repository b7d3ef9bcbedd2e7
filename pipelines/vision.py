"""A study on images: search what the tasks share, train every model named, and compare them.

python pipelines/vision.py --config YAML [--data FOLDER] [--out FOLDER] [--seeds N]
"""

import sys

from recmtl.vision.job import run_vision

if __name__ == "__main__":
    sys.exit(run_vision())
