"""The web server of a worker: where it listens, what / says, blueprints, the cache, sensors."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

import faustc
from faustc import web
from faustc.exceptions import ImproperlyConfigured, NotReady
from faustc.web.base import Web
from faustc.web.cache import MemoryCache
from tests.certificates import Authority
from tests.memory_transport import Cluster
from tests.unit.face.conftest import until
from tests.unit.web.conftest import Ask

Make = Callable[..., faustc.App]
HTML = {"Accept": "text/html"}


async def test_it_starts_and_stops_with_its_app(served: Make, ask: Ask) -> None:
    app = served()
    seen: list[Any] = []
    app.on_webserver_init = seen.append  # type: ignore[method-assign]
    await app.start()
    assert seen == [app.web]
    got = await ask(app, "GET", "/")
    assert (got.status, await got.json()) == (200, {"status": "OK"})
    address = app.web.address
    await app.stop()
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectionError):
            await session.get(address)


async def test_an_app_outside_of_a_worker_does_not_serve(make_app: Make) -> None:
    app = make_app(web_port=0)
    await app.start()
    assert "_web" not in app.__dict__
    quiet = make_app("quiet", web_port=0, web_enabled=False)
    quiet.serves_web = True
    await quiet.start()
    assert "_web" not in quiet.__dict__


async def test_the_index_turns_red_when_the_worker_is_not_well(served: Make, ask: Ask) -> None:
    app = served()
    before = await ask(app, "GET", "/")
    assert before.status == 503
    assert await before.json() == {"status": "ERROR", "errors": ["init, not running"]}
    await app.web.stop()
    await app.start()
    app.monitor.commits_failing = 3
    failing = await ask(app, "GET", "/")
    assert failing.status == 503
    assert "the last 3 commits of offsets failed" in await failing.text()
    app.monitor.commits_failing = 2
    assert (await ask(app, "GET", "/")).status == 200
    tp = faustc.types.TopicPartition("orders", 1)
    app.monitor.stuck = {("reader", tp): 301.0}
    stuck = await ask(app, "GET", "/")
    assert "reader has been at one event of orders/1 for 301 s" in await stuck.text()


async def test_commits_that_fail_one_after_the_other_are_counted(
    served: Make, ask: Ask, mem: Cluster
) -> None:
    app = served(commit_interval=0.1)
    topic = app.topic("orders", value_type=int, partitions=1)

    @app.agent(topic)
    async def read(stream: Any) -> None:
        async for _ in stream:
            pass

    await app.start()
    await topic.send(value=1)
    await until(lambda: app.monitor.commits_total == 1)
    assert app.monitor.commits_failing == 0


async def test_in_debug_the_index_is_a_page_for_people(served: Make, ask: Ask) -> None:
    app = served(debug=True)
    topic = app.topic("orders", value_type=int, partitions=2)

    @app.agent(topic, name="check<script>")
    async def check(stream: Any) -> None:
        """Checks."""
        async for _ in stream:
            pass

    await app.start()
    for n in range(5):
        await topic.send(value=n)
    await until(lambda: app.monitor.events_total == 5)
    page = await ask(app, "GET", "/", headers=HTML)
    text = await page.text()
    assert (page.status, page.content_type) == (200, "text/html")
    assert "check&lt;script&gt;" in text
    assert "check<script>" not in text
    for shown in ("orders", "running", "messages received", "Checks."):
        assert shown in text
    app.monitor.commits_failing = 9
    red = await ask(app, "GET", "/", headers=HTML)
    assert (red.status, "not well" in await red.text()) == (503, True)


async def test_in_debug_the_monitor_is_there_as_json(served: Make, ask: Ask) -> None:
    app = served(debug=True)
    topic = app.topic("orders", value_type=int, partitions=2)

    @app.agent(topic)
    async def read(stream: Any) -> None:
        async for _ in stream:
            pass

    await app.start()
    app.monitor.count("mine", 3)
    index = await (await ask(app, "GET", "/")).json()
    assert index["Sensor0"]["metric_counts"] == {"mine": 3}
    assert index["Sensor0"]["messages_sent"] == 0
    stats = await (await ask(app, "GET", "/stats/", headers=HTML)).json()
    assert stats["Sensor0"]["http_response_codes"] == {"200": 1}
    await until(lambda: app.runner.engine.assignment.partitions)
    assignment = await (await ask(app, "GET", "/assignment/")).json()
    assert assignment == {"actives": {"orders": [0, 1]}, "standbys": {}}


async def test_in_production_the_numbers_are_nobodys_business(served: Make, ask: Ask) -> None:
    app = served()
    await app.start()
    assert (await ask(app, "GET", "/stats/")).status == 404
    assert (await ask(app, "GET", "/", headers=HTML)).content_type == "application/json"


async def test_a_page_at_the_root_takes_the_place_of_ours(served: Make, ask: Ask) -> None:
    app = served()

    @app.page("/")
    async def mine(self: web.View, request: web.Request) -> Any:
        return self.text("mine")

    assert await (await ask(app, "GET", "/")).text() == "mine"
    await app.web.stop()


async def test_it_listens_on_loopback_unless_told_otherwise_by_name(served: Make, ask: Ask) -> None:
    app = served()
    assert app.conf.web_bind == "127.0.0.1"
    await ask(app, "GET", "/")
    assert app.web.address == f"http://127.0.0.1:{app.web.port}"
    await app.web.stop()
    wide = served(id="wide", web_bind="0.0.0.0")
    await wide.web.start()
    assert [a[0] for a in wide.web._runner.addresses] == ["0.0.0.0"]
    await wide.web.stop()


async def test_a_port_that_is_taken_is_said_before_the_group_is_joined(
    served: Make, mem: Cluster
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        app = served(web_port=port)
        with pytest.raises(ImproperlyConfigured, match=f"cannot listen at http://127.0.0.1:{port}"):
            await app.start()
        assert app.runner.engine.consumer is None


async def test_a_unix_socket(served: Make, tmp_path: Path) -> None:
    path = tmp_path / "web.sock"
    app = served(web_transport=f"unix://{path}")
    await app.start()
    assert app.web.address == f"unix://{path}"
    connector = aiohttp.UnixConnector(path=str(path))
    async with aiohttp.ClientSession(connector=connector) as session:
        got = await session.get("http://worker/")
        assert await got.json() == {"status": "OK"}


async def test_requests_in_hand_are_answered_when_it_stops(served: Make) -> None:
    app = served()
    begun, go = asyncio.Event(), asyncio.Event()

    @app.page("/slow")
    async def slow(self: web.View, request: web.Request) -> Any:
        begun.set()
        await go.wait()
        return self.text("done")

    await app.web.start()
    async with aiohttp.ClientSession() as session:
        asked = asyncio.ensure_future(session.get(app.web.address + "/slow"))
        await begun.wait()
        stopping = asyncio.ensure_future(app.web.stop())
        await asyncio.sleep(0)
        go.set()
        assert await (await asked).text() == "done"
        await stopping


async def test_views_may_run_on_a_thread_of_their_own(served: Make, ask: Ask, mem: Cluster) -> None:
    app = served(web_in_thread=True)

    @app.page("/thread")
    async def thread(self: web.View, request: web.Request) -> Any:
        await (await app.send("from-there", value=1))
        return self.text(threading.current_thread().name)

    await app.start()
    got = await ask(app, "GET", "/thread")
    assert await got.text() == "app.web"
    assert mem.values("from-there") == [b"1"]
    await app.stop()
    assert "app.web" not in {one.name for one in threading.enumerate()}


async def test_tls(served: Make, tmp_path: Path) -> None:
    authority = Authority(tmp_path, "authority")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(authority.issue("node", "IP:127.0.0.1"))
    app = served(web_ssl_context=context)
    await app.web.start()
    assert app.web.address.startswith("https://127.0.0.1:")
    trusting = ssl.create_default_context(cafile=str(authority.certificate))
    async with aiohttp.ClientSession() as session:
        got = await session.get(app.web.address + "/", ssl=trusting)
        assert got.status == 503
    await app.web.stop()


async def test_what_is_not_there_yet_says_so(served: Make) -> None:
    cached = served(id="cached", cache="redis://localhost")
    with pytest.raises(ImproperlyConfigured, match="no cache in redis yet; use memory://"):
        _ = cached.cache


# -- blueprints and routes -----------------------------------------------------------------


async def test_a_blueprint_serves_several_apps(served: Make, ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("file")
    seen: list[Any] = []

    class Users(web.Blueprint):
        def on_webserver_init(self, web: Any) -> None:
            seen.append(web)

    users = Users("users", url_prefix="/users/")
    users.static("/files", tmp_path)

    @users.route("/", name="list")
    class UserList(web.View):
        async def get(self, request: web.Request) -> Any:
            return self.text(self.path_for("users:detail", user_id=7))

    @users.route("/{user_id}/", name="detail")
    async def detail(self: web.View, request: web.Request, user_id: str) -> Any:
        return self.text(f"{self.app.conf.id} {user_id}")

    one, two = served(id="one"), served(id="two")
    users.register(one)
    two.web.blueprints.add("/people", users)
    assert await (await ask(one, "GET", "/users/")).text() == "/users/7/"
    assert await (await ask(one, "GET", "/users/7/")).text() == "one 7"
    assert await (await ask(one, "GET", "/users/files/a.txt")).text() == "file"
    assert await (await ask(two, "GET", "/people/7/")).text() == "two 7"
    assert seen == [two.web]
    with pytest.raises(NotReady, match="has its views already"):
        two.web.blueprints.add("/late", users)
    for app in (one, two):
        await app.web.stop()


async def test_views_and_routes_by_hand(served: Make, ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("static")
    app = served()

    class Plain(web.View):
        view_name = "plain"
        view_path = "/plain/"

        def __post_init__(self) -> None:
            self.route("/side/", self.side)

        async def get(self, request: web.Request) -> Any:
            return self.text("plain")

        async def side(self, request: web.Request) -> Any:
            return self.text("side")

    app.web.add_view(Plain, prefix="/pre")
    app.web.add_static("/s", tmp_path)
    assert app.web.url_for("plain") == "/pre/plain/"
    application = await app.web.wsgi()
    assert isinstance(application, aiohttp.web.Application)
    for path, text in [("/pre/plain/", "plain"), ("/side/", "side"), ("/s/b.txt", "static")]:
        assert await (await ask(app, "GET", path)).text() == text
    await app.web.stop()


async def test_another_driver_is_named_by_its_path(make_app: Make) -> None:
    app = make_app(web=f"{__name__}.Driver://")
    assert type(app.web) is Driver


async def test_drivers_and_caches_may_come_with_a_package(
    make_app: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "extra-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: extra\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[faust.web.drivers]\nextra = {__name__}:Driver\n"
        f"[faust.web.cache]\nextra = {__name__}:Shelf\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    app = make_app(web="extra://", cache="extra://somewhere")
    assert type(app.web) is Driver
    assert type(app.cache) is Shelf


class Shelf(MemoryCache):
    """A cache of somebody's own."""


