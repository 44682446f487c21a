"""Commands made of classes and functions, and what helps to write them."""

from __future__ import annotations

import asyncio
import inspect
import io
import logging
import shutil
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import IO, Any, ClassVar

import click

from faustc.app import App
from faustc.cli.base import CommandLineError, Invocation
from faustc.cli.entities import find_topic, symbol_of_app
from faustc.exceptions import DecodeError
from faustc.jsonable import dumps
from faustc.worker import FORMAT, LEVELS

__all__ = ["AppCommand", "Command", "command_of"]


class Command:
    """A command made of a class: override `run`, list click parameters in `options`.

    daemon: it goes on after `run` came back, until SIGINT or SIGTERM.
    """

    UsageError: ClassVar[type[click.ClickException]] = CommandLineError

    options: ClassVar[Sequence[Any] | None] = ()
    help: ClassVar[str | None] = None
    daemon: ClassVar[bool] = False
    redirect_stdouts: ClassVar[bool | None] = None
    title: ClassVar[str] = ""
    headers: ClassVar[Sequence[str]] = ()

    def __init__(self, ctx: Any) -> None:
        self.ctx = ctx if isinstance(ctx, click.Context) else None
        self.invocation: Invocation = ctx.obj if isinstance(ctx, click.Context) else ctx
        self.state = self.invocation
        self.debug = self.invocation.debug
        self.quiet = self.invocation.quiet
        self.json = self.invocation.json
        self.workdir = self.invocation.workdir
        self.datadir = self.invocation.datadir
        self.logfile = self.invocation.logfile
        self.loglevel = self.invocation.loglevel or "warn"
        self.prog_name = self.ctx.find_root().command_path if self.ctx else "faustc"

    @property
    def stdout(self) -> IO[str]:
        """Where `say` prints."""
        return sys.stdout

    @property
    def stderr(self) -> IO[str]:
        """Where errors are printed."""
        return sys.stderr

    @classmethod
    def command_name(cls) -> str:
        """Return what it is called on the command line."""
        return cls.__name__.lower().replace("_", "-")

    @classmethod
    def as_click(cls) -> click.Command:
        """Make the command that click runs."""

        @click.pass_context
        def callback(ctx: click.Context, /, **given: Any) -> None:
            cls(ctx)(**given)

        params = [_parameter(one) for one in cls.options or ()]
        text = inspect.cleandoc(cls.help or cls.run.__doc__ or cls.__doc__ or "")
        return click.Command(cls.command_name(), callback=callback, params=params, help=text)

    def __call__(self, *args: Any, **given: Any) -> Any:
        """Run it to its end, on an event loop of its own; override it for a plain function."""
        level = LEVELS[self.loglevel.lower()]
        logging.basicConfig(level=level, format=FORMAT, filename=self.logfile)
        work = self.execute(*args, **given)
        asyncio.run(self._as_daemon(work) if self.daemon else work)

    async def _as_daemon(self, work: Coroutine[Any, Any, Any]) -> None:
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        running = asyncio.ensure_future(work)
        stopping = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                await running
                await stopping
        finally:
            for task in (running, stopping):
                task.cancel()
            await asyncio.gather(running, stopping, return_exceptions=True)
            await self.on_stop()

    async def execute(self, *args: Any, **given: Any) -> Any:
        """Run it; `on_stop` is called at its end, a daemon's when that is stopped."""
        try:
            return await self.run(*args, **given)
        finally:
            if not self.daemon:
                await self.on_stop()

    async def run(self, *args: Any, **given: Any) -> Any:
        """Do what the command is for."""
        raise NotImplementedError

    async def on_stop(self) -> None:
        """Run when the command is over."""

    # -- printing ----------------------------------------------------------------------

    def say(
        self, message: Any, file: IO[str] | None = None, err: bool = False, **options: Any
    ) -> None:
        """Print a line, unless --quiet."""
        if not self.quiet:
            click.echo(message, file=file, err=err, **options)

    def carp(self, message: Any, **options: Any) -> None:
        """Print a line to stderr if --debug."""
        if self.debug:
            self.say(f"#-- {message}", **{"err": True, **options})

    def dumps(self, obj: Any) -> str:
        """Write an object as JSON."""
        return dumps(obj).decode()

    def tabulate(
        self,
        data: Sequence[Sequence[Any]],
        headers: Sequence[str] | None = None,
        wrap_last_row: bool = True,
        title: str = "",
        **options: Any,
    ) -> str:
        """Return rows as a table for people; with --json as a list of objects, or of rows."""
        if self.json:
            rows: list[Any] = [list(row) for row in data]
            return self.dumps(
                [dict(zip(headers, row, strict=True)) for row in rows] if headers else rows
            )
        from rich.console import Console

        table = self.table(data, title=title, headers=headers, **options)
        target = io.StringIO()
        width = shutil.get_terminal_size((100, 24)).columns
        Console(file=target, width=width, force_terminal=self.stdout.isatty()).print(table)
        return target.getvalue().rstrip("\n")

    def table(
        self,
        data: Sequence[Sequence[Any]],
        title: str = "",
        *,
        headers: Sequence[str] | None = None,
        **options: Any,
    ) -> Any:
        """Return rows as a table of rich."""
        from rich.table import Table
        from rich.text import Text

        table = Table(
            title=title or None, title_justify="left", show_header=bool(headers), **options
        )
        width = max([len(headers or ()), *(len(row) for row in data)], default=0)
        for header in [*(headers or ()), *[""] * (width - len(headers or ()))]:
            table.add_column(header, overflow="fold")
        for row in data:
            table.add_row(*(Text(str(cell)) for cell in row))
        return table

    def color(self, name: str, text: str) -> str:
        """Return text in a colour, for a terminal."""
        return click.style(text, fg=name)

    colored = color

    def dark(self, text: str) -> str:
        """Return text that stands back."""
        return click.style(text, dim=True)

    def bold(self, text: str) -> str:
        """Return text that stands out."""
        return click.style(text, bold=True)

    def bold_tail(self, text: str, *, sep: str = ".") -> str:
        """Return a dotted name whose last part stands out."""
        head, dot, tail = text.rpartition(sep)
        return f"{head}{dot}{self.bold(tail)}"

    def logo(self) -> str:
        """Return the name of the program, as banners have it."""
        return self.bold("faustc")


