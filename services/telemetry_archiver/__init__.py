"""Keeps all telemetry as Parquet, each row exactly once."""
