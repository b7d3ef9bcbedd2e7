"""Task heads: binary, regression, multiclass, and the click -> conversion funnel."""

from recmtl.heads.heads import Heads
from recmtl.heads.spec import HeadSpec, head_specs, output_columns

__all__ = ["HeadSpec", "Heads", "head_specs", "output_columns"]
