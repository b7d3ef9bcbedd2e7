"""From a batch to the lanes that a grid reads."""

from recmtl.encoders.tabular import TabularEncoder

__all__ = ["TabularEncoder"]
