"""Draft a schema from a log.

`python pipelines/describe.py` is `recmtl describe`, for `mlflow run` in a checkout.
"""

from recmtl.command.main import start

if __name__ == "__main__":
    start("describe")
