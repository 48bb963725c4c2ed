"""The technical foundation of every service: Kafka, gRPC, databases, clocks and processes.

It knows nothing of vehicles, triggers or models: it imports no stub and no domain package, which import-linter
enforces.
"""
