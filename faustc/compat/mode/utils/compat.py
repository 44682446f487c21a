"""Text and bytes, whichever is given."""

from __future__ import annotations

from faustc.compat.mode.utils.text import isatty, want_bytes, want_str

__all__ = ["isatty", "want_bytes", "want_str"]
