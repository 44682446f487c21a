"""Placeholder."""

from __future__ import annotations


class Proxy:
    ports: dict[int, int]
    bootstrap: str
