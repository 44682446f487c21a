"""`app.flow_control`, as tests written for Faust use it."""

from __future__ import annotations

__all__ = ["FlowControl"]


class FlowControl:
    """Says that messages flow. The engine holds back each partition by itself, when its
    readers have enough, so there is no switch for all of them that could be off.
    """

    def resume(self) -> None:
        """Do nothing: messages flow as soon as the app runs."""

    def is_active(self) -> bool:
        """Return True."""
        return True
