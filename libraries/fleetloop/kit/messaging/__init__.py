"""Kafka: events and their headers, the producer, the consumers, Faust, and the topic catalogue."""
