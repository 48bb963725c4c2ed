"""What every service is built from, and nothing of what any of them is about.

fleetloop.kit knows Kafka, gRPC, databases, clocks and processes. It knows no vehicle, trigger or model: it imports no
stub and no domain package, which import-linter holds.
"""
