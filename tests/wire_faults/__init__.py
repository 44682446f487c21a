"""A producer and consumers behind a proxy that spoils the wire in every way we know of."""
