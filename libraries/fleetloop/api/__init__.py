"""The client side of a fleet, for users, commands and the demo: send telemetry, watch models, call services."""
