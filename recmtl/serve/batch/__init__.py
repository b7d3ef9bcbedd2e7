"""Batch scoring: Parquet to Parquet, here or on Spark, resumable after a kill."""
