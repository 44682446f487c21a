"""Tasks with an owner: one crash is the owner's crash, and closing awaits them all."""

from __future__ import annotations

import asyncio
import contextvars
import io
import logging
from collections.abc import Callable, Coroutine
from typing import Any

__all__ = ["Nursery", "owners"]

logger = logging.getLogger(__name__)

# Who owns the running task, outermost first: tasks made in a task inherit it, so
# an agent that asks its app to stop is recognised however deep the call is.
owners: contextvars.ContextVar[tuple[object, ...]] = contextvars.ContextVar("owners", default=())


class Nursery:
    """Runs tasks for an owner and reports the first that fails.

    on_crash is called once, in the event loop, with the exception of the first
    task that ended by one. It must not block; it usually asks the owner to stop.
    """

    def __init__(
        self,
        name: str,
        on_crash: Callable[[BaseException], None],
        *,
        owner: object | None = None,
    ) -> None:
        self.name = name
        self.crash: BaseException | None = None
        self._on_crash = on_crash
        self._owner = owner if owner is not None else self
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False

    def __len__(self) -> int:
        return len(self._tasks)

    def tracebacks(self) -> dict[str, str]:
        """Return where each task is just now, by its name."""
        found = {}
        for task in self._tasks:
            text = io.StringIO()
            task.print_stack(file=text)
            found[task.get_name()] = text.getvalue()
        return found

    def spawn(
        self, work: Coroutine[Any, Any, Any], name: str, *, vital: bool = False
    ) -> asyncio.Task[Any]:
        """Start a task.

        A vital one runs for as long as its owner: should it return, that is a
        crash as well, since whatever it did is no longer done by anybody.
        """
        if self._closed:
            work.close()
            raise RuntimeError(f"{self.name} is closed and starts no more tasks: {name}")
        context = contextvars.copy_context()
        context.run(owners.set, (*owners.get(), self._owner))
        task = asyncio.get_running_loop().create_task(
            work, name=f"{self.name}:{name}", context=context
        )
        self._tasks.add(task)
        task.add_done_callback(self._vital_done if vital else self._done)
        return task

    def _vital_done(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled() and task.exception() is None and not self._closed:
            self._crashed(RuntimeError(f"{task.get_name()} returned, and nothing does its work"))
        self._done(task)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._crashed(error, task)

    def _crashed(self, error: BaseException, task: asyncio.Task[Any] | None = None) -> None:
        if self.crash is not None:
            logger.error("%s failed as well: %r", task.get_name() if task else self.name, error)
            return
        self.crash = error
        self._on_crash(error)

    async def close(self, timeout_s: float = 10.0) -> None:
        """Cancel what runs and wait for it; a task that will not end is named in the log.

        The calling task, if it is one of ours, is neither cancelled nor awaited.
        """
        self._closed = True
        caller = asyncio.current_task()
        tasks = {task for task in self._tasks if task is not caller}
        for task in tasks:
            task.cancel()
        if tasks:
            _, stuck = await asyncio.wait(tasks, timeout=timeout_s)
            for task in stuck:
                logger.error("%s did not end within %.1f s", task.get_name(), timeout_s)
