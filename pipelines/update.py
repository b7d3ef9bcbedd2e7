"""Train a bundle on with added days.

`python pipelines/update.py` is `recmtl update`, for `mlflow run` in a checkout.
"""

from recmtl.command.main import start

if __name__ == "__main__":
    start("update")
