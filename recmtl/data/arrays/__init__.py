"""Columns of arrays on disk, picked or joined as rows are read."""
