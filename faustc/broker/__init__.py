"""An embedded broker: Kafka's protocol on one node, on loopback, for development and tests."""
