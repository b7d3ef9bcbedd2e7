"""The errors that recmtl raises on purpose: one line each, naming the place and the remedy.

Every class derives from `RecmtlError`, so that a caller can catch all of them, and from
`ValueError`, so that code which knows nothing of recmtl treats them as bad input.
"""

__all__ = ["BundleError", "ConfigError", "DataError", "FormulaError", "RecmtlError", "SchemaError"]


class RecmtlError(Exception):
    """Any error that recmtl raises on purpose."""


class SchemaError(RecmtlError, ValueError):
    """A schema file is wrong: every mistake in it, one line each."""


class ConfigError(RecmtlError, ValueError):
    """A training configuration or a command line option is wrong."""


class DataError(RecmtlError, ValueError):
    """The data does not fit the schema, or cannot be read or written."""


class BundleError(RecmtlError, ValueError):
    """A model bundle is damaged, altered, incomplete or of another version."""


class FormulaError(RecmtlError, ValueError):
    """A ranking formula is not in the grammar or names an unknown column."""
