"""Context managers that do nothing."""

from __future__ import annotations

from contextlib import ExitStack, nullcontext

__all__ = ["ExitStack", "asyncnullcontext", "nullcontext"]

asyncnullcontext = nullcontext
