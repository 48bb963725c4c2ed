"""The embedded run: Kafka, certificates, ports and every service as processes of this machine."""
