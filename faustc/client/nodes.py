"""The sockets of one client, by broker and purpose, and the patience with each broker.

Purposes have sockets of their own because Kafka serves a connection's requests
one after the other: a long fetch must not hold up a heartbeat.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Mapping

from faustc.client.backoff import Backoff
from faustc.client.cluster import Node
from faustc.client.connection import BrokerConnection
from faustc.exceptions import AuthenticationFailed, ConnectionLost, KafkaError

logger = logging.getLogger(__name__)

MAIN = "main"
# A broker that stays away says so once, then at most this often.
REPEAT_LOG_S = 30.0
# As socket.connection.setup.timeout.ms of Kafka's own client.
CONNECT_TIMEOUT_S = 10.0


class _Peer:
    """How one broker has behaved, whatever the purpose."""

    __slots__ = ("backoff", "failures", "logged_at", "retry_at")

    def __init__(self, backoff: Backoff) -> None:
        self.backoff = backoff
        self.failures = 0
        self.logged_at = 0.0
        self.retry_at = 0.0


class _Slot:
    """The place of one connection; the lock lets one caller open it, the others wait for that."""

    __slots__ = ("connection", "error", "failures", "lock")

    def __init__(self) -> None:
        self.connection: BrokerConnection | None = None
        self.lock = asyncio.Lock()
        self.failures = 0
        self.error: KafkaError | None = None

    @property
    def unused(self) -> bool:
        return self.connection is None and not self.lock.locked()


class Nodes:
    """Opens, keeps and closes connections; starts no task of its own."""

    def __init__(
        self,
        connect: Callable[[Node], BrokerConnection],
        *,
        backoff_s: float,
        backoff_max_s: float,
        on_lost: Callable[[], None],
    ) -> None:
        self._connect = connect
        self._backoff_s = backoff_s
        self._backoff_max_s = backoff_max_s
        self._on_lost = on_lost
        self._slots: dict[tuple[int, str], _Slot] = {}
        self._peers: dict[int, _Peer] = {}
        self._opening: set[BrokerConnection] = set()
        self._closed = False
        self._loop = asyncio.get_running_loop()
        #: Since when no connection is open, on the loop's clock; None while one is.
        self.away_since: float | None = self._loop.time()

    async def get(self, node: Node, purpose: str = MAIN) -> BrokerConnection:
        """Return the open connection, or wait out the broker's backoff and try once to open it.

        Raises what `BrokerConnection.open` does. Callers that waited for the
        same attempt share its failure.
        """
        slot = self._slots.setdefault((node.node_id, purpose), _Slot())
        found = self._usable(slot, node)
        if found is not None:
            return found
        failures = slot.failures
        async with slot.lock:
            found = self._usable(slot, node)
            if found is not None:
                return found
            if slot.failures != failures:
                if isinstance(slot.error, AuthenticationFailed):
                    raise slot.error
                raise ConnectionLost(str(slot.error)) from slot.error
            peer = self._peer(node.node_id)
            await asyncio.sleep(max(0.0, peer.retry_at - self._loop.time()))
            try:
                connection = await self._open(node)
            except KafkaError as exc:
                slot.failures += 1
                slot.error = exc
                self._note_failure(node, peer, exc)
                raise
            except asyncio.CancelledError:
                # The caller's patience ended: others had better try another broker first.
                peer.retry_at = self._loop.time() + peer.backoff.next()
                raise
            slot.connection = connection
            self._note_success(node, peer)
            return connection

    def adopt(self, node: Node, connection: BrokerConnection) -> bool:
        """Take over a connection made to a bootstrap server that turns out to be this broker."""
        slot = self._slots.setdefault((node.node_id, MAIN), _Slot())
        if self._usable(slot, node) is not None or slot.lock.locked() or self._closed:
            return False
        connection.node_id = node.node_id
        self._watch(connection)
        self.away_since = None
        slot.connection = connection
        self._note_success(node, self._peer(node.node_id))
        return True

    def choose(self, brokers: Iterable[Node]) -> list[Node]:
        """Return the brokers, best first, for a request that any can answer.

        Idle connections, then busy ones by load, then brokers not yet tried,
        last those that failed lately; equals in random order.
        """
        now = self._loop.time()

        def rank(node: Node) -> tuple[int, float]:
            slot = self._slots.get((node.node_id, MAIN))
            connection = self._usable(slot, node) if slot is not None else None
            if connection is not None:
                return (0, connection.in_flight)
            peer = self._peers.get(node.node_id)
            if peer is None or peer.retry_at <= now:
                return (1, 0.0)
            return (2, peer.retry_at)

        shuffled = list(brokers)
        random.shuffle(shuffled)
        return sorted(shuffled, key=rank)

    def retain(self, brokers: Mapping[int, Node]) -> None:
        """Close the connections to brokers that moved to another address, or left.

        One that is missing may only be unknown to a broker that is behind, or
        be on its way down with our answers still to come: not while requests wait.
        """
        for (node_id, _), slot in list(self._slots.items()):
            connection = slot.connection
            if connection is None or connection.closed:
                continue
            node = brokers.get(node_id)
            if node is None and not connection.in_flight:
                connection.close(ConnectionLost(f"node {node_id} left the cluster"))
            elif node is not None and self._usable(slot, node) is None:
                moved = f"node {node_id} is now at {node.host}:{node.port}"
                connection.close(ConnectionLost(moved))
        for key in [k for k, slot in self._slots.items() if k[0] not in brokers and slot.unused]:
            del self._slots[key]
        for node_id in self._peers.keys() - brokers.keys():
            del self._peers[node_id]

    async def close(self) -> None:
        """Close all connections and wait until their descriptors are given back."""
        self._closed = True
        connections = [s.connection for s in self._slots.values() if s.connection is not None]
        connections += self._opening
        for connection in connections:
            connection.close()
        for connection in connections:
            await connection.wait_closed()
        self._slots.clear()

    def _usable(self, slot: _Slot, node: Node) -> BrokerConnection | None:
        found = slot.connection
        if found is None or found.closed or (found.host, found.port) != (node.host, node.port):
            return None
        return found

    def _peer(self, node_id: int) -> _Peer:
        peer = self._peers.get(node_id)
        if peer is None:
            peer = self._peers[node_id] = _Peer(Backoff(self._backoff_s, self._backoff_max_s))
        return peer

    async def _open(self, node: Node) -> BrokerConnection:
        if self._closed:
            raise ConnectionLost("the client is closed")
        connection = self._connect(node)
        self._opening.add(connection)
        try:
            await connection.open(CONNECT_TIMEOUT_S)
        finally:
            self._opening.discard(connection)
        self._watch(connection)
        self.away_since = None
        return connection

    def _watch(self, connection: BrokerConnection) -> None:
        connection.on_closed = self._lost

    def _lost(self, connection: BrokerConnection) -> None:
        connection.on_closed = None
        if self._closed or connection.node_id is None:
            return
        for key in [k for k, slot in self._slots.items() if slot.connection is connection]:
            self._slots[key].connection = None
        if all(slot.connection is None for slot in self._slots.values()):
            self.away_since = self._loop.time()
        if connection.quiet:
            return
        peer = self._peer(connection.node_id)
        peer.retry_at = self._loop.time() + peer.backoff.next()
        logger.info(
            "Connection to node %s at %s:%s is gone: %s",
            connection.node_id,
            connection.host,
            connection.port,
            connection.close_reason,
        )
        self._on_lost()

    def _note_failure(self, node: Node, peer: _Peer, error: KafkaError) -> None:
        now = self._loop.time()
        peer.failures += 1
        peer.retry_at = now + peer.backoff.next()
        if self._closed or (peer.failures > 1 and now - peer.logged_at < REPEAT_LOG_S):
            return
        peer.logged_at = now
        logger.warning(
            "Node %s at %s:%s is out of reach (attempt %d): %s",
            node.node_id,
            node.host,
            node.port,
            peer.failures,
            error,
        )

    def _note_success(self, node: Node, peer: _Peer) -> None:
        if peer.failures:
            logger.info(
                "Node %s at %s:%s is back after %d failed attempts",
                node.node_id,
                node.host,
                node.port,
                peer.failures,
            )
        peer.failures = 0
        peer.retry_at = 0.0
        peer.backoff.reset()
