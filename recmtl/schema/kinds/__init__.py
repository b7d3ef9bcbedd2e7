"""The kinds of feature, one idea a file; `recmtl.schema.features` reads them by their names."""
