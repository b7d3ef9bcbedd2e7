"""Find settings by trials on validation rows.

`python pipelines/tune.py` is `recmtl tune`, for `mlflow run` in a checkout.
"""

from recmtl.command.main import start

if __name__ == "__main__":
    start("tune")
