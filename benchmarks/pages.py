"""Paragraphs of the pages that benchmarks write."""

import textwrap

__all__ = ["paragraph"]

WIDTH = 100


def paragraph(*sentences: str) -> list[str]:
    """The lines of a paragraph, wrapped at 100 characters, and the empty line after it.

    >>> paragraph("Two sentences.", "One paragraph.")
    ['Two sentences. One paragraph.', '']
    """
    return [*textwrap.wrap(" ".join(sentences), WIDTH, break_on_hyphens=False), ""]
