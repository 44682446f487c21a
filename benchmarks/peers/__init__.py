"""One script per client; each runs in a process and a virtual environment of its own."""
