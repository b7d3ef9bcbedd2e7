"""The bundle: one folder that holds all that scoring needs, and proves that it is intact."""

from recmtl.serve.bundle.bundle import Bundle, load_bundle, save_bundle

__all__ = ["Bundle", "load_bundle", "save_bundle"]
