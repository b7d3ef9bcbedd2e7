"""Log what a job has left in its output folder: to a tracker that was down, or is another.

`python pipelines/log.py` is `recmtl log`, for `mlflow run` in a checkout.
"""

from recmtl.command.main import start

if __name__ == "__main__":
    start("log")
