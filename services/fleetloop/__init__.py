"""The front door: the `fleetloop` command, and the supervisor and broker of the embedded run."""
