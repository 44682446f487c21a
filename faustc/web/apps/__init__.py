"""Pages that every worker serves."""
