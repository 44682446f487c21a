"""The `faustc` command: its options, finding the app, and commands of the app's own."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, ClassVar, NoReturn

import click

from faustc.app import App
from faustc.exceptions import FaustError, ImproperlyConfigured
from faustc.imports import did_you_mean, is_part_of
from faustc.version import __version__
from faustc.worker import LEVELS

__all__ = ["CommandLineError", "Invocation", "argument", "call_command", "cli", "main", "option"]

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
        self.workdir: str | None = None
        self.blocking_timeout: float | None = None
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
        if self.blocking_timeout is not None:
            app.conf.blocking_timeout = self.blocking_timeout
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
        "agents": "faustc.cli.listing:agents",
        "broker": "faustc.cli.broker:broker",
        "clean-versions": "faustc.cli.folders:clean_versions",
        "completion": "faustc.cli.completion:completion",
        "model": "faustc.cli.listing:model",
        "models": "faustc.cli.listing:models",
        "reset": "faustc.cli.folders:reset",
        "send": "faustc.cli.send:send",
        "tables": "faustc.cli.listing:tables",
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
        ctx.obj.workdir = value
        change_folder(value)


def change_folder(folder: str) -> None:
    """Go to a folder; ends the command line if there is none."""
    try:
        os.chdir(folder)
    except OSError as exc:
        raise CommandLineError(f"--workdir {folder}: {exc.strerror}") from exc


def _note_app(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value is not None:
        ctx.obj.path, ctx.obj._app = value, None


def _check_loop(ctx: click.Context, param: click.Parameter, value: str) -> str:
    if value == "eventlet":
        raise CommandLineError("--loop eventlet: there is aio, and uvloop where it is installed")
    return value


def _refuse_console(ctx: click.Context, param: click.Parameter, value: int | None) -> None:
    if value is not None:
        raise CommandLineError("--console-port: there is no console; look at / with --debug")


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "-W",
    "--workdir",
    type=click.Path(),
    is_eager=True,
    callback=_change_workdir,
    envvar=["FAUST_WORKDIR", "F_WORKDIR"],
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
    "-L",
    "--loop",
    type=click.Choice(["aio", "uvloop", "eventlet"]),
    default="aio",
    callback=_check_loop,
    envvar=["FAUST_LOOP", "F_LOOP"],
    help="The event loop: aio, or uvloop where that is installed.",
)
@click.option(
    "--blocking-timeout",
    type=click.FloatRange(min=0.0, min_open=True),
    help="With --debug: report a loop that was blocked for so many seconds.",
)
@click.option("--console-port", type=int, callback=_refuse_console, expose_value=False, hidden=True)
@broker_option
@log_options
@click.version_option(__version__, prog_name="faustc", message="%(prog)s %(version)s")
@click.pass_context
def cli(ctx: click.Context, /, **given: Any) -> None:
    """Run stream processing apps: faustc -A examples.word_count worker -l info."""
    invocation: Invocation = ctx.obj
    for name, value in given.items():
        if name != "path":
            setattr(invocation, name, value)


def main(app: App | None = None, args: Sequence[str] | None = None) -> NoReturn:
    """Run the command line, with this app unless -A names another; then exit."""
    if app is not None and app.conf.origin is None:
        app.conf.origin = _script_name()
    sys.exit(run(args, Invocation(app), "faustc" if app is None else Path(sys.argv[0]).name))


def run(args: Sequence[str] | None, invocation: Invocation, name: str = "faustc") -> int:
    """Run the command line; return its exit code. What is wrong with it is said in one line."""
    try:
        done = cli.main(
            args=None if args is None else list(args),
            prog_name=name,
            obj=invocation,
            standalone_mode=False,
        )
    except click.ClickException as exc:
        click.echo(f"faustc: {' '.join(exc.format_message().split())}", err=True)
        return exc.exit_code
    except click.Abort:
        return 130
    except FaustError as exc:
        click.echo(f"faustc: {exc}", err=True)
        return 2 if isinstance(exc, ImproperlyConfigured) else 1
    except SystemExit as exc:
        return exc.code if isinstance(exc.code, int) else int(exc.code is not None)
    return done if isinstance(done, int) else 0


def call_command(
    command: str,
    args: Sequence[str] = (),
    *,
    app: App | None = None,
    stdout: IO[str] | None = None,
    stderr: IO[str] | None = None,
    before: Sequence[str] = (),
) -> tuple[int, IO[str], IO[str]]:
    """Run a command in this process, where no event loop is running; for tests and scripts.

    before is what goes before the command: `["-A", "proj.app", "--json"]`. Returns its
    exit code, and what it printed.
    """
    out, err = stdout or io.StringIO(), stderr or io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run([*before, command, *args], Invocation(app))
    return code, out, err


def _script_name() -> str:
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec.name if spec is not None and spec.name else Path(sys.argv[0]).stem
