"""Notices the moments that triggers wait for in the stream of telemetry. See README.md."""
