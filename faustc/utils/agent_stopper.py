"""Ends the app from within an agent."""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["agent_stopper"]


async def agent_stopper(app: Any) -> None:
    """Crash the app, with the exception that is being handled as the reason.

    The worker ends with a non-zero code, and what was in hand comes again.
    """
    reason = sys.exc_info()[1]
    await app.crash(reason if reason is not None else RuntimeError("stopped by an agent"))
