"""The vehicles' door: checks what comes in, acknowledges what Kafka has, and hands commands down."""
