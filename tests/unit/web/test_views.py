"""Views over HTTP: verbs, errors, models, addresses, and what answers are made of."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest

import faustc
from faustc import web
from faustc.exceptions import ImproperlyConfigured, NotReady
from faustc.web.exceptions import UnknownView, WebError
from tests.unit.web.conftest import Ask

Make = Callable[..., faustc.App]
VERBS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "SEARCH"]


class Order(faustc.Record, namespace="tests.web.Order", validation=True):
    account: str
    amount: float


async def test_a_function_answers_get_and_head(served: Make, ask: Ask) -> None:
    app = served()

    @app.page("/hello/{name}/")
    async def hello(self: Any, request: web.Request, name: str) -> web.Response:
        return self.json({"hello": name, "q": request.query.get("q")})

    got = await ask(app, "GET", "/hello/w%2Fx/?q=1")
    assert (got.status, got.content_type) == (200, "application/json")
    assert await got.json() == {"hello": "w/x", "q": "1"}
    head = await ask(app, "HEAD", "/hello/a/")
    assert head.status == 200
    assert head.headers["Content-Length"] == str(len('{"hello":"a","q":null}'))
    assert await head.read() == b""
    put = await ask(app, "PUT", "/hello/a/")
    assert (put.status, put.headers["Allow"]) == (405, "GET, HEAD")
    await app.web.stop()


async def test_each_verb_has_its_method(served: Make, ask: Ask) -> None:
    app = served()

    def method(verb: str) -> Any:
        async def answer(self: web.View, request: web.Request) -> Any:
            return self.text(f"{verb} {await request.text()}")

        return answer

    @app.page("/all")
    class All(web.View):
        def __post_init__(self) -> None:
            self.made = True

    for verb in VERBS:
        setattr(All, verb.lower(), method(verb))
    for verb in VERBS:
        got = await ask(app, verb, "/all", data="x")
        assert (await got.text()) == f"{verb} x"
    assert app.web.views["/all"].made
    assert app.web.views["/all"].get_methods() == {*VERBS, "HEAD"}
    assert (await ask(app, "TRACE", "/all")).status == 405
    await app.web.stop()


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("ServerError", 500),
        ("ValidationError", 400),
        ("ParseError", 400),
        ("AuthenticationFailed", 401),
        ("NotAuthenticated", 401),
        ("PermissionDenied", 403),
        ("NotFound", 404),
        ("MethodNotAllowed", 405),
        ("NotAcceptable", 406),
        ("UnsupportedMediaType", 415),
        ("Throttled", 429),
        ("ServiceUnavailable", 503),
    ],
)
async def test_what_a_view_raises_is_answered_as_json(
    served: Make, ask: Ask, name: str, status: int
) -> None:
    app = served()

    @app.page("/")
    async def fails(self: web.View, request: web.Request) -> Any:
        if "why" in request.query:
            raise getattr(self, name)(request.query["why"], field="amount")
        raise getattr(self, name)()

    got = await ask(app, "GET", "/?why=so")
    assert got.status == status
    assert await got.json() == {"error": "so", "field": "amount"}
    plain = await ask(app, "GET", "/")
    assert (await plain.json())["error"] == getattr(web.View, name).detail
    await app.web.stop()


async def test_a_bug_is_500_without_details_and_logged(
    served: Make, ask: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    app = served()

    @app.page("/bug")
    async def bug(self: web.View, request: web.Request) -> Any:
        raise LookupError("a secret")

    got = await ask(app, "GET", "/bug")
    assert got.status == 500
    assert await got.json() == {"error": "Internal server error."}
    assert "a secret" in caplog.text
    await app.web.stop()


async def test_errors_may_take_another_form(served: Make, ask: Ask) -> None:
    class Mine(web.View):
        async def on_request_error(self, request: web.Request, exc: WebError) -> Any:
            return self.text(f"no: {exc.detail}", status=exc.code)

    app = served()

    @app.page("/x", base=Mine)
    async def fails(self: web.View, request: web.Request) -> Any:
        raise self.NotFound("gone")

    got = await ask(app, "GET", "/x")
    assert (got.status, await got.text()) == (404, "no: gone")
    await app.web.stop()


async def test_models_are_read_and_written(served: Make, ask: Ask) -> None:
    app = served()

    @app.page("/orders")
    class Orders(web.View):
        @web.takes_model(Order)
        @web.gives_model(Order)
        async def post(self, request: web.Request, order: Order) -> Order:
            assert isinstance(order, Order)
            return Order(order.account, order.amount * 2)

    good = await ask(app, "POST", "/orders", data='{"account": "a", "amount": 2}')
    assert Order.loads(await good.read()) == Order("a", 4)
    for bad in ('{"account": "a"', '{"account": "a"}', "\xff", '{"account": "a", "amount": "x"}'):
        got = await ask(app, "POST", "/orders", data=bad.encode("latin-1"))
        assert got.status == 400, bad
        assert "error" in await got.json()
    await app.web.stop()


async def test_answers_have_their_types_status_and_headers(served: Make, ask: Ask) -> None:
    app = served()

    @app.page("/{kind}")
    async def made(self: web.View, request: web.Request, kind: str) -> Any:
        given: dict[str, Any] = {"status": 201, "headers": {"X-A": "b"}}
        if kind == "error":
            return self.error(418, "teapot", {"X-A": "b"}, hint="tea")
        if kind == "notfound":
            return self.notfound("no", hint="x")
        values: dict[str, Any] = {
            "text": "tä",
            "html": "<b>",
            "json": {"t": (1, 2)},
            "bytes": b"\x00",
        }
        return getattr(self, kind)(values[kind], **given)

    for kind, content_type, body in [
        ("text", "text/plain", "tä".encode()),
        ("html", "text/html", b"<b>"),
        ("json", "application/json", b'{"t":[1,2]}'),
        ("bytes", "application/octet-stream", b"\x00"),
    ]:
        got = await ask(app, "GET", f"/{kind}")
        assert (got.status, got.content_type, await got.read()) == (201, content_type, body)
        assert got.headers["X-A"] == "b"
    error = await ask(app, "GET", "/error")
    assert (error.status, await error.json()) == (418, {"error": "teapot", "hint": "tea"})
    gone = await ask(app, "GET", "/notfound")
    assert (gone.status, await gone.json()) == (404, {"error": "no", "hint": "x"})
    view = app.web.views["/{kind}"]
    again = view.bytes_to_response(view.response_to_bytes(view.json([1], headers={"X-A": "b"})))
    assert (again.body, again.status, again.headers["X-A"]) == (b"[1]", 200, "b")
    assert again.content_type == "application/json"
    await app.web.stop()


async def test_addresses_by_name(served: Make) -> None:
    app = served(web_port=6077)

    @app.page("/a/{name}/{n:[0-9]{2}}/", name="place")
    async def place(self: web.View, request: web.Request, **match: str) -> Any: ...

    view = app.web.views["/a/{name}/{n:[0-9]{2}}/"]
    assert view.path_for("place", name="x/y", n=12) == "/a/x%2Fy/12/"
    assert app.web.url_for("place", name="x", n=12) == "/a/x/12/"
    assert view.url_for("place", name="x", n=1) == "http://localhost:6077/a/x/1/"
    assert view.url_for("place", "https://h/", name="x", n=1) == "https://h/a/x/1/"
    with pytest.raises(KeyError, match="there is no view with the name 'palce'; did you mean"):
        app.web.url_for("palce")
    with pytest.raises(UnknownView):
        app.web.url_for("palce")
    with pytest.raises(TypeError, match="lacks"):
        app.web.url_for("place", name="x")


def test_canonical_url_is_what_others_are_told(served: Make) -> None:
    assert served(canonical_url="http://node7:80").web.url == "http://node7:80"
    assert served(web_host="node8", web_port=81).web.url == "http://node8:81"
    assert served(web_port=82).web.url == "http://localhost:82"  # it listens on loopback only


async def test_request_has_what_came(served: Make, ask: Ask) -> None:
    app = served()

    @app.page("/{part}")
    class Shown(web.View):
        async def post(self, request: web.Request, part: str) -> Any:
            assert isinstance(request, web.Request)
            readable = request.can_read_body
            form = dict(await request.post())
            return self.json(
                {
                    "match": dict(request.match_info),
                    "query": dict(request.query),
                    "cookies": dict(request.cookies),
                    "header": request.headers["X-A"],
                    "form": form,
                    "readable": readable,
                    "body": (await self.read_request_content(request)).decode(),
                }
            )

    got = await ask(app, "POST", "/p?a=1", data={"f": "2"}, headers={"X-A": "b", "Cookie": "c=3"})
    assert json.loads(await got.read()) == {
        "match": {"part": "p"},
        "query": {"a": "1"},
        "cookies": {"c": "3"},
        "header": "b",
        "form": {"f": "2"},
        "readable": True,
        "body": "f=2",
    }
    await app.web.stop()


async def test_a_body_that_is_too_large_is_refused(served: Make, ask: Ask) -> None:
    app = served(web_application_options={"client_max_size": 1000})

    @app.page("/")
    class Takes(web.View):
        async def post(self, request: web.Request) -> Any:
            return self.text(str(len(await self.read_request_content(request))))

    assert await (await ask(app, "POST", "/", data=b"x" * 1000)).text() == "1000"
    got = await ask(app, "POST", "/", data=b"x" * 1001)
    assert (got.status, got.content_type) == (413, "application/json")
    await app.web.stop()


async def test_the_bound_of_bodies_is_a_mebibyte_unless_said_otherwise(
    served: Make, ask: Ask
) -> None:
    app = served()

    @app.page("/")
    class Takes(web.View):
        async def post(self, request: web.Request) -> Any:
            return self.text(str(len(await request.read())))

    assert (await ask(app, "POST", "/", data=b"x" * (1 << 20))).status == 200
    assert (await ask(app, "POST", "/", data=io.BytesIO(b"x" * ((1 << 20) + 1)))).status == 413
    await app.web.stop()


async def test_pages_are_defined_before_the_server_runs(served: Make, ask: Ask) -> None:
    app = served()
    assert (await ask(app, "GET", "/nothing")).status == 404
    assert await (await ask(app, "GET", "/nothing")).json() == {"error": "Not Found"}
    with pytest.raises(NotReady, match="add /late before it starts"):

        @app.page("/late")
        async def late(self: web.View, request: web.Request) -> Any: ...

    await app.web.stop()


def test_a_page_that_cannot_be_is_refused_where_it_is_written(served: Make) -> None:
    app = served()
    with pytest.raises(ImproperlyConfigured, match="begins with a slash"):
        app.page("orders")
    with pytest.raises(ImproperlyConfigured, match=r"no faustc\.web\.View"):
        app.page("/orders")(Order)


async def test_other_sites_may_ask_as_far_as_they_are_allowed(served: Make, ask: Ask) -> None:
    app = served(
        web_cors_options={"http://a": web.ResourceOptions(allow_credentials=True, max_age=60)}
    )

    @app.page("/open", cors_options={"http://b": {"allow_headers": "*", "expose_headers": ["X"]}})
    async def opened(self: web.View, request: web.Request) -> Any:
        return self.text("x")

    a = await ask(app, "GET", "/open", headers={"Origin": "http://a"})
    assert a.headers["Access-Control-Allow-Origin"] == "http://a"
    assert a.headers["Access-Control-Allow-Credentials"] == "true"
    c = await ask(app, "GET", "/open", headers={"Origin": "http://c"})
    assert "Access-Control-Allow-Origin" not in c.headers
    asking = {
        "Origin": "http://b",
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "X-Token",
    }
    b = await ask(app, "OPTIONS", "/open", headers=asking)
    assert (b.status, b.headers["Access-Control-Allow-Headers"]) == (200, "X-Token")
    post = {**asking, "Access-Control-Request-Method": "POST"}
    assert (await ask(app, "OPTIONS", "/open", headers=post)).status == 403
    await app.web.stop()
