"""One process from start to stop: settings, clock, logs, metrics, traces, health endpoints, and exit codes."""
