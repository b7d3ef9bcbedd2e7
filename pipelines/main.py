"""The whole job: search what the tasks share, prove it, bundle it, score, rank and report.

`python pipelines/main.py` is `recmtl run`, for `mlflow run` in a checkout.
"""

from recmtl.command.main import start

if __name__ == "__main__":
    start("run")
