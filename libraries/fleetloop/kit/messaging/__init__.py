"""Kafka: events and their headers, the publisher, the readers, Faust, and the topic catalogue."""
