"""The version of this package; pyproject.toml says the same (a test holds them together)."""

from __future__ import annotations

from typing import NamedTuple

__version__ = "0.1.0"


class VersionInfo(NamedTuple):
    """The version, split."""

    major: int
    minor: int
    micro: int


version_info_t = VersionInfo  # Faust's name
VERSION = version_info = VersionInfo(*(int(part) for part in __version__.split(".")))
