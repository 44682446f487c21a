"""The `faustc` command: its options, finding the app, and commands of the app's own."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import click

from faustc.app import App
from faustc.exceptions import FaustError, ImproperlyConfigured
from faustc.imports import did_you_mean, is_part_of
from faustc.version import __version__
from faustc.worker import LEVELS

__all__ = ["AppCommand", "Command", "Invocation", "argument", "command_of", "main", "option"]

argument = click.argument  # decorators, whose results Command.options takes as they are
option = click.option


class Invocation:
    """What the options before the command say; commands find it as `ctx.obj`."""

    def __init__(self, app: App | None = None) -> None:
        self.given_app = app
        self.path: str | None = None
        self.datadir: str | None = None
        self.broker: str | None = None
        self.loglevel: str | None = None
        self.logfile: str | None = None
        self.quiet = False
        self.debug = False
        self.json = False
        self.loop = "aio"
        self._app: App | None = app

    @property
    def app(self) -> App:
        """The app, imported when first asked for; ends the command line if there is none."""
        if self._app is None:
            if self.path is None:
                raise CommandLineError("no app: name one with -A, as in -A proj.app")
            self._app = find_app(self.path)
        app = self._app
        if self.datadir is not None:
            app.conf.datadir = self.datadir
        if self.broker is not None and app.conf.broker != self.broker:
            app.conf.broker = self.broker
        if self.debug:
            app.conf.debug = True
        return app

    @property
    def maybe_app(self) -> App | None:
        """The app if one was named."""
        return self.app if self._app is not None or self.path is not None else None


class CommandLineError(click.ClickException):
    """Ends the command line with one line and exit code 2."""

    exit_code = 2

    def show(self, file: Any = None) -> None:
        click.echo(f"faustc: {' '.join(self.message.split())}", err=True)


def find_app(path: str) -> App:
    """Import the app that a path names: a module (its `app`), `module.attr` or `module:attr`."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    module_name, colon, attribute = path.partition(":")
    if not colon:
        module = _import(module_name, whole=False)
        if module is None and "." in path:
            module_name, _, attribute = path.rpartition(".")
    if not all(part.isidentifier() for part in module_name.split(".")):
        raise CommandLineError(f"-A {path}: {path!r} is not the path of a module or an app")
    module = _import(module_name, whole=True)
    found: Any = getattr(module, attribute or "app", None)
    if found is None:
        hint = did_you_mean(attribute or "app", dir(module))
        raise CommandLineError(f"-A {path}: {module_name} has no {attribute or 'app'!r}{hint}")
    if not isinstance(found, App):
        raise CommandLineError(
            f"-A {path}: {module_name}:{attribute or 'app'} is no App, it is {found!r}"
        )
    if found.conf.origin is None:
        found.conf.origin = module_name
    return found


def _import(name: str, *, whole: bool) -> Any:
    """Import a module; None, or with `whole` the end of the command line, if there is none."""
    if not all(part.isidentifier() for part in name.split(".")):
        if whole:
            raise CommandLineError(f"-A: {name!r} is not the path of a module")
        return None
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as exc:
        if not is_part_of(exc.name, name):
            raise CommandLineError(f"-A {name}: while importing it: {_place(exc)}") from exc
        if whole:
            raise CommandLineError(f"-A {name}: there is no module {exc.name!r} here") from exc
        return None
    except Exception as exc:
        raise CommandLineError(f"-A {name}: while importing it: {_place(exc)}") from exc


def _place(exc: BaseException) -> str:
    """Say what an import raised, and on which line of the user's own code."""
    frames = traceback.extract_tb(exc.__traceback__)
    ours = str(Path(__file__).parent.parent)
    own = [f for f in frames if "importlib" not in f.filename and not f.filename.startswith(ours)]
    where = f" ({own[-1].filename}:{own[-1].lineno})" if own else ""
    return f"{type(exc).__name__}: {exc}{where}"


class Group(click.Group):
    """Commands of ours, imported when asked for, and those of the app."""

    OURS: ClassVar[dict[str, str]] = {
        "broker": "faustc.cli.broker:broker",
        "send": "faustc.cli.send:send",
        "worker": "faustc.cli.worker:worker",
    }

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*self.OURS, *self._of_app(ctx)])

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name in self.OURS:
            module, _, attribute = self.OURS[name].partition(":")
            command: click.Command = getattr(importlib.import_module(module), attribute)
            return command
        return self._of_app(ctx).get(name)

    def _of_app(self, ctx: click.Context) -> dict[str, click.Command]:
        invocation: Invocation = ctx.obj
        app = invocation.maybe_app
        if app is None:
            return {}
        if app.conf.autodiscover:
            app.discover()
        return {command.command_name(): command.as_click() for command in app.commands}


def log_options(fun: Any) -> Any:
    """Add -l and -f, which Faust takes before and after the command."""
    for add in (
        click.option(
            "-l",
            "--loglevel",
            type=click.Choice(list(LEVELS), case_sensitive=False),
            help="What to log; warn unless given.",
        ),
        click.option("-f", "--logfile", type=click.Path(), help="Where to log; the terminal."),
    ):
        fun = add(fun)
    return fun


