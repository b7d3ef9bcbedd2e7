"""Planted recovery: problems in memory with a known answer, and whether the search finds it."""
