"""One column from Arrow to ids, numbers or labels, and what is fitted to do so."""
