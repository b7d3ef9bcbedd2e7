"""Search the routes of every seed.

`python pipelines/search.py` is `recmtl search`, for `mlflow run` in a checkout.
"""

from recmtl.command.main import start

if __name__ == "__main__":
    start("search")
