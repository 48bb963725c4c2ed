"""What every process needs: settings, clock, logs, metrics, traces, health endpoints, exit codes, whole files."""
