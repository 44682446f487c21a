"""Commands that look at an app, and those that apps define."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import faustc
from faustc.cli import AppCommand, Command, argument, call_command, option
from faustc.stores.folder import DataFolder
from tests.memory_transport import cluster

Run = Callable[..., tuple[int, str, str]]
TRANSPORT = "tests.memory_transport.MemoryTransport://commands"


class Point(faustc.Record):
    """A place."""

    x: int
    y: float = 1.5
    name: str | None = None


@pytest.fixture
def app(tmp_path: Path) -> Iterator[faustc.App]:
    app = faustc.App("shop", broker=TRANSPORT, origin=__name__, datadir=tmp_path / "data")
    orders = app.topic("orders", value_type=Point)

    @app.agent(orders, name=f"{__name__}.check")
    async def check(stream: Any) -> None:
        """Checks them."""

    @app.agent(app.channel(), name="far.inside")
    async def inside(stream: Any) -> None: ...

    yield app
    cluster("commands").logs.clear()


@pytest.fixture
def run(app: faustc.App) -> Run:
    def call(command: str, *arguments: str, before: Any = ()) -> tuple[int, str, str]:
        code, out, err = call_command(command, arguments, app=app, before=before)
        out.seek(0)
        err.seek(0)
        return code, out.read(), err.read()

    return call


def data(run: Run, *arguments: str) -> Any:
    code, out, err = run(*arguments, before=["--json"])
    assert (code, err) == (0, "")
    return json.loads(out)


# -- looking at the app --------------------------------------------------------------------


def test_agents(run: Run) -> None:
    assert data(run, "agents") == [{"name": "@check", "topic": "orders", "help": "Checks them."}]
    local = data(run, "agents", "--local")
    assert [row["name"] for row in local] == ["@far.inside", "@check"]
    assert local[0] == {"name": "@far.inside", "topic": "<LOCAL>", "help": "<N/A>"}
    code, out, _ = run("agents")
    assert code == 0
    for word in ("Agents", "name", "topic", "@check", "orders", "Checks them."):
        assert word in out


def test_models(run: Run) -> None:
    found = {row["name"]: row["help"] for row in data(run, "models")}
    assert found["Point"] == "A place."
    assert not [name for name in found if name.startswith("@")]
    builtins = {row["name"] for row in data(run, "models", "--builtins")}
    assert set(found) <= builtins


@pytest.mark.parametrize("name", ["Point", f"{__name__}.Point"])
def test_a_model_and_its_fields(run: Run, name: str) -> None:
    assert data(run, "model", name) == [
        {"field": "x", "type": "int", "default": "*"},
        {"field": "y", "type": "float", "default": "1.5"},
        {"field": "name", "type": "str | None", "default": "None"},
    ]


def test_a_model_that_is_not_there(run: Run) -> None:
    code, out, err = run("model", "Piont")
    assert (code, out) == (2, "")
    assert "there is no model 'Piont'; did you mean 'Point'?" in err
    assert len(err.splitlines()) == 1


def test_tables(run: Run, app: faustc.App) -> None:
    assert data(run, "tables") == []
    app.Table("counts", help="How often.")
    app.SetTable("people")
    assert data(run, "tables") == [
        {"name": "counts", "help": "How often."},
        {"name": "people", "help": "<N/A>"},
    ]


def test_reset_deletes_the_state_of_tables_and_no_more(run: Run, app: faustc.App) -> None:
    tables = app.conf.tabledir
    tables.mkdir(parents=True)
    (tables / "some.db").write_text("x")
    kept = app.conf.appdir / "kept"
    kept.write_text("x")
    code, out, _ = run("reset")
    assert code == 0
    assert str(tables) in out
    assert not tables.exists()
    assert kept.exists()
    assert run("reset")[:2] == (0, "")


def test_reset_leaves_a_worker_its_tables(run: Run, app: faustc.App) -> None:
    folder = DataFolder(app.conf.tabledir)
    folder.lock_now()
    code, _, err = run("reset")
    assert code == 2
    assert f"pid {os.getpid()}" in err
    assert len(err.splitlines()) == 1
    assert app.conf.tabledir.exists()
    folder.unlock()
    assert run("reset")[0] == 0
    assert not app.conf.tabledir.exists()


def test_clean_versions_deletes_the_folders_of_older_ones(run: Run, app: faustc.App) -> None:
    app.conf.version = 3
    for version in (1, 2, 3, 4):
        app.conf.data_directory_for_version(version).mkdir(parents=True)
    code, out, _ = run("clean-versions")
    assert code == 0
    assert sorted(p.name for p in app.conf.datadir.iterdir()) == ["v3", "v4"]
    assert out.count("Removing") == 2


def test_completion(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for shell in ("bash", "zsh", "fish"):
        code, out, _ = run("completion", shell)
        assert code == 0
        assert "_FAUSTC_COMPLETE" in out
    monkeypatch.setenv("SHELL", "/bin/zsh")
    assert "#compdef faustc" in run("completion")[1]
    code, _, err = run("completion", "tcsh")
    assert (code, len(err.splitlines())) == (2, 1)
    code, out, err = call_command("completion", ["zsh"])  # without an app
    assert code == 0


# -- wrong use -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["nonsense"], "No such command 'nonsense'"),
        (["agents", "--nonsense"], "No such option"),
        (["worker", "--web-port", "70000"], "70000"),
        (["worker", "--web-port", "x"], "'x' is not a valid"),
        (["model"], "Missing argument 'NAME'"),
        (["send"], "Missing argument 'ENTITY'"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(run: Run, arguments: list[str], reason: str) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert reason in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("before", "reason"),
    [
        (["-L", "eventlet"], "--loop eventlet: there is aio, and uvloop"),
        (["-L", "odd"], "'odd' is not one of"),
        (["--console-port", "50101"], "there is no console"),
        (["-l", "loud"], "'loud' is not one of"),
        (["-W", "/no/such/folder"], "/no/such/folder"),
    ],
)
def test_wrong_options_before_the_command(run: Run, before: list[str], reason: str) -> None:
    code, _, err = run("agents", before=before)
    assert (code, len(err.splitlines())) == (2, 1)
    assert reason in err


# -- commands of the app -------------------------------------------------------------------


def test_a_function_with_options(app: faustc.App, run: Run) -> None:
    @app.command(argument("word"), option("--times", type=int, default=2, help="So often."))
    async def repeat_it(self: AppCommand, word: str, times: int) -> None:
        """Say it again."""
        self.say(" ".join([word] * times))

    assert run("repeat-it", "hey", "--times", "3")[:2] == (0, "hey hey hey\n")
    assert run("repeat-it", "hey")[1] == "hey hey\n"
    assert run("repeat-it", "hey", before=["--quiet"])[1] == ""
    assert "Say it again." in run("repeat-it", "--help")[1]
    code, _, err = run("repeat-it")
    assert (code, err) == (2, "faustc: Missing argument 'WORD'.\n")


def test_functions_without_self_and_plain_ones(app: faustc.App, run: Run) -> None:
    seen: list[str] = []

    @app.command()
    async def bare() -> None:
        seen.append("bare")

    @app.command()
    def plain(self: AppCommand) -> None:
        seen.append(self.app.conf.id)

    assert run("bare")[0] == run("plain")[0] == 0
    assert seen == ["bare", "shop"]


def test_a_class_of_its_own_base(app: faustc.App, run: Run) -> None:
    class Loud(AppCommand):
        volume = 1

        async def on_stop(self) -> None:
            await super().on_stop()
            self.say("over")

    @app.command(base=Loud, volume=3)
    async def shout(self: Any) -> None:
        self.say("HEY" + "!" * self.volume)

    assert run("shout")[1] == "HEY!!!\nover\n"


def test_what_a_command_sends_is_delivered_before_it_ends(app: faustc.App, run: Run) -> None:
    @app.command()
    async def push(self: AppCommand) -> None:
        await self.to_topic("plain").send(value=1)
        await self.to_topic("@check").send(value=Point(1))

    assert run("push")[0] == 0
    assert cluster("commands").values("plain")[-1] == b"1"
    assert Point.loads(cluster("commands").values("orders")[-1]) == Point(1)


def test_wrong_use_found_by_the_command(app: faustc.App, run: Run) -> None:
    @app.command()
    async def picky(self: AppCommand) -> None:
        raise self.UsageError("not\nlike this")

    assert run("picky") == (2, "", "faustc: not like this\n")


class Helpers(AppCommand):
    """Uses what commands are given."""

    async def run(self) -> None: ...


def test_the_helpers(app: faustc.App, capsys: pytest.CaptureFixture[str]) -> None:
    invocation = faustc.cli.base.Invocation(app)
    command = Helpers(invocation)
    assert command.to_value(None, "x") == b"x"
    assert command.to_value("Point", '{"x": 1}') == Point(1)
    assert command.to_key("Point", '{"x": 2}') == Point(2)
    assert command.to_model(f"{__name__}.Point", '{"x": 3}', "json") == Point(3)
    with pytest.raises(command.UsageError, match="is no Point"):
        command.to_value("Point", "{")
    assert command.import_relative_to_app("Point") is Point
    with pytest.raises(command.UsageError, match="there is no 'Nothing'"):
        command.import_relative_to_app("Nothing")
    assert command.abbreviate_fqdn(f"{__name__}.Point") == "Point"
    assert command.abbreviate_fqdn("a.b.C", prefix="a.b") == "C"
    assert command.abbreviate_fqdn("a.b.C") == "a.b.C"
    assert command.dumps({"a": Point(1).x}) == '{"a":1}'
    assert command.colored("red", "x") == "\x1b[31mx\x1b[0m"
    assert "\x1b[1mC" in command.bold_tail("a.C")
    assert "faustc" in command.logo()
    table = command.tabulate([["a", "[b]"]], headers=["one", "two"], title="T")
    for shown in ("T", "one", "two", "a", "[b]", "─"):
        assert shown in table
    command.carp("only with --debug")
    assert capsys.readouterr().err == ""
    command.debug = True
    command.carp("trace")
    command.say("out")
    assert capsys.readouterr() == ("out\n", "#-- trace\n")
    command.json = True
    assert json.loads(command.tabulate([["a", 1]])) == [["a", 1]]


def test_a_command_without_an_app() -> None:
    class Alone(Command):
        async def run(self, **given: Any) -> None:
            self.say("alone")

    assert Alone.command_name() == "alone"
    done: list[Any] = []
    Alone.say = lambda self, message, **k: done.append(message)  # type: ignore[method-assign]
    Alone(faustc.cli.base.Invocation())()
    assert done == ["alone"]


def test_a_daemon_goes_on_until_a_signal(app: faustc.App, run: Run) -> None:
    events: list[str] = []

    @app.command(daemon=True)
    async def serve(self: AppCommand) -> None:
        events.append("ran")
        loop = asyncio.get_running_loop()
        loop.call_later(0.05, events.append, "still there")
        loop.call_later(0.1, os.kill, os.getpid(), signal.SIGTERM)

    assert threading.current_thread() is threading.main_thread()
    assert run("serve")[0] == 0
    assert events == ["ran", "still there"]


# -- the worker's options --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "name", "value"),
    [
        (["--without-web"], "web_enabled", False),
        (["--with-web"], "web_enabled", True),
        (["-p", "7001"], "web_port", 7001),
        (["--web-port", "0"], "web_port", 0),
        (["-b", "0.0.0.0"], "web_bind", "0.0.0.0"),
        (["-h", "node7"], "web_host", "node7"),
        (["--web-transport", "unix:///tmp/x.sock"], "web_transport", "unix:///tmp/x.sock"),
        (["--broker", "kafka://other:1"], "broker", "kafka://other:1"),
    ],
)
def test_options_of_the_worker_are_settings(
    app: faustc.App, run: Run, arguments: list[str], name: str, value: Any
) -> None:
    seen: list[Any] = []

    def make(**options: Any) -> Any:
        seen.append(getattr(app.conf, name))
        seen.append(options)
        return type("Done", (), {"run": lambda self: 0})()

    app.Worker = make  # type: ignore[method-assign]
    assert run("worker", *arguments, before=["-q", "-f", "x.log"])[0] == 0
    assert seen[0] == value
    assert seen[1] == {"loglevel": "warn", "logfile": "x.log", "quiet": True, "loop": "aio"}


def test_options_before_the_command_are_settings(app: faustc.App, run: Run, tmp_path: Path) -> None:
    before = ["-D", str(tmp_path / "elsewhere"), "--debug", "--blocking-timeout", "2.5"]
    assert run("agents", before=before)[0] == 0
    assert app.conf.datadir == tmp_path / "elsewhere"
    assert (app.conf.debug, app.conf.blocking_timeout) == (True, 2.5)


def test_version_and_help(run: Run) -> None:
    assert run("--version")[:2] == (0, f"faustc {faustc.__version__}\n")
    code, out, _ = run("--help")
    assert code == 0
    for name in ("worker", "send", "agents", "models", "model", "tables", "reset"):
        assert f"  {name} " in out
    assert "--web-port" in run("worker", "--help")[1]
