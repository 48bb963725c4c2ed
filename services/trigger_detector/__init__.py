"""Finds the moments at which triggers fire in the stream of telemetry. See README.md."""
