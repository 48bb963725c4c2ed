"""What the exit code of a process tells its supervisor, or Kubernetes."""

from __future__ import annotations

EXIT_USAGE = 2
"""A setting or a file that people edit is wrong: restarting does not help."""
EXIT_BROKEN_DEPENDENCY = 70
"""Kafka, a database or another service failed: restart the process until it is back."""
