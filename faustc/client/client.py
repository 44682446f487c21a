"""One Kafka cluster for its users: finds brokers, routes requests, tries again.

Data flows over connections taken with `connection`; everything else goes
through `request`. Both keep working while brokers come and go.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Unpack

from faustc.client import codes
from faustc.client.auth import Login
from faustc.client.backoff import Backoff, Deadline
from faustc.client.cluster import Cluster, Node
from faustc.client.connection import BrokerConnection, library_version
from faustc.client.dialer import Dialer
from faustc.client.directory import Directory, parse_servers
from faustc.client.metadata import Metadata, wait_for_topic
from faustc.client.nodes import MAIN, Nodes
from faustc.client.security import Security, SecurityOptions
from faustc.exceptions import (
    ConnectionLost,
    CorruptFrame,
    ImproperlyConfigured,
    KafkaTimeout,
    NotReady,
)
from faustc.types import TopicPartition

logger = logging.getLogger(__name__)


class _Where:
    """A place to send a request that is not a broker's number."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name


ANY: Final = _Where("ANY")
CONTROLLER: Final = _Where("CONTROLLER")
GROUP = "group"
TXN = "txn"
_COORDINATOR_TYPES = {GROUP: 0, TXN: 1}

# Where a request goes: any broker, the controller, a broker by number, or the
# coordinator of ("group", group id) or ("txn", transactional id).
Where = _Where | int | tuple[str, str]


