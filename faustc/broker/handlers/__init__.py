"""What the broker answers, one module per API key."""
