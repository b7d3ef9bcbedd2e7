"""Pieces of work of a study: what they are, and the processes that do them."""