class Driver(Web):
    """A web server of somebody's own."""


# -- the cache -----------------------------------------------------------------------------


async def test_answers_are_kept_for_a_while(served: Make, ask: Ask) -> None:
    app = served()
    books = web.Blueprint("books")
    cache = books.cache(timeout=300.0)
    made: list[str] = []

    @books.route("/{book}")
    class Book(web.View):
        @cache.view()
        async def get(self, request: web.Request, book: str) -> Any:
            made.append(book)
            if book == "none":
                return self.notfound()
            return self.json({"n": len(made)})

        @cache.view()
        async def post(self, request: web.Request, book: str) -> Any:
            made.append("post")
            return self.json(None)

    books.register(app, url_prefix="/books")
    for _ in range(2):
        got = await ask(app, "GET", "/books/a")
        assert (got.content_type, await got.json()) == ("application/json", {"n": 1})
    await ask(app, "GET", "/books/a?x")
    for _ in range(2):
        await ask(app, "GET", "/books/none")
        await ask(app, "POST", "/books/a")
    assert made == ["a", "a", "none", "post", "none", "post"]
    await app.web.stop()


async def test_the_cache_is_bounded_and_forgets() -> None:
    cache = MemoryCache(max_bytes=10)
    await cache.set("a", b"12345", timeout=0.005)
    await cache.set("b", b"12345")
    assert await cache.get("a") == b"12345"
    await cache.set("c", b"12345")  # "b" was used longest ago
    assert [await cache.get(k) for k in "abc"] == [b"12345", None, b"12345"]
    await cache.set("d", b"x" * 11)
    assert await cache.get("d") is None
    await asyncio.sleep(0.01)
    assert await cache.get("a") is None
    await cache.delete("c")
    assert await cache.get("c") is None


# -- sensors, and the other way round ----------------------------------------------------------


async def test_sensors_are_told_of_requests(served: Make, ask: Ask) -> None:
    told: list[Any] = []

    class Requests(faustc.Sensor):
        def on_web_request_start(self, app: Any, request: Any, *, view: Any = None) -> Any:
            return request.path

        def on_web_request_end(
            self, app: Any, request: Any, response: Any, state: Any, *, view: Any = None
        ) -> None:
            told.append((state, response.status, type(view).__name__))

    app = served()
    app.sensors.add(Requests())
    await app.start()
    await ask(app, "GET", "/")
    assert told == [("/", 200, "Index")]
    assert app.monitor.http_response_codes == {200: 1}
    assert app.monitor.http_response_latency_avg > 0


async def test_the_apps_own_client_is_closed_with_it(served: Make) -> None:
    app = served()
    await app.start()
    client = app.http_client
    assert app.client_session is client
    assert (await client.get(app.web.address)).status == 200
    await app.stop()
    assert client.closed