class Client:
    """A client of one cluster, for use from one event loop.

    Owns its connections and its metadata task; `close` ends both. bootstrap_servers
    is "host:port,host:port" or a sequence of such. All times are in milliseconds.
    For TLS and passwords see `SecurityOptions`; security is those, checked before.
    """

    def __init__(
        self,
        bootstrap_servers: str | Sequence[str] = "localhost:9092",
        *,
        client_id: str | None = None,
        request_timeout_ms: int = 40_000,
        metadata_max_age_ms: int = 300_000,
        reconnect_backoff_ms: int = 50,
        reconnect_backoff_max_ms: int = 1_000,
        retry_backoff_ms: int = 100,
        retry_backoff_max_ms: int = 1_000,
        connections_max_idle_ms: int = 540_000,
        allow_auto_topic_creation: bool = True,
        security: Security | None = None,
        dialer: Dialer | None = None,
        **security_options: Unpack[SecurityOptions],
    ) -> None:
        self.bootstrap_servers = parse_servers(bootstrap_servers)
        self.client_id = client_id if client_id is not None else f"faustc-{library_version()}"
        self.request_timeout_s = request_timeout_ms / 1000
        self._metadata_max_age_s = metadata_max_age_ms / 1000
        self._reconnect_s = (reconnect_backoff_ms / 1000, reconnect_backoff_max_ms / 1000)
        self._retry_s = (retry_backoff_ms / 1000, retry_backoff_max_ms / 1000)
        self._max_idle_s = connections_max_idle_ms / 1000
        self._auto_create = allow_auto_topic_creation
        if security is None:
            security = Security.of("Client", security_options)
        self._security = security
        self._login = Login(security) if security.mechanism is not None else None
        self._dialer = dialer or Dialer(ssl_context=security.ssl_context)
        if security.ssl_context not in (None, self._dialer.ssl_context):
            raise ImproperlyConfigured("the dialer given does not use the ssl_context given")
        self._coordinators: dict[tuple[str, str], int] = {}
        self._metadata_: Metadata | None = None
        self._nodes_: Nodes | None = None
        self._task: asyncio.Task[None] | None = None
        self._wanted_at_start: set[str] | None = set()
        self._listeners: list[Callable[[Cluster], None]] = []
        self._closed = False

    def __repr__(self) -> str:
        servers = ",".join(f"{host}:{port}" for host, port in self.bootstrap_servers)
        return f"<Client {self.client_id} of {servers}>"

    # --- life ---

    async def start(self, timeout_s: float | None = None) -> None:
        """Reach the cluster and learn its brokers.

        timeout_s defaults to the request timeout. Raises NoBrokersAvailable
        naming each bootstrap server and why, or what a broker refuses us for
        (UnsupportedVersion, AuthenticationFailed), at once. The client is closed then.
        """
        if self._closed or self._task is not None:
            raise NotReady("a client is started once")
        self._nodes_ = Nodes(
            self._make_connection,
            backoff_s=self._reconnect_s[0],
            backoff_max_s=self._reconnect_s[1],
            on_lost=self.request_refresh,
        )
        directory = Directory(
            self.bootstrap_servers,
            self._nodes_,
            self._make_connection,
            allow_auto_topic_creation=self._auto_create,
            retry_s=self._retry_s,
        )
        self._metadata_ = Metadata(
            lambda topics, create: directory.ask(self.cluster, topics, create),
            max_age_s=self._metadata_max_age_s,
            backoff_s=self._retry_s[0],
            backoff_max_s=self._retry_s[1],
        )
        self._metadata_.on_update = self._listeners
        if self._wanted_at_start is None:
            self._metadata_.set_topics(None)
        else:
            self._metadata_.add_topics(self._wanted_at_start)
        topics = None if self._wanted_at_start is None else sorted(self._wanted_at_start)
        deadline = Deadline(self.request_timeout_s if timeout_s is None else timeout_s)
        try:
            self._metadata_.apply(await directory.reach(topics, deadline), topics)
            self._check_started()  # or it was closed meanwhile
        except BaseException:
            await self.close()
            raise
        self._task = asyncio.create_task(self._metadata_.run(), name=f"{self.client_id} metadata")
        self._task.add_done_callback(self._metadata_ended)

    async def close(self) -> None:
        """Close the connections, failing whoever waits on them, and end the metadata task."""
        self._closed = True
        if self._metadata_ is not None:
            self._metadata_.end("the client is closed")
        try:
            if self._task is not None:
                self._task.cancel()
                await asyncio.wait([self._task])
        finally:  # whoever is cancelled here must not leave sockets behind
            if self._nodes_ is not None:
                await self._nodes_.close()

    async def __aenter__(self) -> Client:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    @property
    def closed(self) -> bool:
        """Whether close was called."""
        return self._closed

    @property
    def away_since(self) -> float | None:
        """Since when no connection to any broker is open, on the loop's clock; None while one is.

        May be read from any thread.
        """
        return self._nodes_.away_since if self._nodes_ is not None else None

    # --- metadata ---

    @property
    def cluster(self) -> Cluster:
        """The newest snapshot; empty before start."""
        return self._metadata_.cluster if self._metadata_ is not None else Cluster()

    @property
    def on_metadata(self) -> list[Callable[[Cluster], None]]:
        """Functions to call with each new snapshot; append yours, and remove it."""
        return self._listeners

    def add_topics(self, *topics: str) -> None:
        """Keep the metadata of more topics."""
        if self._metadata_ is not None:
            self._metadata_.add_topics(topics)
        elif self._wanted_at_start is not None:
            self._wanted_at_start |= set(topics)

    def look_for(self, *topics: str) -> None:
        """Ask soon for topics that are missing, and have them created where brokers do that."""
        if self._metadata_ is not None:
            self._metadata_.look_for(topics)

    def drop_topics(self, *topics: str) -> None:
        """Keep the metadata of these no longer, unless that of all is kept."""
        if self._metadata_ is not None:
            self._metadata_.drop_topics(topics)

    def set_topics(self, topics: Iterable[str] | None) -> None:
        """Keep the metadata of exactly these topics, None for all of the cluster's."""
        wanted = None if topics is None else set(topics)
        if self._metadata_ is not None:
            self._metadata_.set_topics(wanted)
        else:
            self._wanted_at_start = wanted

    def request_refresh(self) -> None:
        """Ask for new metadata soon; many calls make one request."""
        if self._metadata_ is not None:
            self._metadata_.request_refresh()

    async def refresh(
        self, timeout_s: float | None = None, topics: Iterable[str] | None = None
    ) -> Cluster:
        """Return a snapshot that was asked for after this call.

        topics: only these; None: all that is kept. Raises KafkaTimeout.
        """
        return await self._metadata.refresh(
            self.request_timeout_s if timeout_s is None else timeout_s, topics
        )

    def learn_leaders(
        self, leaders: dict[TopicPartition, tuple[int, int]], nodes: Iterable[Node] = ()
    ) -> None:
        """Take over leaders (node id, epoch) that an answer told along with its error (KIP-951)."""
        self._metadata.replace(self.cluster.with_leaders(leaders, nodes))

    async def partitions_for(self, topic: str, timeout_s: float | None = None) -> tuple[int, ...]:
        """Return the numbers of a topic's partitions, waiting for a topic that is being made.

        Raises BrokerError naming the topic: at once when its name is invalid or
        we may not see it, after timeout_s (default: the request timeout) when
        it does not appear; KafkaTimeout when nobody answers.
        """
        timeout_s = self.request_timeout_s if timeout_s is None else timeout_s
        return await wait_for_topic(self._metadata, topic, Deadline(timeout_s))

    async def wait_topic(self, topic: str, timeout_s: float | None = None) -> None:
        """Wait until a topic's partitions are known; raises as `partitions_for`."""
        await self.partitions_for(topic, timeout_s)

    async def leader_for(
        self, tp: TopicPartition, timeout_s: float | None = None
    ) -> tuple[int, int]:
        """Return (node id, leader epoch) of a partition, waiting for an election.

        Raises as `partitions_for`, and BrokerError when the partition does not
        exist or has no leader in time.
        """
        deadline = Deadline(self.request_timeout_s if timeout_s is None else timeout_s)
        backoff = Backoff(*self._retry_s)
        await self.partitions_for(tp[0], deadline.left())
        while True:
            found = self.cluster.leader(tp)
            if found is not None:
                return found
            known = self.cluster.partition(tp) is not None
            await deadline.sleep(backoff.next())
            try:
                await self.refresh(deadline.left(), [tp[0]])
            except KafkaTimeout as exc:  # the time is up, and this is what we know
                code = codes.LEADER_NOT_AVAILABLE if known else codes.UNKNOWN_TOPIC_OR_PARTITION
                what = f"{tp[0]}/{tp[1]} has no leader after {deadline.timeout_s:g} s"
                raise codes.error_for(code, what) from exc

    # --- requests ---

    async def connection(self, node_id: int, purpose: str = MAIN) -> BrokerConnection:
        """Return an open connection to a broker, one for each purpose.

        Waits out the broker's backoff, then tries once. Raises ConnectionLost
        or KafkaTimeout when it cannot be reached, or is not in the cluster.
        """
        nodes = self._nodes
        node = self.cluster.brokers.get(node_id)
        if node is None:
            self.request_refresh()
            raise ConnectionLost(f"node {node_id} is not in the cluster, as far as is known")
        return await nodes.get(node, purpose)

    async def request(
        self,
        name: str,
        /,
        *,
        node: Where = ANY,
        timeout_s: float | None = None,
        retry: bool = True,
        purpose: str | None = None,
        errors: Callable[[Any], Iterable[int]] | None = None,
        **fields: Any,
    ) -> Any:
        """Send a control-plane request to where it belongs; return the answer.

        retry=True: lost connections, timeouts and retriable error codes are
        tried again until timeout_s (default: the request timeout), each after
        finding the coordinator, controller or leader anew where the code says
        so. A code that is not retriable, or still there at the end, raises
        BrokerError. With `errors`, which lists the codes inside an answer, the
        answer is returned instead, for its caller to look at them one by one.
        Codes that say "not the leader" are never retried at a given broker.

        retry=False: one attempt, the answer is returned with whatever codes it has.
        """
        deadline = Deadline(self.request_timeout_s if timeout_s is None else timeout_s)
        backoff = Backoff(*self._retry_s)
        if not retry:
            return await self._attempt(name, node, purpose, deadline, deadline.timeout_s, fields)
        while True:
            try:
                answer = await self._attempt(
                    name, node, purpose, deadline, self.request_timeout_s, fields
                )
            except (ConnectionLost, KafkaTimeout, CorruptFrame) as exc:
                self._forget(node)
                delay_s = backoff.next()
                if self._closed or deadline.left() <= delay_s:
                    raise
                logger.debug("%s will be tried again: %s", name, exc)
                await asyncio.sleep(delay_s)
                continue
            bad = self._first_error(answer, errors)
            if bad is None:
                return answer
            delay_s = backoff.next()
            if self._may_retry(bad, node) and deadline.left() > delay_s:
                await asyncio.sleep(delay_s)
                continue
            if errors is not None:
                return answer
            raise codes.error_for(bad.code, _detail(name, node, answer))

    async def coordinator(self, kind: str, key: str, timeout_s: float | None = None) -> int:
        """Return the node id of the coordinator of a group ("group") or transaction ("txn").

        Cached until `forget_coordinator`. Raises BrokerError when the cluster
        names none in time (default: the request timeout).
        """
        cached = self._coordinators.get((kind, key))
        if cached is not None and cached in self.cluster.brokers:
            return cached
        answer = await self.request(
            "FindCoordinator",
            timeout_s=timeout_s,
            errors=lambda found: [_coordinator_of(found).error_code],
            key=key,
            key_type=_COORDINATOR_TYPES[kind],
            coordinator_keys=[key],
        )
        found = _coordinator_of(answer)
        if found.error_code:
            detail = f"coordinator of {kind} {key!r}: {found.error_message or 'none named'}"
            raise codes.error_for(found.error_code, detail)
        if found.node_id not in self.cluster.brokers:
            node = Node(found.node_id, found.host, found.port)
            self._metadata.replace(self.cluster.with_leaders({}, [node]))
        self._coordinators[kind, key] = found.node_id
        return int(found.node_id)

    def forget_coordinator(self, kind: str, key: str) -> None:
        """Look the coordinator up anew next time: it was lost, or said it is not the one."""
        self._coordinators.pop((kind, key), None)

    # --- inside ---

    @property
    def _metadata(self) -> Metadata:
        self._check_started()
        assert self._metadata_ is not None
        return self._metadata_

    @property
    def _nodes(self) -> Nodes:
        self._check_started()
        assert self._nodes_ is not None
        return self._nodes_

    def _check_started(self) -> None:
        if self._closed:
            raise ConnectionLost("the client is closed")
        if self._nodes_ is None:
            raise NotReady("the client is not started")

    def _make_connection(self, node: Node) -> BrokerConnection:
        return BrokerConnection(
            node.host,
            node.port,
            node_id=node.node_id if node.node_id >= 0 else None,
            client_id=self.client_id,
            dialer=self._dialer,
            login=self._login,
            request_timeout_s=self.request_timeout_s,
            max_idle_s=self._max_idle_s,
        )

    async def _attempt(
        self,
        name: str,
        node: Where,
        purpose: str | None,
        deadline: Deadline,
        answer_s: float,
        fields: dict[str, Any],
    ) -> Any:
        """Find the broker, connect, send once; all of it within the deadline."""
        try:
            async with asyncio.timeout(deadline.left()):
                node_id = await self._locate(node, deadline)
                if purpose is None:
                    purpose = node[0] if isinstance(node, tuple) else MAIN
                connection = await self.connection(node_id, purpose)
                return await connection.request(name, answer_s, **fields)
        except TimeoutError as exc:
            if isinstance(exc, KafkaTimeout):
                raise
            raise KafkaTimeout(
                f"{name} to {node!r}: not answered within {deadline.timeout_s:g} s"
            ) from exc

    async def _locate(self, node: Where, deadline: Deadline) -> int:
        if isinstance(node, int):
            return node
        if isinstance(node, tuple):
            return await self.coordinator(node[0], node[1], deadline.left())
        cluster = self.cluster
        if node is CONTROLLER:
            if cluster.controller_id not in cluster.brokers:
                cluster = await self.refresh(deadline.left(), [])
            if cluster.controller_id in cluster.brokers:
                return cluster.controller_id
            raise ConnectionLost("the cluster has no controller")
        best = self._nodes.choose(cluster.brokers.values())
        if not best:
            raise ConnectionLost("no broker is known")
        return best[0].node_id

    def _forget(self, node: Where) -> None:
        """Doubt what led to a broker that did not answer."""
        if isinstance(node, tuple):
            self.forget_coordinator(*node)
        self.request_refresh()

    def _first_error(
        self, answer: Any, errors: Callable[[Any], Iterable[int]] | None
    ) -> codes.Code | None:
        """Return the error to act on, a retriable one first, None when there is none."""
        found = [getattr(answer, "error_code", 0)] if errors is None else errors(answer)
        bad = [codes.lookup(code) for code in found if code]
        return next((code for code in bad if code.retriable), bad[0] if bad else None)

    def _may_retry(self, error: codes.Code, node: Where) -> bool:
        if error.refresh == "coordinator" and isinstance(node, tuple):
            self.forget_coordinator(*node)
        elif error.refresh:
            self.request_refresh()
            if error.refresh == "metadata" and isinstance(node, int):
                return False
        return error.retriable

    def _metadata_ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return
        error = task.exception()
        logger.error("The metadata task of %s died", self.client_id, exc_info=error)
        self._closed = True
        if self._metadata_ is not None:
            self._metadata_.end(f"the metadata task died: {error!r}")


def _coordinator_of(answer: Any) -> Any:
    """Return the part that tells of the one key: nested since version 4."""
    if answer.version < 4:
        return answer
    if not answer.coordinators:
        raise CorruptFrame("FindCoordinator answer without the key that was asked for")
    return answer.coordinators[0]


def _detail(name: str, node: Where, answer: Any) -> str:
    message = getattr(answer, "error_message", None)
    return f"{name} to {node!r}" + (f": {message}" if message else "")
