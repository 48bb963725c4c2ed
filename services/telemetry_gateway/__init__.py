"""The entrance for vehicles: checks what they send, acknowledges what Kafka has, and delivers commands."""
