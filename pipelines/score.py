"""Score a log with a bundle, in row order.

`python pipelines/score.py` is `recmtl score`, for `mlflow run` in a checkout.
"""

from recmtl.command.main import start

if __name__ == "__main__":
    start("score")
