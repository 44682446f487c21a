"""What fits apps into programs made with other frameworks."""
