"""Where tables keep their state."""
