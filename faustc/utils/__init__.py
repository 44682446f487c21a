"""Small things that applications written for Faust import from faust.utils."""

from uuid import uuid4

__all__ = ["uuid"]


def uuid() -> str:
    """Return a random UUID as a string."""
    return str(uuid4())
