"""Mocks for tests, all of the standard library's making."""

from __future__ import annotations

from typing import Any
from unittest.mock import ANY, AsyncMock, MagicMock, Mock, call, patch, sentinel

__all__ = [
    "ANY",
    "AsyncContextManagerMock",
    "AsyncContextMock",
    "AsyncMock",
    "ContextMock",
    "MagicMock",
    "Mock",
    "call",
    "patch",
    "sentinel",
]


class AsyncContextMock(Mock):
    """A mock for `async with`: gives aenter_return, or else its return_value."""

    def __init__(
        self, *args: Any, aenter_return: Any = None, aexit_return: Any = None, **options: Any
    ) -> None:
        super().__init__(*args, **options)
        self.aenter_return = aenter_return
        self.aexit_return = aexit_return

    async def __aenter__(self) -> Any:
        if isinstance(self.side_effect, BaseException):
            raise self.side_effect
        if self.side_effect is not None:
            return self.side_effect()
        return self.aenter_return if self.aenter_return is not None else self.return_value

    async def __aexit__(self, *exc: object) -> Any:
        return self.aexit_return


AsyncContextManagerMock = AsyncContextMock


def ContextMock(*args: Any, **options: Any) -> MagicMock:  # noqa: N802 - mode's name
    """Return a mock for `with`, which gives itself and lets exceptions through."""
    mock = MagicMock(*args, **options)
    mock.__enter__.return_value = mock
    mock.__exit__.return_value = None
    return mock
