"""Scores to an order: formulas, the ranker, and one request with many candidates."""
