"""Under install_as_faust() the names of Faust and mode are our own modules, each once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import faust
from faust.models.fields import StringField
from faust.types import TP, AppT, StreamT
from mode import Service, OneForOneSupervisor
from mode.utils.objects import cached_property

app = faust.App("unchanged", broker="kafka://localhost")


class Order(faust.Record):
    account: str


@app.agent(app.topic("orders", value_type=Order))
async def orders_in(orders: StreamT[Order]):
    async for order in orders:
        yield order.account


class Extra(Service):
    @cached_property
    def once(self):
        return object()
"""


def run(code: str, *, cwd: Path | None = None) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=cwd,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


INSTALL = "from faustc.compat import install_as_faust; install_as_faust(); "


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("faust", "faustc"),
        ("faust.types", "faustc.types"),
        ("faust.types.tuples", "faustc.types.tuples"),
        ("faust.exceptions", "faustc.exceptions"),
        ("faust.models", "faustc.models"),
        ("faust.models.base", "faustc.models.base"),
        ("faust.models.fields", "faustc.models.fields"),
        ("faust.serializers.codecs", "faustc.serializers.codecs"),
        ("faust.serializers.schemas", "faustc.serializers.schemas"),
        ("faust.cli.base", "faustc.cli.base"),
        ("faust.web", "faustc.web"),
        ("faust.sensors.monitor", "faustc.sensors.monitor"),
        ("faust.windows", "faustc.windows"),
        ("faust.agents", "faustc.agents"),
        ("faust.agents.models", "faustc.reqrep"),
        ("faust.app.base", "faustc.app"),
        ("faust.streams", "faustc.streams"),
        ("faust.utils.json", "faustc.utils.json"),
        ("mode.supervisors", "faustc.supervisors"),
        ("mode.services", "faustc.service"),
    ],
)
def test_a_module_is_the_same_under_both_names(theirs: str, ours: str) -> None:
    for first, second in ((theirs, ours), (ours, theirs)):
        code = (
            f"import sys, {first}, {second}\n"
            f"assert sys.modules[{theirs!r}] is sys.modules[{ours!r}]\n"
            f"print(sys.modules[{theirs!r}].__spec__.name)"
        )
        assert run(INSTALL + "\n" + code) == ours


def test_an_unchanged_program_runs(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(PROGRAM)
    code = """
import asyncio, faustc, faustc.agents, faustc.service
import shop

async def main():
    async with shop.orders_in.test_context() as agent:
        event = await agent.put(shop.Order(account="a"))
        print(agent.results[event.message.offset])

asyncio.run(main())
assert type(shop.app) is faustc.App and shop.AppT is faustc.App
assert issubclass(shop.Extra, faustc.service.Service)
extra = shop.Extra()
assert extra.once is extra.once
assert shop.TP("t", 1).partition == 1
"""
    assert run(INSTALL + code, cwd=tmp_path) == "a"


def test_the_defaults_are_those_of_faust_1x() -> None:
    code = """
import warnings, faust
assert faust.App("a").conf.key_serializer == "raw"
assert faust.App("a").conf.commit_interval == 2.8
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    conf = faust.App("a", client_id="me", stream_ack_exceptions=True).conf
print([one.category.__name__ for one in seen], conf.broker_client_id)
# A scheme that nobody knows is for the start to refuse.
assert faust.App("a", broker="mine://h").conf.broker == "mine://h"
"""
    assert run(INSTALL + code) == "['FutureWarning', 'UserWarning'] me"


def test_without_it_old_names_are_as_good_as_new_ones() -> None:
    code = """
import warnings, faustc
warnings.simplefilter("error")
print(faustc.App("a", client_id="me").conf.key_serializer)
"""
    assert run(code) == "json"


def test_what_is_not_there_is_a_module_that_is_not_found() -> None:
    code = "import importlib.util\nprint(importlib.util.find_spec('faust.nowhere'))\n"
    code += (
        "try:\n    import faust.nowhere\nexcept ModuleNotFoundError as exc:\n    print(exc.name)"
    )
    assert run(INSTALL + "\n" + code).split() == ["None", "faust.nowhere"]


def test_without_it_nothing_is_called_faust() -> None:
    code = "import faustc, faustc.app, importlib.util as u; print(u.find_spec('faust'))"
    assert run(code) == "None"


def test_it_refuses_when_the_real_one_is_there(tmp_path: Path) -> None:
    (tmp_path / "faust.py").write_text("")
    code = """
import faust
from faustc.compat import install_as_faust
from faustc.exceptions import ImproperlyConfigured
try:
    install_as_faust()
except ImproperlyConfigured as exc:
    print(exc)
"""
    said = run(code, cwd=tmp_path)
    assert "too late" in said
    assert str(tmp_path / "faust.py") in said


def test_the_pytest_plugin_runs_unchanged_tests(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(PROGRAM)
    (tmp_path / "conftest.py").write_text("import faust\n")
    (tmp_path / "test_shop.py").write_text(
        "import faust\nfrom shop import Order\n\n"
        "def test_order():\n"
        "    assert isinstance(Order(account='a'), faust.Record)\n"
        "    assert faust.__name__ == 'faustc'\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "faustc.compat.pytest_alias"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=tmp_path,
    )
    assert "1 passed" in done.stdout, done.stdout + done.stderr