def broker_option(fun: Any) -> Any:
    """Add --broker, which is taken before and after the command."""
    return click.option(
        "--broker",
        metavar="URL",
        help="The broker to use, instead of the app's; embedded://.",
    )(fun)


# Before the rest, since which commands there are (and what --help lists) depends on them.


def _change_workdir(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value is not None:
        try:
            os.chdir(value)
        except OSError as exc:
            raise CommandLineError(f"--workdir {value}: {exc.strerror}") from exc


def _note_app(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value is not None:
        ctx.obj.path, ctx.obj._app = value, None


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "-W",
    "--workdir",
    type=click.Path(),
    is_eager=True,
    callback=_change_workdir,
    help="Change to this folder first.",
)
@click.option(
    "-A",
    "--app",
    "path",
    metavar="PATH",
    is_eager=True,
    callback=_note_app,
    help="The app: a module, or module:name.",
)
@click.option("-D", "--datadir", type=click.Path(), help="Folder of local state.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
@click.option("--debug/--no-debug", default=False, help="Set the app's debug.")
@click.option("--json", is_flag=True, help="Print for machines.")
@click.option(
    "-L", "--loop", type=click.Choice(["aio", "uvloop"]), default="aio", help="The event loop."
)
@broker_option
@log_options
@click.version_option(__version__, prog_name="faustc", message="%(prog)s %(version)s")
@click.pass_context
def cli(ctx: click.Context, /, **given: Any) -> None:
    """Run stream processing apps: faustc -A examples.word_count worker -l info."""
    invocation: Invocation = ctx.obj
    for name, value in given.items():
        if name not in ("path", "workdir"):
            setattr(invocation, name, value)


def main(app: App | None = None, args: Sequence[str] | None = None) -> NoReturn:
    """Run the command line, with this app unless -A names another; then exit."""
    if app is not None and app.conf.origin is None:
        app.conf.origin = _script_name()
    try:
        cli.main(
            args=list(args) if args is not None else None,
            prog_name="faustc" if app is None else Path(sys.argv[0]).name,
            obj=Invocation(app),
        )
    except FaustError as exc:
        click.echo(f"faustc: {exc}", err=True)
        sys.exit(2 if isinstance(exc, ImproperlyConfigured) else 1)
    sys.exit(0)


def _script_name() -> str:
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec.name if spec is not None and spec.name else Path(sys.argv[0]).stem


class Command:
    """A command made of a class: override `run`, list click parameters in `options`."""

    options: ClassVar[Sequence[Any]] = ()
    help: ClassVar[str | None] = None
    daemon: ClassVar[bool] = False

    def __init__(self, invocation: Invocation) -> None:
        self.invocation = invocation

    @classmethod
    def command_name(cls) -> str:
        """Return what it is called on the command line."""
        return cls.__name__.lower().replace("_", "-")

    @classmethod
    def as_click(cls) -> click.Command:
        """Make the command that click runs."""

        @click.pass_context
        def callback(ctx: click.Context, /, **given: Any) -> None:
            cls(ctx.obj).execute(**given)

        params = [_parameter(one) for one in cls.options]
        text = inspect.cleandoc(cls.help or cls.run.__doc__ or "")
        return click.Command(cls.command_name(), callback=callback, params=params, help=text)

    def execute(self, **given: Any) -> None:
        """Run it to its end, on an event loop of its own."""
        if self.daemon:
            raise ImproperlyConfigured("commands with daemon=True are not supported yet")
        asyncio.run(self._run(given))

    async def _run(self, given: dict[str, Any]) -> None:
        await self.run(**given)

    async def run(self, *args: Any, **given: Any) -> Any:
        """Do what the command is for."""
        raise NotImplementedError

    def say(self, message: str, **options: Any) -> None:
        """Print a line, unless --quiet."""
        if not self.invocation.quiet:
            click.echo(message, **options)

    def carp(self, message: str, **options: Any) -> None:
        """Print a line to stderr."""
        click.echo(message, err=True, **options)


class AppCommand(Command):
    """A command that works with the app; what it sends is delivered before it ends."""

    @property
    def app(self) -> App:
        """The app of -A."""
        return self.invocation.app

    async def _run(self, given: dict[str, Any]) -> None:
        try:
            await self.run(**given)
        finally:
            await self.app.runner.stop()


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

    async def run(self: Command, **given: Any) -> Any:
        result = fun(self, **given) if takes_self else fun(**given)
        return await result if inspect.isawaitable(result) else result

    run.__doc__ = fun.__doc__
    return type(fun.__name__, (base or AppCommand,), {"options": options, "run": run, **attributes})


def _parameter(given: Any) -> click.Parameter:
    """Take a click parameter, or one of click's decorators."""
    if isinstance(given, click.Parameter):
        return given

    def blank() -> None: ...

    decorated: Any = given(blank)
    parameter: click.Parameter = decorated.__click_params__[0]
    return parameter
