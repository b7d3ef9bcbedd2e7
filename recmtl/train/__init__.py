"""Training: steps, early stop, the two-split search of routes, checkpoints that resume."""
