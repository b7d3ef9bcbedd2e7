"""Metrics of image tasks, pooled over the whole set, and relative improvement over single tasks."""
