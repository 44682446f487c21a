"""The worker: a process that runs apps until a signal, and says how it ended.

Exit codes: 0 stopped by a signal, 1 an app crashed or could not start, 2 it
was configured wrongly, 128 + n for the second signal n.
"""

from __future__ import annotations

import asyncio
import logging
import logging.config
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import IO, Any, NoReturn

from faustc.blocking import BlockingDetector, cry
from faustc.exceptions import FaustError, ImproperlyConfigured
from faustc.imports import did_you_mean
from faustc.version import __version__

__all__ = ["LEVELS", "Worker"]

logger = logging.getLogger(__name__)

LEVELS = {
    "crit": logging.CRITICAL,
    "critical": logging.CRITICAL,
    "error": logging.ERROR,
    "warn": logging.WARNING,
    "warning": logging.WARNING,
    "info": logging.INFO,
    "debug": logging.DEBUG,
}
FORMAT = "[%(asctime)s] [%(process)d] [%(levelname)s] %(name)s: %(message)s"
# On top of what each app gives its events in hand: committing, leaving, closing.
STOP_MARGIN_S = 60.0
DEBUG_BLOCKING_S = 10.0


class Worker:
    """Runs one or several apps on one event loop, in the foreground.

    The first app's settings are used where there can be only one. Further
    services are started after the apps and stopped before them.

    loglevel, logfile (a path or a file), loghandlers (more of them) and logging_config (for
    logging.config.dictConfig, then the others are not looked at) are about the log;
    redirect_stdouts and redirect_stdouts_level about what is printed; stdout and stderr are
    files instead of the process's. sensors are added to every app. workdir is changed to
    first. blocking_timeout: seconds after which a blocked event loop is reported, where
    it is. debug switches that on with 10 s, and asyncio's own debugging, and with
    aiomonitor installed its console at console_port. loop is aio or uvloop. quiet: no
    table at the start. daemon=False: end when the services have started. Signals: INT
    and TERM stop it, a second one and QUIT end it at once, USR1 prints where every task
    and thread is.
    """

    def __init__(
        self,
        *apps: Any,
        loglevel: str | int | None = "warn",
        logfile: str | IO[str] | None = None,
        quiet: bool = False,
        sensors: Sequence[Any] = (),
        debug: bool = False,
        workdir: str | None = None,
        loop: str = "aio",
        redirect_stdouts: bool | None = None,
        redirect_stdouts_level: int | str | None = None,
        stdout: IO[str] | None = None,
        stderr: IO[str] | None = None,
        blocking_timeout: float | None = None,
        console_port: int | None = None,
        logging_config: Mapping[str, Any] | None = None,
        loghandlers: Sequence[logging.Handler] = (),
        daemon: bool = True,
    ) -> None:
        if not apps:
            raise ImproperlyConfigured("a worker needs an app")
        self.services = list(apps)
        self.apps = [service for service in apps if hasattr(service, "runner")]
        served = set()
        for app in self.apps:
            # Several apps with one port between them: the first has it.
            place = str(app.conf.web_transport), app.conf.web_port
            app.serves_web = place not in served
            served.add(place)
            for sensor in sensors:
                app.sensors.add(sensor)
        if not self.apps:
            raise ImproperlyConfigured("a worker needs an app among what it runs")
        if loop not in ("aio", "uvloop"):
            raise ImproperlyConfigured(f"loop={loop!r}: a worker runs on aio or uvloop")
        if isinstance(loglevel, str) and loglevel.lower() not in LEVELS:
            raise ImproperlyConfigured(
                f"loglevel={loglevel!r}: it is {', '.join(LEVELS)} or a number"
                f"{did_you_mean(loglevel.lower(), LEVELS)}"
            )
        if console_port is not None:
            raise ImproperlyConfigured("console_port: there is no console; look at / with debug")
        self.app = self.apps[0]
        for app in self.apps:
            app.in_worker = True
        self._blocking_timeout = blocking_timeout
        self._logging_config = logging_config
        self._loghandlers = list(loghandlers)
        self._daemon = daemon
        self.loglevel = loglevel
        self.logfile = logfile
        self.quiet = quiet
        self.loop = loop
        self.stdout = stdout or sys.stdout
        self.stderr = stderr or sys.stderr
        self._debug = debug
        self._workdir = workdir
        self._redirect = redirect_stdouts
        self._redirect_level = redirect_stdouts_level
        self._signals = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()

    def execute_from_commandline(self) -> NoReturn:
        """Run until stopped, then exit the process with the code that says how."""
        sys.exit(self.run())

    def run(self) -> int:
        """Run until a signal or a crash; return the exit code. Not from a running loop."""
        if self._workdir is not None:
            self.change_workdir(self._workdir)
        printing = sys.stdout, sys.stderr
        self._set_up_logging()
        handlers = {
            signal.SIGINT: self._on_signal,
            signal.SIGTERM: self._on_signal,
            signal.SIGQUIT: self._on_quit,
            signal.SIGUSR1: self._on_cry,
        }
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            with asyncio.Runner(
                loop_factory=_loop_factory(self.loop), debug=self._debug or None
            ) as runner:
                return runner.run(self._main())
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            sys.stdout, sys.stderr = printing
            self.stdout.flush()
            self.stderr.flush()

    async def start(self) -> None:
        """Start the apps on the running loop, without taking over signals or logging."""
        for service in self.services:
            await service.maybe_start()

    async def stop(self) -> None:
        """Stop the apps, in the reverse order; idempotent."""
        self._stop.set()
        for service in reversed(self.services):
            await service.stop()

    stop_and_shutdown = stop

    def change_workdir(self, path: str | Path) -> None:
        """Go to a folder, where the app's relative paths begin."""
        try:
            os.chdir(Path(path).absolute())
        except OSError as exc:
            raise ImproperlyConfigured(f"workdir {str(path)!r}: {exc.strerror}") from exc

    def autodiscover(self) -> None:
        """Import the packages with the decorators of the apps that want it."""
        for app in self.apps:
            if app.conf.autodiscover:
                app.discover()

    def on_setup_root_logger(self, logger: logging.Logger, level: int) -> None:
        """Run when logging is set up; override it to add to the root logger."""

    async def on_startup_finished(self) -> None:
        """Run when all that this worker runs has started; override it as needed."""

    # -- inside ------------------------------------------------------------------------

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        # A Python handler, not the loop's: the second signal has to end a process
        # whose loop is blocked by user code, too.
        self._signals += 1
        if self._signals > 1:
            os.write(2, b"faustc: second signal, exiting at once\n")
            os._exit(128 + number)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)

    def _on_quit(self, number: int, frame: FrameType | None) -> None:
        os.write(2, b"faustc: SIGQUIT, exiting at once\n")
        os._exit(128 + number)

    def _on_cry(self, number: int, frame: FrameType | None) -> None:
        """Print where it is; from the handler, so that it tells of a blocked loop, too."""
        os.write(2, cry(self._loop).encode())

    async def _main(self) -> int:
        self._loop = asyncio.get_running_loop()
        if self._signals:
            return 0
        watch = self._watch_blocking()
        try:
            return await self._start_to_end()
        finally:
            if watch is not None:
                watch.stop()

    async def _begin(self) -> None:
        """Tell the apps that a worker begins, then start them."""
        for app in self.apps:
            for fixup in app.fixups:
                fixup.on_worker_init()
            app.on_worker_init.send()
            app.worker_init()
        self.autodiscover()
        for app in self.apps:
            app.worker_init_post_autodiscover()
        await self._start_or_stop()

    async def _start_to_end(self) -> int:
        code = await self._guarded(self._begin())
        if code == 0 and not self._stop.is_set():
            if not self.quiet:
                self._print_table()
            await self._tell_started()
            logger.info("Worker ready")
            if self._daemon:
                await self._until_something_ends()
        logger.info("Stopping")
        limit_s = STOP_MARGIN_S + sum(app.conf.broker_session_timeout / 2 for app in self.apps)
        code = await self._guarded(self._stop_within(limit_s)) or code
        if any(service.crashed for service in self.services):
            code = code or 1
        logger.info("Stopped")
        return code

    async def _tell_started(self) -> None:
        await self.on_startup_finished()
        for app in self.apps:
            if app.on_startup_finished is not None:
                await app.on_startup_finished()

    def _watch_blocking(self) -> BlockingDetector | None:
        timeout_s = self._blocking_timeout or self.app.conf.blocking_timeout
        if timeout_s is None and (self._debug or self.app.conf.debug):
            timeout_s = DEBUG_BLOCKING_S
        if timeout_s is None:
            return None
        watch = BlockingDetector(asyncio.get_running_loop(), timeout_s)
        watch.start()
        return watch

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> int:
        """Await; turn what we raise on purpose into one line and an exit code."""
        try:
            await work
        except ImproperlyConfigured as exc:
            self._say_error(exc)
            return 2
        except (FaustError, OSError) as exc:
            self._say_error(exc)
            return 1
        return 0

    async def _start_or_stop(self) -> None:
        """Start, unless a signal comes first."""
        starting = asyncio.ensure_future(self.start())
        stopping = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                await starting
        finally:
            for task in (starting, stopping):
                task.cancel()
            await asyncio.gather(starting, stopping, return_exceptions=True)

    async def _until_something_ends(self) -> None:
        waits = [asyncio.ensure_future(service.wait_until_stopped()) for service in self.services]
        waits.append(asyncio.ensure_future(self._stop_wait()))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    async def _stop_wait(self) -> None:
        await self._stop.wait()

    async def _stop_within(self, limit_s: float) -> None:
        try:
            async with asyncio.timeout(limit_s):
                await self.stop()
        except TimeoutError:
            raise FaustError(
                f"not stopped within {limit_s:.0f} s; what is left is cut off"
            ) from None

    def _say_error(self, error: BaseException) -> None:
        self.stderr.write(f"faustc: {type(error).__name__}: {error}\n")
        self.stderr.flush()

    def _print_table(self) -> None:
        from rich.console import Console
        from rich.table import Table

        table = Table(title=f"faustc {__version__}", show_header=False, title_justify="left")
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        for app in self.apps:
            for name, value in app.runner.facts():
                table.add_row(name, value)
            table.add_section()
        Console(file=self.stdout).print(table)
        self.stdout.flush()

    def _set_up_logging(self) -> None:
        conf = self.app.conf
        level = self.loglevel
        if isinstance(level, str):
            level = LEVELS[level.lower()]
        given_config = self._logging_config or conf.logging_config
        if given_config is not None:
            # Our loggers are there by now; what says nothing of them is not meant to silence them.
            logging.config.dictConfig({"disable_existing_loggers": False, **given_config})
            self.on_setup_root_logger(logging.getLogger(), level or logging.WARNING)
            return
        target = self.logfile if self.logfile is not None else self.stderr
        handler = (
            logging.FileHandler(target)
            if isinstance(target, str)
            else logging.StreamHandler(target)
        )
        handlers = [handler, *conf.loghandlers, *self._loghandlers]
        logging.basicConfig(level=level, format=FORMAT, handlers=handlers, force=True)
        self.on_setup_root_logger(logging.getLogger(), level or logging.WARNING)
        redirect = conf.worker_redirect_stdouts if self._redirect is None else self._redirect
        if redirect:
            given = self._redirect_level or conf.worker_redirect_stdouts_level
            to = LEVELS[given.lower()] if isinstance(given, str) else int(given)
            printed = logging.getLogger("faustc.stdout")
            sys.stdout = _LogWriter(printed, to, self.stdout)
            sys.stderr = _LogWriter(printed, to, self.stderr)


class _LogWriter:
    """A file that logs each line written to it: where print() of an app goes."""

    def __init__(self, log: logging.Logger, level: int, original: IO[str]) -> None:
        self._log = log
        self._level = level
        self._original = original
        self._line = ""
        self.encoding = "utf-8"

    def write(self, text: str) -> int:
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            if line.strip():
                self._log.log(self._level, "%s", line)
        return len(text)

    def flush(self) -> None:
        """Do nothing: a line is logged once it is whole."""

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        return self._original.fileno()


def _loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    if name == "aio":
        return None
    try:
        import uvloop  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        raise ImproperlyConfigured("--loop uvloop: uvloop is not installed") from None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
