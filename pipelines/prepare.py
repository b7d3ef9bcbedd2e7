"""Encode a log: log and schema to memory-mapped columns.

`python pipelines/prepare.py` is `recmtl prepare`, for `mlflow run` in a checkout.
"""

from recmtl.command.main import start

if __name__ == "__main__":
    start("prepare")
