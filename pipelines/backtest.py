"""Roll over a log's days, each scored before it is trained on.

`python pipelines/backtest.py` is `recmtl backtest`, for `mlflow run` in a checkout.
"""

from recmtl.command.main import start

if __name__ == "__main__":
    start("backtest")
