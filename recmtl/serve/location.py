"""Where a bundle lies: a folder, or an MLflow URI that is brought to a folder first."""

import re
from pathlib import Path

__all__ = ["local_folder"]


def local_folder(path_or_uri: str | Path) -> Path:
    """Map a path, `models:/name@alias`, `runs:/id/path` or `file:///...` to a local folder.

    MLflow is imported only for a URI.
    """
    text = str(path_or_uri)
    if isinstance(path_or_uri, Path) or re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", text) is None:
        return Path(text)
    from recmtl import tracking

    return tracking.resolve(text)
