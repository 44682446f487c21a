"""Whole workers on virtual time, against the broker in memory, under a seeded plan of faults."""
