"""Futures and tasks."""

from __future__ import annotations

import asyncio
from inspect import isawaitable
from typing import Any

__all__ = [
    "all_tasks",
    "current_task",
    "done_future",
    "maybe_async",
    "maybe_cancel",
    "maybe_set_exception",
    "maybe_set_result",
    "notify",
]

all_tasks = asyncio.all_tasks
current_task = asyncio.current_task


def done_future(
    result: Any = None, *, loop: asyncio.AbstractEventLoop | None = None
) -> asyncio.Future[Any]:
    """Return a future that has its result already; True unless one is given."""
    future = (loop or asyncio.get_running_loop()).create_future()
    future.set_result(True if result is None else result)
    return future


async def maybe_async(res: Any) -> Any:
    """Await what is awaitable, and return anything else."""
    return await res if isawaitable(res) else res


def maybe_cancel(fut: asyncio.Future[Any] | None) -> bool:
    """Cancel a future unless it is done; say whether that was so."""
    return fut is not None and not fut.done() and fut.cancel()


def maybe_set_exception(fut: asyncio.Future[Any] | None, exc: BaseException) -> bool:
    """Fail a future unless it is done; say whether that was so."""
    if fut is None or fut.done():
        return False
    fut.set_exception(exc)
    return True


def maybe_set_result(fut: asyncio.Future[Any] | None, result: Any) -> bool:
    """Give a future its result unless it is done; say whether that was so."""
    if fut is None or fut.done():
        return False
    fut.set_result(result)
    return True


def notify(fut: asyncio.Future[Any] | None, result: Any = None) -> None:
    """Wake whoever waits for a future, if anybody does."""
    maybe_set_result(fut, result)
