"""The evidence for a table: every model with the same number of seeds, judged on test rows.

`python pipelines/benchmark.py` is `recmtl benchmark`, for `mlflow run` in a checkout.
"""

from recmtl.command.main import start

if __name__ == "__main__":
    start("benchmark")
