"""`mode.loop.use`: which event loop the process runs on."""

from __future__ import annotations

from faustc.exceptions import ImproperlyConfigured

__all__ = ["use"]


def use(loop: str) -> None:
    """Have event loops that are made from now on be asyncio's ("aio") or uvloop's.

    Raises ImproperlyConfigured for another name, or where uvloop is not installed.
    """
    if loop not in ("aio", "uvloop"):
        raise ImproperlyConfigured(f"mode.loop.use({loop!r}): there is aio, and uvloop")
    if loop == "uvloop":
        try:
            import uvloop  # type: ignore[import-not-found, unused-ignore]
        except ImportError:
            raise ImproperlyConfigured("mode.loop.use('uvloop'): it is not installed") from None
        uvloop.install()
