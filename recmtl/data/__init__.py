"""Parquet logs into encoded columns and batches: the table, file and split side of recmtl."""
