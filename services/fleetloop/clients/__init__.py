"""What outsiders import: a producer of telemetry and a watch on new models."""
