"""Which worker has a key, and requests that are passed on to it.

The leader of the group tells every worker what each has, and where its pages are
(`faustc.client.copartitioned`); so it is known without asking anybody.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

from faustc._native.partition import partition_for
from faustc.exceptions import ImproperlyConfigured, SameNode, Unrouted
from faustc.imports import did_you_mean
from faustc.types import TopicPartition
from faustc.web.exceptions import ServiceUnavailable, ValidationError

if TYPE_CHECKING:
    from yarl import URL

__all__ = ["Router", "routed"]

logger = logging.getLogger(__name__)

Fun = TypeVar("Fun", bound=Callable[..., Any])
#: Partitions of topics by the address of the worker that has them.
Hosts = dict[str, dict[str, list[int]]]

# Who passed a request on says so, by its own address: it is not passed on again.
PASSED_ON = "X-Faustc-Passed-On"
# How long another worker may take for an answer.
TIMEOUT_S = 30.0
CONNECT_S = 5.0
# What is between two neighbours only (RFC 9110, 7.6.1), and what the client sees to by itself.
_OURS = frozenset(
    {
        *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization"),
        *("proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "host"),
        *("content-length", "content-encoding", "accept-encoding", "expect", "date", "server"),
    }
)


class Router:
    """Knows which worker has what: `app.router`.

    What is asked for by name raises LookupError where there is no such thing, Unrouted (a
    KeyError) while no worker has it.
    """

    def __init__(self, app: Any) -> None:
        self.app = app

    # -- who has what ------------------------------------------------------------------

    def key_store(self, table_name: str, key: Any) -> URL:
        """Return the address of the worker that has a key of a table."""
        table = self._table(table_name)
        return self._address_of(*self._in_table(table, key))

    def external_topic_key_store(self, topic: Any, key: Any) -> URL:
        """Return the address of the worker that reads messages with a key of a topic."""
        return self._address_of(self._in_topic(topic, key), _name_of(topic))

    def table_metadata(self, table_name: str) -> Hosts:
        """Return what each worker has of a table, as partitions of its changelog."""
        return self._tables_by_host([self._table(table_name)])

    def tables_metadata(self) -> Hosts:
        """Return what each worker has of all tables, as partitions of their changelogs."""
        return self._tables_by_host(self._tables.values())

    def external_topics_metadata(self) -> Hosts:
        """Return what each worker reads."""
        return {url: _by_topic(has) for url, has in self._addresses.items() if url}

    @property
    def _sharing(self) -> Any:
        return self.app.runner.engine.sharing

    @property
    def _addresses(self) -> Mapping[str, frozenset[TopicPartition]]:
        addresses: Mapping[str, frozenset[TopicPartition]] = self._sharing.addresses
        return addresses

    @property
    def _tables(self) -> Mapping[str, Any]:
        return getattr(self.app, "tables", None) or {}

    def _table(self, name: str) -> Any:
        tables = self._tables
        if name not in tables:
            raise LookupError(f"there is no table {name!r}{did_you_mean(name, tables)}")
        return tables[name]

    def _tables_by_host(self, tables: Iterable[Any]) -> Hosts:
        found: Hosts = {}
        for table in tables:
            size = table.partitions
            source = self._topic_of(size)
            changelog = _name_of(table.changelog_topic)
            for url, has in self._addresses.items():
                numbers = sorted(number for topic, number in has if topic == source)
                if url and (numbers or table.is_global):
                    if table.is_global:
                        numbers = list(range(size or 0))
                    found.setdefault(url, {})[changelog] = numbers
        return found

    def _topic_of(self, size: int | None) -> str | None:
        """Return a topic that a table of so many partitions goes with."""
        counts: Mapping[str, int] = self._sharing.counts
        return min((topic for topic, count in counts.items() if count == size), default=None)

    def _in_table(self, table: Any, key: Any) -> tuple[TopicPartition | None, str]:
        """Return the partition that a key of a table goes with, None for a global table."""
        label = f"table {table.name}"
        if table.is_global:
            return None, label
        source = self._topic_of(table.partitions)
        if source is None:
            raise Unrouted(f"{label}: no worker is known to have any of it yet")
        raw = _raw_key(table.changelog_topic, key)
        return TopicPartition(source, self._partition(raw, table.partitions)), label

    def _in_topic(self, topic: Any, key: Any) -> TopicPartition:
        if isinstance(topic, str):
            topic = self.app.topic(topic)
        name = _name_of(topic)
        count = self._sharing.counts.get(name)
        if not count:
            raise Unrouted(f"topic {name}: no worker is known to read it yet")
        return TopicPartition(name, self._partition(_raw_key(topic, key), count))

    def _partition(self, raw: bytes, count: int) -> int:
        """Return the partition that our producer would send a key to."""
        own = self.app.conf.producer_partitioner
        if own is not None:
            return int(own(raw, range(count), range(count)))
        return partition_for(raw, count)

    def _address_of(self, tp: TopicPartition | None, label: str) -> URL:
        from yarl import URL

        if tp is None:
            return URL(self._sharing.assignor.url)
        for url, has in self._addresses.items():
            if tp in has:
                if not url:
                    raise Unrouted(
                        f"{label}: the worker that has partition {tp.partition} has no "
                        "address; it needs its web server, or canonical_url"
                    )
                return URL(url)
        raise Unrouted(f"{label}: no worker has partition {tp.partition} just now")

    # -- passing on --------------------------------------------------------------------

    async def route_req(self, table_name: str, key: Any, web: Any, request: Any) -> Any:
        """Answer a request by the worker that has a key of a table.

        Raises SameNode if that is this one, ServiceUnavailable while there is none.
        """
        table = self._table(table_name)
        tp, label = _found(lambda: self._in_table(table, key))
        if tp is None or tp.partition in table.shards:
            raise SameNode(f"{label}: the key is here")
        if tp in self.app.runner.engine.assignment.partitions:
            raise ServiceUnavailable(f"{label}: partition {tp.partition} is being filled")
        return await self._pass_on(tp, label, web, request)

    async def route_topic_req(self, topic: Any, key: Any, web: Any, request: Any) -> Any:
        """Answer a request by the worker that reads messages with a key of a topic.

        Raises SameNode if that is this one, ServiceUnavailable while there is none.
        """
        tp = _found(lambda: self._in_topic(topic, key))
        label = f"topic {tp.topic}"
        if tp in self.app.runner.engine.assignment.partitions:
            raise SameNode(f"{label}: the key is here")
        return await self._pass_on(tp, label, web, request)

    async def _pass_on(self, tp: TopicPartition, label: str, web: Any, request: Any) -> Any:
        before = request.headers.get(PASSED_ON)
        if before is not None:
            raise ServiceUnavailable(
                f"{label}: {before} passed this on, but partition {tp.partition} is not here"
            )
        url = _found(lambda: self._address_of(tp, label))
        own = self._sharing.assignor.url
        if str(url) == own:
            raise ServiceUnavailable(
                f"{label}: partition {tp.partition} is on its way here; or another worker says "
                f"that it is at {own}, too"
            )
        body = await web.read_request_content(request)
        # Only the path is taken from the request: who asks does not say which host is asked.
        target = url.build(
            scheme=url.scheme,
            authority=url.raw_authority,
            path=request.rel_url.raw_path,
            query_string=request.rel_url.raw_query_string,
            encoded=True,
        )
        headers = [(k, v) for k, v in request.headers.items() if k.lower() not in _OURS]
        headers.append((PASSED_ON, own or "a worker"))
        # On the app's loop: its client lives there, the web server perhaps on another.
        status, told, answer = await self.app.runner.home.run(
            self._ask, request.method, target, headers, body
        )
        response = web.bytes(answer, status=status)
        for name in {name for name, _ in told}:
            response.headers.popall(name, None)
        for name, value in told:
            response.headers.add(name, value)
        return response

    async def _ask(
        self, method: str, url: URL, headers: list[tuple[str, str]], body: bytes
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        import aiohttp

        limits = aiohttp.ClientTimeout(total=TIMEOUT_S, sock_connect=CONNECT_S)
        try:
            async with self.app.http_client.request(
                method, url, headers=headers, data=body, timeout=limits, allow_redirects=False
            ) as response:
                answer = await response.read()
                told = [(k, v) for k, v in response.headers.items() if k.lower() not in _OURS]
                return response.status, told, answer
        except (TimeoutError, aiohttp.ClientError) as exc:
            place = url.origin()
            logger.warning("A request could not be passed on to %s: %r", place, exc)
            raise ServiceUnavailable(f"The worker at {place} does not answer.") from exc


def routed(
    passing_on: Callable[[Any, Any, Any, Any], Any],
    key_type: Callable[[], Any],
    *,
    shard_param: str | None,
    query_param: str | None,
    match_info: str | None,
    exact_key: str | None,
) -> Callable[[Fun], Fun]:
    """Make the decorator of a view that only the worker answers which has the key.

    passing_on(router, key, web, request) answers, or raises SameNode.
    """
    if shard_param is not None and query_param is not None:
        raise ImproperlyConfigured("shard_param is query_param by its old name: give one of them")
    param = query_param if shard_param is None else shard_param
    if param is None and match_info is None and exact_key is None:
        raise ImproperlyConfigured(
            "say where the key is: query_param=, match_info= (a part of the path), or exact_key="
        )

    def find(request: Any) -> Any:
        if exact_key is not None:
            return exact_key
        if match_info is not None:
            if match_info not in request.match_info:
                raise ImproperlyConfigured(f"{request.path}: no part of it is {{{match_info}}}")
            return _typed(request.match_info[match_info], key_type())
        if param not in request.query:
            raise ValidationError(f"Parameter {param} is missing.")
        return _typed(request.query[param], key_type())

    def decorate(fun: Fun) -> Fun:
        @wraps(fun)
        async def answer(view: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                return await passing_on(view.app.router, find(request), view.web, request)
            except SameNode:
                return await fun(view, request, *args, **kwargs)

        return answer  # type: ignore[return-value]

    return decorate


def _typed(text: str, key_type: Any) -> Any:
    """Return a key of an address as what it is in messages: numbers are no text there."""
    if key_type not in (int, float):
        return text
    try:
        return key_type(text)
    except ValueError as exc:
        raise ValidationError(f"The key is no {key_type.__name__}.") from exc


def _raw_key(topic: Any, key: Any) -> bytes:
    raw = topic.prepare_key(key, None)[0]
    if raw is None:
        raise ValidationError("A key is needed to find the worker that has it.")
    return bytes(raw)


def _name_of(topic: Any) -> str:
    return topic if isinstance(topic, str) else str(topic.get_topic_name())


def _found(look: Callable[[], Any]) -> Any:
    try:
        return look()
    except Unrouted as exc:
        raise ServiceUnavailable(str(exc)) from exc


def _by_topic(partitions: Iterable[TopicPartition]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for topic, number in sorted(partitions):
        found.setdefault(topic, []).append(number)
    return found
