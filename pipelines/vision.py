"""A study on images: search what the tasks share, and compare every model named.

`python pipelines/vision.py` is `recmtl vision`, for `mlflow run` in a checkout.
"""

from recmtl.command.main import start

if __name__ == "__main__":
    start("vision")
