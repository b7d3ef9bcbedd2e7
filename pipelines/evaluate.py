"""Train every model, judge the searched network, write results, report and bundle.

`python pipelines/evaluate.py` is `recmtl evaluate`, for `mlflow run` in a checkout.
"""

from recmtl.command.main import start

if __name__ == "__main__":
    start("evaluate")
