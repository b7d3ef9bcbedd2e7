"""Train the searched networks, and draw the route of the best.

`python pipelines/train.py` is `recmtl train`, for `mlflow run` in a checkout.
"""

from recmtl.command.main import start

if __name__ == "__main__":
    start("train")
