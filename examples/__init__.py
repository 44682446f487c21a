"""Applications to start from; `faustc -A examples.NAME worker` runs one."""
