"""Services: things that start and stop, with tasks and services of their own.

::

    init -> starting -> running -> stopping -> stopped
                |          |          ^
                +----------+----------+   (crash: the same way down, with crash_reason)
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, AsyncExitStack
from datetime import UTC, timedelta, tzinfo
from enum import Enum
from typing import Any, ClassVar, NamedTuple, TypeVar, cast

from faustc import crontab
from faustc.engine.nursery import Nursery, owners
from faustc.exceptions import FaustError, NotReady
from faustc.timers import itertimer, seconds
from faustc.waits import Waits

__all__ = ["Service", "State"]

Fun = TypeVar("Fun", bound=Callable[..., Any])
MARK = "__faust_service_task__"


class State(Enum):
    """Where in its life a service is; prints in lower case, as Faust shows it."""

    INIT = "init"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"

    def __str__(self) -> str:
        return self.value


class _TaskSpec(NamedTuple):
    name: str
    run: Callable[[Any, Callable[[], Any]], Coroutine[Any, Any, Any]]  # (service, method)


class Service(Waits):
    """Starts, runs tasks, and stops; a failure of any of them is its own.

    Subclasses override the `on_` hooks. Tasks marked with `@Service.task` or
    `@Service.timer`, and those given to `add_future`, run from `on_start` until
    the service stops. Stopping twice, or stopping what never started, is fine.
    """

    #: Seconds that tasks and children are given to end when the service stops.
    shutdown_timeout: ClassVar[float] = 60.0
    _service_tasks: ClassVar[dict[str, _TaskSpec]] = {}

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls._service_tasks = {
            name: getattr(found, MARK)
            for base in reversed(cls.__mro__)
            for name, found in vars(base).items()
            if hasattr(found, MARK)
        }

    def __init__(self, *, beacon: Any = None, loop: Any = None) -> None:
        self.beacon, self._given_loop = beacon, loop
        self.log = self.logger = logging.getLogger(type(self).__module__)
        self.crash_reason: BaseException | None = None
        self._state = State.INIT
        self._nursery: Nursery | None = None
        self._children: list[Service] = []
        self._pending: list[tuple[Coroutine[Any, Any, Any], str]] = []
        self._stopped: asyncio.Event = asyncio.Event()
        self._should_stop: asyncio.Event = asyncio.Event()
        self._started_once = False
        self._stop_task: asyncio.Task[None] | None = None
        self._transition: str | None = None
        self._contexts = AsyncExitStack()
        self.on_init()
        self.__post_init__()

    def __repr__(self) -> str:
        return f"<{self.label}: {self.state}>"

    # -- what it is --------------------------------------------------------------------

    @property
    def label(self) -> str:
        """A name for logs."""
        return type(self).__name__

    @property
    def shortlabel(self) -> str:
        """A shorter name for logs."""
        return self.label

    @property
    def state(self) -> str:
        """init, starting, running, stopping, stopped or crashed."""
        if self.crash_reason is not None and self._state is not State.STOPPING:
            return "crashed"
        if self._transition is not None:
            return self._transition
        return str(self._state)

    @property
    def started(self) -> bool:
        """Whether it was started, and has not begun to stop."""
        return self._state in (State.STARTING, State.RUNNING)

    @property
    def crashed(self) -> bool:
        """Whether it failed; crash_reason says by what."""
        return self.crash_reason is not None

    @property
    def should_stop(self) -> bool:
        """Whether it is stopping or was asked to."""
        return self._should_stop.is_set() or self._state in (State.STOPPING, State.STOPPED)

    def tracebacks(self) -> dict[str, str]:
        """Return where each of its tasks, and those of its children, is just now, by name."""
        found = {} if self._nursery is None else self._nursery.tracebacks()
        for child in self._children:
            found |= child.tracebacks()
        return found

    def human_tracebacks(self) -> str:
        """Return where every task is just now, for people to read."""
        return "\n".join(f"== {name}\n{text}" for name, text in self.tracebacks().items())

    # -- hooks -------------------------------------------------------------------------

    def on_init(self) -> None:
        """Run when the object is made."""

    def __post_init__(self) -> None:
        """Run when the object is made, after on_init."""

    def on_init_dependencies(self) -> list[Any]:
        """Return services that start and stop with this one."""
        return []

    async def on_first_start(self) -> None:
        """Run before the first start only."""

    async def on_start(self) -> None:
        """Run at each start, before children and tasks."""

    async def on_started(self) -> None:
        """Run once children and tasks are started."""

    async def on_stop(self) -> None:
        """Run at each stop, before children and tasks are stopped."""

    async def on_shutdown(self) -> None:
        """Run at each stop, after everything else."""

    async def on_restart(self) -> None:
        """Run between stop and start of a restart."""

    async def on_async_enter(self) -> None:
        """Run when `async with` has started it."""

    async def on_async_exit(
        self,
        exc_type: type[BaseException] | None = None,
        exc: BaseException | None = None,
        traceback: Any = None,
    ) -> None:
        """Run when `async with` is left, before it is stopped."""

    # What our own services do between the hooks, which belong to users.

    async def _set_up(self) -> None:
        """Run after on_start, before children and tasks are started."""

    def _hold(self) -> None:
        """Begin nothing new: run at once when a stop is asked for, before any hook."""

    async def _wind_down(self) -> None:
        """Run after on_stop, while children and tasks still run."""

    async def _tear_down(self) -> None:
        """Run when children and tasks have ended, before on_shutdown."""

    # -- composing ---------------------------------------------------------------------

    @staticmethod
    def task(fun: Fun) -> Fun:
        """Mark a coroutine method as a task of the service."""
        setattr(fun, MARK, _TaskSpec(fun.__name__, lambda service, method: method()))
        return fun

    @staticmethod
    def timer(
        interval: float | timedelta,
        *,
        exec_first: bool = False,
        name: str | None = None,
        max_drift_correction: float = 0.1,
    ) -> Callable[[Fun], Fun]:
        """Mark a coroutine method to be run every interval; exec_first: at the start as well."""
        seconds(interval)

        def mark(fun: Fun) -> Fun:
            async def run(service: Service, method: Callable[[], Awaitable[Any]]) -> None:
                if exec_first:
                    await method()
                async for _ in itertimer(
                    interval, max_drift_correction=max_drift_correction, name=label
                ):
                    await method()

            label = name or fun.__name__
            setattr(fun, MARK, _TaskSpec(label, run))
            return fun

        return mark

    @staticmethod
    def crontab(cron_format: str, *, timezone: tzinfo | str | None = None) -> Callable[[Fun], Fun]:
        """Mark a coroutine method to be run at the times of a cron expression (see App.crontab).

        Without a timezone they are UTC's.
        """
        crontab.check(cron_format)
        zone = crontab.time_zone(timezone)

        def mark(fun: Fun) -> Fun:
            async def run(service: Service, method: Callable[[], Awaitable[Any]]) -> None:
                async for _ in crontab.itercron(cron_format, zone or UTC):
                    await method()

            setattr(fun, MARK, _TaskSpec(fun.__name__, run))
            return fun

        return mark

    @staticmethod
    def transitions_to(flag: str) -> Callable[[Fun], Fun]:
        """Let a service show this state while a coroutine method runs."""

        def mark(fun: Fun) -> Fun:
            @functools.wraps(fun)
            async def shown(self: Service, *args: Any, **kwargs: Any) -> Any:
                before, self._transition = self._transition, flag
                try:
                    return await fun(self, *args, **kwargs)
                finally:
                    self._transition = before

            return cast(Fun, shown)

        return mark

    @classmethod
    def from_awaitable(cls, coro: Awaitable[Any], *, name: str | None = None) -> Service:
        """Return a service that runs a coroutine when it starts, and stops when that ends."""

        class FromAwaitable(cls):  # type: ignore[misc,valid-type]
            async def on_started(self) -> None:
                self.add_future(self._run())

            async def _run(self) -> None:
                await coro
                self.set_shutdown()
                await self.stop()

            @property
            def label(self) -> str:
                return name or str(getattr(coro, "__qualname__", type(self).__name__))

        made: Service = FromAwaitable()
        return made

    def add_dependency(self, service: Any) -> Any:
        """Let another service start and stop with this one."""
        self._children.append(service)
        return service

    async def add_runtime_dependency(self, service: Any) -> Any:
        """Like add_dependency; starts it now if this one is running."""
        self.add_dependency(service)
        if self.started:
            await service.maybe_start()
        return service

    async def remove_dependency(self, service: Any) -> Any:
        """Stop another service, and let go of it."""
        if service in self._children:
            self._children.remove(service)
            await service.stop()
        return service

    def add_context(self, context: AbstractContextManager[Any]) -> Any:
        """Enter a context until the service stops; return what entering gives."""
        return self._contexts.enter_context(context)

    async def add_async_context(self, context: AbstractAsyncContextManager[Any]) -> Any:
        """Enter an asynchronous context until the service stops; return what entering gives."""
        return await self._contexts.enter_async_context(context)

    async def join_services(self, services: Iterable[Any]) -> None:
        """Start services one after the other, wait until all have stopped, and stop them."""
        all_of_them = list(services)
        try:
            for service in all_of_them:
                await service.maybe_start()
            for service in all_of_them:
                await service.wait_until_stopped()
        finally:
            for service in reversed(all_of_them):
                await service.stop()

    def add_future(
        self, coro: Coroutine[Any, Any, Any], *, name: str | None = None, vital: bool = False
    ) -> Any:
        """Run a coroutine as a task of the service; from the next start on if it is not running.

        Should it raise, the service crashes; a vital one must not return either.
        """
        label = name or str(getattr(coro, "__qualname__", "future"))
        if self._nursery is None:
            self._pending.append((coro, label))
            return None
        return self._nursery.spawn(coro, label, vital=vital)

    # -- starting and stopping ---------------------------------------------------------

    async def start(self) -> None:
        """Start it and everything that belongs to it, on the running loop.

        Raises what a hook or a child raises, after stopping what had started.
        """
        if self.started:
            return
        if self._state is State.STOPPING:
            await self.wait_until_stopped()
        self._state = State.STARTING
        self.crash_reason = None
        self._stopped = asyncio.Event()
        self._should_stop = asyncio.Event()
        self._stop_task = None
        self._nursery = Nursery(self.label, self._crashed_by, owner=self)
        try:
            if not self._started_once:
                self._started_once = True
                await self.on_first_start()
                self._children.extend(self.on_init_dependencies())
            await self.on_start()
            await self._set_up()
            for child in list(self._children):
                await child.maybe_start()
            self._start_tasks()
            self._state = State.RUNNING
            await self.on_started()
        except BaseException as exc:
            # Somebody who no longer wants the start is no failure.
            if self.crash_reason is None and not isinstance(exc, asyncio.CancelledError):
                self.crash_reason = exc
            await self.stop()
            raise

    def _start_tasks(self) -> None:
        assert self._nursery is not None
        for name, spec in self._service_tasks.items():
            method = getattr(self, name)
            self._nursery.spawn(spec.run(self, method), spec.name)
        pending, self._pending = self._pending, []
        for coro, name in pending:
            self._nursery.spawn(coro, name)

    async def maybe_start(self) -> bool:
        """Start it unless it is started; True if that was done."""
        if self.started:
            return False
        await self.start()
        return True

    async def stop(self) -> None:
        """Stop it and everything that belongs to it; return when that is done.

        Called by one of its own tasks (an agent that stops its app), it only
        asks for it and returns: the task could not wait for its own end.
        """
        if self._state in (State.INIT, State.STOPPED):
            return
        self._should_stop.set()
        if self._stop_task is None:
            self._hold()
            # Not of the nursery, which it closes; _stopped tells when it is done.
            self._stop_task = asyncio.get_running_loop().create_task(
                self._stop(), name=f"{self.label}:stop"
            )
        if self in owners.get():
            return
        await asyncio.shield(self._stop_task)

    async def _stop(self) -> None:
        self._state = State.STOPPING
        error: BaseException | None = None
        for step in (
            self.on_stop,
            self._wind_down,
            self._stop_children,
            self._close_nursery,
            self._tear_down,
            self._contexts.aclose,
            self.on_shutdown,
        ):
            try:
                await step()
            except Exception as exc:  # noqa: BLE001 - every step has its turn, then it is raised
                if error is not None:
                    self.log.error("%s: while stopping: %r", self.label, exc)
                error = error or exc
        self._state = State.STOPPED
        if error is not None and self.crash_reason is None:
            self.crash_reason = error
        self._stopped.set()
        if error is not None and error is not self.crash_reason:
            self.log.error("%s: while stopping: %r", self.label, error)
        elif error is not None:
            self._report_crash(error)

    async def _stop_children(self) -> None:
        for child in reversed(self._children):
            await child.stop()

    async def _close_nursery(self) -> None:
        nursery, self._nursery = self._nursery, None
        if nursery is not None:
            await nursery.close(self.shutdown_timeout)

    async def restart(self) -> None:
        """Stop it, then start it."""
        await self.stop()
        await self.on_restart()
        await self.start()

    def _crashed_by(self, error: BaseException) -> None:
        """Take the failure of a task, or of something inside, as this service's own."""
        if self.crash_reason is None:
            self.crash_reason = error
            self._report_crash(error)
        self._should_stop.set()
        if self._stop_task is None and self._state is not State.STOPPED:
            self._hold()
            self._stop_task = asyncio.get_running_loop().create_task(
                self._stop(), name=f"{self.label}:stop"
            )

    def _report_crash(self, error: BaseException) -> None:
        # What we raised on purpose says all there is to say; a bug needs its traceback.
        ours = isinstance(error, FaustError)
        self.log.error(
            "%s crashed: %s",
            self.label,
            error if ours else repr(error),
            exc_info=None if ours else error,
        )

    async def crash(self, reason: BaseException) -> None:
        """Fail the service: it stops, and whoever runs it learns why."""
        self._crashed_by(reason)

    async def wait_until_stopped(self) -> None:
        """Wait until it has stopped; look at `crash_reason` for why."""
        await self._stopped.wait()

    def set_shutdown(self) -> None:
        """Ask it to stop, without waiting."""
        self._should_stop.set()

    def service_reset(self) -> None:
        """Forget that it stopped or crashed, as if it had not been started yet."""
        if self.started or self._state is State.STOPPING:
            raise NotReady(f"{self.label} is {self.state}; stop it before it is reset")
        self._state = State.INIT
        self.crash_reason = None

    async def __aenter__(self) -> Any:
        await self.start()
        await self.on_async_enter()
        return self

    async def __aexit__(self, *exc: Any) -> None:
        try:
            await self.on_async_exit(*exc)
        finally:
            await self.stop()
