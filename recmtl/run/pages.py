"""What a run shows of itself in a notebook: its report as a page, and its routes as a picture."""

import os
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from recmtl.atomic import read_json

if TYPE_CHECKING:
    from recmtl.grid import Routes  # it imports torch

__all__ = ["RunReport", "RunRoutes"]

PAGE_HEIGHT = 720
"""Pixels of a page in a notebook, which scrolls."""


@dataclass(frozen=True)
class RunReport(os.PathLike[str]):
    """A page of HTML on disk, which a notebook shows; use it wherever a path is wanted.

    Attributes:
        path: the file, which needs no other.
    """

    path: Path

    def __fspath__(self) -> str:
        """The path as text."""
        return str(self.path)

    def __str__(self) -> str:
        return str(self.path)

    def _repr_html_(self) -> str:
        page = escape(self.path.read_text(encoding="utf-8"), quote=True)
        style = f"width:100%;height:{PAGE_HEIGHT}px;border:1px solid #8888"
        return f'<iframe srcdoc="{page}" style="{style}" title="{escape(self.path.name)}"></iframe>'


@dataclass(frozen=True)
class RunRoutes:
    """The route of the searched network that is served, as text, as a picture and as data.

    Attributes:
        folder: the output folder that holds `routes.json`, `routes.svg` and `routes.txt`.
    """

    folder: Path

    @cached_property
    def text(self) -> str:
        """A line for each lane: which experts it listens to."""
        return (self.folder / "routes.txt").read_text(encoding="utf-8").rstrip("\n")

    @cached_property
    def svg(self) -> str:
        """The picture."""
        return (self.folder / "routes.svg").read_text(encoding="utf-8")

    @cached_property
    def routes(self) -> "Routes":
        """The kept edges, queries and running lanes of every layer."""
        from recmtl.grid import Routes  # here, since torch is slow to load and others need it not

        file = self.folder / "routes.json"
        return Routes.from_json(read_json(file, remedy="train again to draw it anew"))

    def __repr__(self) -> str:
        return self.text

    def _repr_svg_(self) -> str:
        return self.svg
