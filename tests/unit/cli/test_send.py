"""`faustc send` on topics in memory: what is sent, what is printed, and what is refused."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner, Result

import faustc
from faustc.cli.base import Invocation, cli
from tests.memory_transport import Cluster, cluster

TRANSPORT = "tests.memory_transport.MemoryTransport://"
_numbers = itertools.count()
Send = Callable[..., Result]


class Order(faustc.Record):
    account: str
    amount: float


@pytest.fixture
def name() -> str:
    """The name of a cluster of this test's own."""
    return f"send{next(_numbers)}"


@pytest.fixture
def mem(name: str) -> Cluster:
    return cluster(name)


@pytest.fixture
def app(name: str) -> faustc.App:
    """An app with one agent on a topic of orders, one on a topic of its own, one in memory."""
    app = faustc.App("shop", broker=TRANSPORT + name, autodiscover=False, origin=__name__)
    orders = app.topic("orders", key_type=str, value_type=Order, partitions=3)
    texts = app.topic("texts", value_type=str, value_serializer="raw")

    @app.agent(orders, name="shop.agents.check")
    async def check(stream: Any) -> None: ...

    @app.agent(name="shop.agents.any")
    async def any_(stream: Any) -> None: ...

    @app.agent(texts, name="texts")
    async def read(stream: Any) -> None: ...

    @app.agent(app.channel(), name="shop.inside")
    async def inside(stream: Any) -> None: ...

    return app


@pytest.fixture
def send(app: faustc.App) -> Send:
    def run(*arguments: str) -> Result:
        return CliRunner().invoke(cli, ["send", *arguments], obj=Invocation(app))

    return run


def test_it_prints_where_the_message_landed(send: Send, mem: Cluster) -> None:
    done = send("plain", "hello")
    assert done.exit_code == 0, done.output
    (line,) = done.stdout.splitlines()
    found = json.loads(line)
    timestamp = found.pop("timestamp")
    assert timestamp == mem.logs[mem.partitions("plain")[0]][0].timestamp
    assert found == {
        "topic": "plain",
        "partition": 0,
        "topic_partition": ["plain", 0],
        "offset": 0,
        "timestamp_type": 0,
    }


@pytest.mark.parametrize(
    ("arguments", "topic", "key", "value"),
    [
        (["plain", "hello"], "plain", None, b'"hello"'),
        (["plain", '{"a": [1, null]}'], "plain", None, b'{"a":[1,null]}'),
        (["plain", "5"], "plain", None, b"5"),
        (["plain", "-k", "k1", "x"], "plain", b'"k1"', b'"x"'),
        (["plain", "-k", "7", "x"], "plain", b"7", b'"x"'),
        (["plain", "-K", "str", "-k", "7", "x"], "plain", b'"7"', b'"x"'),
        (["plain", "-V", "str", "5"], "plain", None, b'"5"'),
        (["plain", "-V", "bytes", "5 x"], "plain", None, b"5 x"),
        (["plain", "--value-serializer", "raw", "{x"], "plain", None, b"{x"),
        (["plain", "--key-serializer", "raw", "-k", "k", "1"], "plain", b"k", b"1"),
        (["plain"], "plain", None, None),
        (["plain", "-k", "gone"], "plain", b'"gone"', None),
        (["texts", '{"no": "json"}'], "texts", None, b'{"no": "json"}'),
        (["@texts", "5"], "texts", None, b"5"),
        (["@shop.agents.any", "5"], "shop-shop.agents.any", None, b"5"),
        (["@any", "5"], "shop-shop.agents.any", None, b"5"),
    ],
)
def test_values_are_json_or_text_written_as_the_topic_says(
    send: Send, mem: Cluster, arguments: list[str], topic: str, key: Any, value: Any
) -> None:
    done = send(*arguments)
    assert done.exit_code == 0, done.output
    assert [(m.key, m.value) for tp in mem.partitions(topic) for m in mem.logs[tp]] == [
        (key, value)
    ]


@pytest.mark.parametrize("entity", ["orders", "@check", "@shop.agents.check"])
def test_a_model_is_written_as_the_app_writes_it(send: Send, mem: Cluster, entity: str) -> None:
    done = send(entity, "-k", "17", '{"account": "a", "amount": 5}')
    assert done.exit_code == 0, done.output
    (message,) = [m for tp in mem.partitions("orders") for m in mem.logs[tp]]
    assert message.key == b'"17"'
    assert Order.loads(message.value) == Order("a", 5.0)
    assert len(mem.partitions("orders")) == 3  # created as the agent's topic says


@pytest.mark.parametrize("path", ["Order", f"{__name__}.Order", f"{__name__}:Order"])
def test_a_model_may_be_named_for_a_topic_that_no_agent_reads(
    send: Send, mem: Cluster, path: str
) -> None:
    done = send("other", "-V", path, '{"account": "a", "amount": 5}')
    assert done.exit_code == 0, done.output
    assert Order.loads(mem.values("other")[0]) == Order("a", 5.0)


def test_repeat_and_partition(send: Send, mem: Cluster) -> None:
    value = '{"account": "a", "amount": 1}'
    done = send("orders", "--partition", "2", "-r", "2500", value)
    assert done.exit_code == 0, done.output
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["offset"] for one in found] == list(range(2500))
    assert {one["partition"] for one in found} == {2}
    assert len(mem.values("orders")) == 2500


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["@chekc", "1"], "there is no agent 'chekc'; did you mean 'check'?"),
        (["@inside", "1"], "in the worker's memory"),
        (["", "1"], "ENTITY is the name of a topic"),
        (["orders", "no order"], "Order"),
        (["orders", '{"account": "a"}'], "amount"),
        (["plain", "-V", "int", "seven"], "int"),
        (["plain", "-V", "Odrer", "{}"], "there is no type 'Odrer'"),
        (["plain", "--value-serializer", "jsn", "1"], "jsn"),
        (["plain", "-r", "0", "1"], "-r"),
        (["plain", "--partition", "-1", "1"], "--partition"),
    ],
)
def test_bad_input_is_refused_with_exit_code_2_before_anything_is_sent(
    send: Send, mem: Cluster, arguments: list[str], reason: str
) -> None:
    done = send(*arguments)
    refused = done.exit_code == 2 or type(done.exception) is faustc.exceptions.ImproperlyConfigured
    assert refused, (done.exit_code, done.output, done.exception)
    assert reason in f"{done.output}{done.exception}"
    assert mem.topics() == set()


def test_a_broker_that_is_away_is_an_error_of_its_own(send: Send, mem: Cluster) -> None:
    mem.down = True
    done = send("plain", "1")
    assert isinstance(done.exception, faustc.exceptions.NoBrokersAvailable)


@pytest.mark.parametrize("before", [True, False])
def test_another_broker_may_be_named(
    app: faustc.App, mem: Cluster, name: str, before: bool
) -> None:
    given = ["--broker", f"{TRANSPORT}{name}-other"]
    arguments = [*given, "send", "plain", "1"] if before else ["send", "plain", "1", *given]
    done = CliRunner().invoke(cli, arguments, obj=Invocation(app))
    assert done.exit_code == 0, done.output
    assert (mem.topics(), cluster(f"{name}-other").topics()) == (set(), {"plain"})