class AppCommand(Command):
    """A command that works with the app; what it sends is delivered before it ends."""

    require_app: ClassVar[bool] = True

    def __init__(self, ctx: Any) -> None:
        super().__init__(ctx)
        if self.require_app:
            _ = self.app  # ends the command line if there is none

    @property
    def app(self) -> App:
        """The app of -A."""
        return self.invocation.app

    @property
    def key_serializer(self) -> Any:
        """The codec of `to_key`: the app's."""
        return self.app.conf.key_serializer

    @property
    def value_serializer(self) -> Any:
        """The codec of `to_value`: the app's."""
        return self.app.conf.value_serializer

    async def on_stop(self) -> None:
        """Stop the app if the command started it, and deliver what was sent."""
        app = self.invocation.maybe_app
        if app is not None:
            await app.stop()

    def to_key(self, typ: str | None, key: str) -> Any:
        """Make a key of the shell's text, of a model if one is named."""
        return self.to_model(typ, key, self.key_serializer)

    def to_value(self, typ: str | None, value: str) -> Any:
        """Make a value of the shell's text, of a model if one is named."""
        return self.to_model(typ, value, self.value_serializer)

    def to_model(self, typ: str | None, value: str, serializer: Any) -> Any:
        """Make a model of text that a serializer wrote; without a model the bytes of it."""
        data = value.encode()
        if not typ:
            return data
        model = self.import_relative_to_app(typ)
        try:
            return model.loads(data, serializer=serializer)
        except (DecodeError, TypeError, ValueError) as exc:
            raise self.UsageError(f"{value!r} is no {typ}: {exc}") from exc

    def to_topic(self, entity: str) -> Any:
        """Return the topic of a name, or of an agent: @name."""
        return find_topic(self.app, entity)

    def import_relative_to_app(self, attr: str) -> Any:
        """Import what `module.Name` names, or Name in the app's module or its models."""
        return symbol_of_app(self.app, attr)

    def abbreviate_fqdn(self, name: str, *, prefix: str = "") -> str:
        """Shorten a dotted name by the app's own module, or another prefix."""
        origin = (self.app.conf.origin or "").partition(":")[0]
        start = f"{prefix or origin}."
        return name.removeprefix(start) if start != "." else name


def command_of(
    app: App,
    fun: Callable[..., Any],
    options: Sequence[Any],
    base: type[Command] | None,
    attributes: dict[str, Any],
) -> type[Command]:
    """Make a command class of a function, for `@app.command`."""
    parameters = list(inspect.signature(fun).parameters)
    takes_self = bool(parameters) and parameters[0] == "self"

    async def run(self: Command, *args: Any, **given: Any) -> Any:
        result = fun(self, *args, **given) if takes_self else fun(*args, **given)
        return await result if isinstance(result, Awaitable) else result

    run.__doc__ = fun.__doc__
    return type(
        fun.__name__,
        (base or AppCommand,),
        {
            "options": options,
            "run": run,
            "__module__": fun.__module__,
            "__doc__": fun.__doc__,
            "__wrapped__": fun,
            **attributes,
        },
    )


def _parameter(given: Any) -> click.Parameter:
    """Take a click parameter, or one of click's decorators."""
    if isinstance(given, click.Parameter):
        return given

    def blank() -> None: ...

    decorated: Any = given(blank)
    parameter: click.Parameter = decorated.__click_params__[0]
    return parameter
