"""Asks somebody for metadata: the brokers that are known, else the bootstrap servers."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from typing import Any

from faustc.client import codes
from faustc.client.backoff import Backoff, Deadline
from faustc.client.cluster import Cluster, Node
from faustc.client.connection import BrokerConnection
from faustc.client.nodes import CONNECT_TIMEOUT_S, Nodes
from faustc.exceptions import (
    AuthenticationFailed,
    ConnectionLost,
    ImproperlyConfigured,
    KafkaError,
    KafkaTimeout,
    NoBrokersAvailable,
)

logger = logging.getLogger(__name__)

DEFAULT_PORT = 9092
# A metadata answer that takes longer is asked of another broker; the slow
# connection keeps its own, longer, deadline.
PATIENCE_S = 5.0


class Directory:
    """Sends Metadata requests; keeps nothing of the answers."""

    def __init__(
        self,
        servers: Sequence[tuple[str, int]],
        nodes: Nodes,
        connect: Callable[[Node], BrokerConnection],
        *,
        allow_auto_topic_creation: bool,
        retry_s: tuple[float, float],
    ) -> None:
        self._servers = list(servers)
        self._nodes = nodes
        self._connect = connect
        self._auto_create = allow_auto_topic_creation
        self._retry_s = retry_s

    async def ask(self, cluster: Cluster, topics: list[str] | None, create: bool) -> Any:
        """Return a Metadata answer for some topics (None: all) from whoever gives one.

        create: have missing ones created, where we and the brokers are set up to.
        One broker after the other, then each bootstrap server once. Raises the
        error that stood in the way last.
        """
        answer = await self._ask_brokers(cluster, topics, create)
        if answer is None:
            # All that we know are gone: they may have moved, every one (KIP-899, KIP-1102).
            answer = await self._ask_servers(topics, create, Deadline(CONNECT_TIMEOUT_S))
        self._nodes.retain({b.node_id: _node(b) for b in answer.brokers or ()})
        return answer

    async def reach(self, topics: list[str] | None, deadline: Deadline) -> Any:
        """Return a Metadata answer from a bootstrap server, trying them until the deadline.

        Raises NoBrokersAvailable naming each and why, or the reason of a
        refusal that no further attempt would change.
        """
        backoff = Backoff(*self._retry_s)
        while True:
            try:
                return await self._ask_servers(topics, True, deadline)
            except NoBrokersAvailable as exc:
                delay_s = backoff.next()
                if deadline.left() <= delay_s:
                    raise NoBrokersAvailable(
                        f"{exc}; tried for {deadline.timeout_s:g} s"
                    ) from exc.__cause__
                await asyncio.sleep(delay_s)

    async def _ask_brokers(self, cluster: Cluster, topics: list[str] | None, create: bool) -> Any:
        """Return the answer of the first broker that gives one, None when none does."""
        for node in self._nodes.choose(cluster.brokers.values()):
            failure: KafkaError
            try:
                async with asyncio.timeout(PATIENCE_S):
                    connection = await self._nodes.get(node)
                    answer = await self._request(connection, topics, create)
            except KafkaError as exc:
                failure = exc
            except TimeoutError:
                failure = KafkaTimeout(f"no metadata within {PATIENCE_S:g} s")
            else:
                if getattr(answer, "error_code", 0) != codes.REBOOTSTRAP_REQUIRED:
                    return answer
                logger.info("Node %s sends us back to the bootstrap servers", node.node_id)
                return None
            logger.debug("No metadata from node %s: %s", node.node_id, failure)
        return None

    async def _ask_servers(self, topics: list[str] | None, create: bool, deadline: Deadline) -> Any:
        """Ask each bootstrap server once, in random order."""
        failures: dict[str, KafkaError] = {}
        servers = self._servers.copy()
        random.shuffle(servers)
        for position, (host, port) in enumerate(servers):
            # a share of the time for each, so that a dead first one leaves some for the next
            share_s = max(1.0, deadline.left() / (len(servers) - position))
            share_s = min(share_s, CONNECT_TIMEOUT_S)
            try:
                return await self._ask_server(host, port, topics, create, share_s)
            except AuthenticationFailed:
                raise  # the others have the same credentials, and would count the attempts
            except KafkaError as exc:
                failures[f"{host}:{port}"] = exc
        first = next(iter(failures.values()))
        if not any(failure.retriable for failure in failures.values()):
            raise first
        raise NoBrokersAvailable(
            "no broker could be reached: "
            + "; ".join(f"{server} ({error})" for server, error in failures.items())
        ) from first

    async def _ask_server(
        self, host: str, port: int, topics: list[str] | None, create: bool, timeout_s: float
    ) -> Any:
        connection = self._connect(Node(-1, host, port))
        kept = False
        try:
            await connection.open(timeout_s)
            answer = await self._request(connection, topics, create, timeout_s)
            if not answer.brokers:
                raise ConnectionLost(f"{host}:{port} knows no brokers yet")
            for node in map(_node, answer.brokers):
                if (node.host, node.port) == (host, port):
                    kept = self._nodes.adopt(node, connection)
            return answer
        finally:
            if not kept:
                connection.close()
                await connection.wait_closed()

    async def _request(
        self,
        connection: BrokerConnection,
        topics: list[str] | None,
        create: bool,
        timeout_s: float | None = None,
    ) -> Any:
        return await connection.request(
            "Metadata",
            timeout_s,
            topics=None if topics is None else [{"name": name} for name in topics],
            allow_auto_topic_creation=self._auto_create and create,
        )


def parse_servers(servers: str | Sequence[str]) -> list[tuple[str, int]]:
    """Return (host, port) of "host:port,[::1]:port,host"; the port is 9092 where left out.

    Raises ImproperlyConfigured for an empty list or a port that is no number.
    """
    parts = servers.split(",") if isinstance(servers, str) else list(servers)
    found: dict[tuple[str, int], None] = {}
    for part in (part.strip() for part in parts):
        if not part:
            continue
        host, colon, port = part.rpartition(":")
        if not colon or part.endswith("]") or (":" in host and not host.startswith("[")):
            host, port = part, str(DEFAULT_PORT)  # no port: a plain host or an IPv6 address
        host = host.removeprefix("[").removesuffix("]")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise ImproperlyConfigured(f"{part!r} is no bootstrap server: host:port is needed")
        found[host, int(port)] = None
    if not found:
        raise ImproperlyConfigured("no bootstrap server is named")
    return list(found)


def _node(broker: Any) -> Node:
    return Node(broker.node_id, broker.host, broker.port, broker.rack)
