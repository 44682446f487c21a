"""Requests find the worker that has their key, whichever is asked: three workers in one process."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from aiohttp import web as aio

import faustc
from faustc import web
from faustc._native.partition import partition_for
from faustc.exceptions import ImproperlyConfigured, SameNode, Unrouted
from faustc.testing.memory import MemoryBroker
from faustc.testing.virtualtime import virtual_time
from faustc.types import TopicPartition
from faustc.web.router import PASSED_ON, Router
from tests.unit.engine.test_tables import Counts, Given
from tests.unit.web.conftest import Ask

PARTITIONS = 6


class Table(Counts):
    """What the router needs to know of a table."""

    def __init__(self, app: faustc.App, name: str, *, is_global: bool = False) -> None:
        super().__init__(name, is_global=is_global)
        self.key_type = str
        self.changelog_topic = app.topic(f"t-{name}-changelog", key_type=str)


def make_worker(name: str, **options: Any) -> faustc.App:
    app = faustc.App(
        "t",
        broker="kafka://memory",
        topic_partitions=PARTITIONS,
        web_port=0,
        **options,
    )
    app.serves_web = True
    orders = app.topic("orders", key_type=str, value_type=bytes)
    numbers = app.topic("numbers", key_type=int, key_serializer="json", value_type=bytes)
    table = Table(app, "totals")
    app.tables = Given({"totals": table, "all": Table(app, "all", is_global=True)})

    @app.agent(orders)
    async def read(orders: Any) -> None:
        async for _ in orders:
            pass

    @app.agent(numbers)
    async def read_numbers(numbers: Any) -> None:
        async for _ in numbers:
            pass

    @app.page("/order/{key}/")
    @app.topic_route(orders, match_info="key")
    async def order(self: Any, request: web.Request, key: str) -> Any:
        return self.json({"worker": name, "key": key, "q": request.query.get("q")})

    @app.page("/number/")
    @app.topic_route(numbers, "n")
    async def number(self: Any, request: web.Request) -> Any:
        return self.json({"worker": name, "n": int(request.query["n"])})

    @app.page("/total/{key}/")
    class Total(web.View):
        @app.table_route(table, match_info="key")
        async def get(self, request: web.Request, key: str) -> Any:
            return self.json({"worker": name, "key": key})

        @app.table_route(table, query_param="key")
        async def post(self, request: web.Request, key: str) -> Any:
            body = await request.text()
            response = self.text(f"{name} {body}", status=201, headers={"X-Told": "yes"})
            response.headers.add("Set-Cookie", "a=1")
            response.headers.add("Set-Cookie", "b=2")
            return response

        @app.table_route(table, exact_key="k0")
        async def put(self, request: web.Request, key: str) -> Any:
            raise self.NotFound(f"{name} has no {key}")

    return app


@pytest.fixture
async def workers() -> AsyncIterator[dict[str, faustc.App]]:
    """Three workers that share all partitions, and serve."""
    apps = {f"w{n}": make_worker(f"w{n}") for n in range(3)}
    async with MemoryBroker() as broker, AsyncExitStack() as stack:
        with virtual_time():  # to begin with: sockets need the real one
            for app in apps.values():
                await stack.enter_async_context(app.test_context(broker=broker))
            await asyncio.sleep(120)
        yield apps


def partition_of(key: str) -> int:
    """Return where messages with a key go: keys are JSON by default."""
    return partition_for(json.dumps(key).encode(), PARTITIONS)


def owner_of(apps: dict[str, faustc.App], topic: str, partition: int) -> str:
    [name] = [
        name
        for name, app in apps.items()
        if TopicPartition(topic, partition) in app.runner.engine.assignment.partitions
    ]
    return name


def listed_by(app: faustc.App) -> dict[str, dict[str, list[int]]]:
    """Return what a worker knows of who has the one table."""
    listed: dict[str, dict[str, list[int]]] = app.router.table_metadata("totals")
    for url, has in app.router.tables_metadata().items():
        assert has["t-totals-changelog"] == listed[url]["t-totals-changelog"]
    return listed


async def test_any_worker_answers_for_any_key(workers: dict[str, faustc.App], ask: Ask) -> None:
    answered = set()
    for n in range(12):
        key = f"k/{n}"
        owner = owner_of(workers, "orders", partition_of(key))
        answered.add(owner)
        for app in workers.values():
            for page in ("order", "total"):
                got = await ask(app, "GET", f"/{page}/k%2F{n}/?q=%2B")
                assert got.status == 200
                told = await got.json()
                assert told["worker"] == owner
                assert told["key"] == key
                assert told.get("q", "+") == "+"
            assert str(app.router.key_store("totals", key)) == workers[owner].web.url
            assert str(app.router.external_topic_key_store("orders", key)) == (
                workers[owner].web.url
            )
        mine = {url: has["t-totals-changelog"] for url, has in listed_by(app).items()}
        assert partition_of(key) in mine[workers[owner].web.url]
    assert len(answered) == 3


async def test_a_key_of_an_address_is_what_it_is_in_messages(
    workers: dict[str, faustc.App], ask: Ask
) -> None:
    for n in range(9):
        owner = owner_of(workers, "numbers", partition_for(str(n).encode(), PARTITIONS))
        for app in workers.values():
            got = await ask(app, "GET", f"/number/?n={n}")
            assert await got.json() == {"worker": owner, "n": n}
    bad = await ask(workers["w0"], "GET", "/number/?n=x")
    assert (bad.status, await bad.json()) == (400, {"error": "The key is no int."})
    missing = await ask(workers["w0"], "GET", "/number/")
    assert (missing.status, await missing.json()) == (400, {"error": "Parameter n is missing."})


async def test_what_goes_there_and_back_is_whole(workers: dict[str, faustc.App], ask: Ask) -> None:
    for n in range(6):
        owner = owner_of(workers, "orders", partition_of(f"k{n}"))
        for app in workers.values():
            got = await ask(app, "POST", f"/total/x/?key=k{n}", data="body of it")
            assert got.status == 201
            assert await got.text() == f"{owner} body of it"
            assert got.content_type == "text/plain"
            assert got.headers["X-Told"] == "yes"
            assert got.headers.getall("Set-Cookie") == ["a=1", "b=2"]
    owner = owner_of(workers, "orders", partition_of("k0"))
    for app in workers.values():
        got = await ask(app, "PUT", "/total/thing/")
        assert (got.status, await got.json()) == (404, {"error": f"{owner} has no thing"})


async def test_the_pages_say_who_has_what(workers: dict[str, faustc.App], ask: Ask) -> None:
    parts = {
        app.web.url: sorted(
            tp.partition for tp in app.runner.engine.assignment.partitions if tp.topic == "orders"
        )
        for app in workers.values()
    }
    for app in workers.values():
        listed = await (await ask(app, "GET", "/router/")).json()
        assert listed == {
            url: {"t-totals-changelog": numbers, "t-all-changelog": list(range(PARTITIONS))}
            for url, numbers in parts.items()
        }
        one = await (await ask(app, "GET", "/router/totals/")).json()
        assert one == {url: {"t-totals-changelog": numbers} for url, numbers in parts.items()}
        topics = await (await ask(app, "GET", "/router/topics")).json()
        assert {url: has["orders"] for url, has in topics.items()} == parts
        place = await (await ask(app, "GET", "/router/totals/k1/")).json()
        assert partition_of("k1") in parts[place]
        everywhere = await (await ask(app, "GET", "/router/all/k1/")).json()
        assert everywhere == app.web.url
        assert (await ask(app, "GET", "/router/nothing/")).status == 404
        assert (await ask(app, "GET", "/router/nothing/k/")).status == 404


def a_key_of_another(workers: dict[str, faustc.App], name: str) -> str:
    """Return a key that another worker has."""
    keys = (f"k{n}" for n in range(100))
    return next(key for key in keys if owner_of(workers, "orders", partition_of(key)) != name)


async def test_a_worker_says_what_it_has_and_what_it_follows(ask: Ask) -> None:
    apps = [make_worker(f"w{n}", debug=True) for n in range(2)]
    async with MemoryBroker() as broker, AsyncExitStack() as stack:
        with virtual_time():
            for app in apps:
                await stack.enter_async_context(app.test_context(broker=broker))
            await asyncio.sleep(120)
        first, second = [await (await ask(app, "GET", "/assignment/")).json() for app in apps]
    assert sorted([*first["actives"]["orders"], *second["actives"]["orders"]]) == list(range(6))
    # By the first of the topics that go together.
    assert first["standbys"] == {"numbers": second["actives"]["numbers"]}
    assert second["standbys"] == {"numbers": first["actives"]["numbers"]}


async def test_what_was_passed_on_is_not_passed_on_again(
    workers: dict[str, faustc.App], ask: Ask
) -> None:
    key = a_key_of_another(workers, "w0")
    got = await ask(workers["w0"], "GET", f"/order/{key}/", headers={PASSED_ON: "http://w9"})
    assert got.status == 503
    assert "http://w9 passed this on" in (await got.json())["error"]


async def test_a_worker_that_does_not_answer_is_503(
    workers: dict[str, faustc.App], ask: Ask
) -> None:
    key = a_key_of_another(workers, "w0")
    owner = owner_of(workers, "orders", partition_of(key))
    url = workers[owner].web.url
    await workers[owner].web.stop()
    got = await ask(workers["w0"], "GET", f"/order/{key}/")
    assert (got.status, await got.json()) == (
        503,
        {"error": f"The worker at {url} does not answer."},
    )


async def test_only_the_path_is_taken_from_a_request(
    workers: dict[str, faustc.App], ask: Ask
) -> None:
    """Who asks must not be able to say which host is asked."""
    elsewhere = await _listener()
    host, port = elsewhere.addresses[0]
    key = a_key_of_another(workers, "w0")
    w0 = workers["w0"].web
    reader, writer = await _open(w0.port)
    writer.write(
        f"GET http://{host}:{port}/order/{key}/ HTTP/1.1\r\nHost: {host}:{port}\r\n"
        "Connection: close\r\n\r\n".encode()
    )
    answer = await reader.read()
    writer.close()
    assert b"stolen" not in answer
    assert b"200 OK" in answer
    await elsewhere.cleanup()


async def _listener() -> Any:
    async def steal(request: Any) -> Any:
        return aio.Response(text="stolen")

    app = aio.Application()
    app.router.add_route("*", "/{rest:.*}", steal)
    runner = aio.AppRunner(app)
    await runner.setup()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    await aio.TCPSite(runner, "127.0.0.1", port).start()
    return runner


async def _open(port: int) -> Any:
    return await asyncio.open_connection("127.0.0.1", port)


async def test_while_nobody_has_it_the_answer_is_503(
    served: Callable[..., faustc.App], ask: Ask
) -> None:
    app = served()
    topic = app.topic("orders", key_type=str)

    @app.page("/{key}")
    @app.topic_route(topic, match_info="key")
    async def order(self: Any, request: web.Request, key: str) -> Any:
        return self.text("here")

    got = await ask(app, "GET", "/k")
    assert got.status == 503
    assert "no worker is known to read it" in (await got.json())["error"]
    with pytest.raises(Unrouted, match="topic orders"):
        app.router.external_topic_key_store(topic, "k")
    await app.web.stop()


async def test_two_at_one_address_are_told_apart_from_a_loop(
    workers: dict[str, faustc.App], ask: Ask
) -> None:
    key = a_key_of_another(workers, "w0")
    sharing = workers["w0"].runner.engine.sharing
    everything = frozenset(tp for has in sharing.addresses.values() for tp in has)
    sharing.addresses = {sharing.assignor.url: everything}
    got = await ask(workers["w0"], "GET", f"/order/{key}/")
    assert got.status == 503
    assert "another worker says that it is at" in (await got.json())["error"]


async def test_a_worker_without_a_web_server_has_no_address(
    workers: dict[str, faustc.App], ask: Ask
) -> None:
    key = a_key_of_another(workers, "w0")
    sharing = workers["w0"].runner.engine.sharing
    everything = frozenset(tp for has in sharing.addresses.values() for tp in has)
    sharing.addresses = {"": everything}
    got = await ask(workers["w0"], "GET", f"/order/{key}/")
    assert got.status == 503
    assert "it needs its web server, or canonical_url" in (await got.json())["error"]


async def test_a_partition_that_is_being_filled_is_503(
    workers: dict[str, faustc.App], ask: Ask
) -> None:
    workers["w0"].tables["totals"].shards.clear()
    key = next(
        f"k{n}" for n in range(100) if owner_of(workers, "orders", partition_of(f"k{n}")) == "w0"
    )
    for app in workers.values():
        got = await ask(app, "GET", f"/total/{key}/")
        assert got.status == 503
        assert "is being filled" in (await got.json())["error"]


async def test_a_router_of_ones_own(served: Callable[..., faustc.App], ask: Ask) -> None:
    class Here(Router):
        async def route_topic_req(self, topic: Any, key: Any, web: Any, request: Any) -> Any:
            raise SameNode(f"{key} is here")

    app = served(Router=Here)

    @app.page("/{key}")
    @app.topic_route("orders", match_info="key")
    async def order(self: Any, request: web.Request, key: str) -> Any:
        return self.text(f"here is {key}")

    assert await (await ask(app, "GET", "/k")).text() == "here is k"
    await app.web.stop()


def test_a_route_says_where_the_key_is(served: Callable[..., faustc.App]) -> None:
    app = served()
    with pytest.raises(ImproperlyConfigured, match="say where the key is"):
        app.topic_route("orders")
    with pytest.raises(ImproperlyConfigured, match="by its old name"):
        app.table_route("orders", "a", query_param="b")


async def test_an_app_without_tables_has_none_to_list(
    served: Callable[..., faustc.App], ask: Ask
) -> None:
    app = served()
    got = await ask(app, "GET", "/router/")
    assert (got.status, await got.json()) == (200, {})
    assert (await ask(app, "GET", "/router/x/")).status == 404
    await app.web.stop()


async def test_without_router_pages(served: Callable[..., faustc.App], ask: Ask) -> None:
    app = served(web_router_enabled=False)
    assert (await ask(app, "GET", "/router/")).status == 404
    await app.web.stop()
