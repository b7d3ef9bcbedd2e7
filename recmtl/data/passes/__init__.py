"""The passes of `prepare` over the rows of a log, each a fold that an engine may run in pieces."""
