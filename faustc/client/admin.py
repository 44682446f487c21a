"""The admin client: make, look at and remove topics, partitions and records."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self, Unpack

from faustc.client import codes
from faustc.client.backoff import Backoff, Deadline
from faustc.client.client import ANY, CONTROLLER, Client, Where
from faustc.client.dialer import Dialer
from faustc.client.security import Security, SecurityOptions
from faustc.exceptions import BrokerError, ImproperlyConfigured
from faustc.types import TopicPartition

_BACKOFF_S = 0.1
_BACKOFF_MAX_S = 1.0


@dataclass(frozen=True, slots=True)
class NewTopic:
    """A topic to be made; -1 partitions or replicas mean the broker's default (KIP-464).

    configs are the topic's settings, by Kafka's names; True becomes "true".
    """

    name: str
    num_partitions: int = -1
    replication_factor: int = -1
    configs: Mapping[str, str | int | float | bool | None] = field(default_factory=dict)


class CreatedTopic(NamedTuple):
    """A topic that was made. -1 and an empty mapping: the broker did not say (or may not)."""

    name: str
    topic_id: bytes
    num_partitions: int
    replication_factor: int
    configs: Mapping[str, str | None]


class PartitionDescription(NamedTuple):
    """One partition; leader is -1 while there is none."""

    partition: int
    leader: int
    leader_epoch: int
    replicas: tuple[int, ...]
    isr: tuple[int, ...]
    offline: tuple[int, ...]


class TopicDescription(NamedTuple):
    """One topic; topic_id is 16 zero bytes from brokers before 2.8."""

    name: str
    topic_id: bytes
    is_internal: bool
    partitions: tuple[PartitionDescription, ...]


class Admin:
    """Changes a cluster's topics; `async with`, or start and stop. One event loop only.

    Each call ends within timeout_ms (default: request_timeout_ms), retrying what
    may be retried: lost connections, a controller or leader that moved. An answer
    that got lost may hide a success, so a retry can find the work done: then
    creating raises TOPIC_ALREADY_EXISTS, deleting UNKNOWN_TOPIC_OR_PARTITION.

    When a broker refuses, BrokerError is raised; its `code` and `name` say why, its
    text names the topic. With several topics the others are carried out nevertheless, and
    further refusals are notes (`__notes__`) of the one raised.

    TLS and passwords: see `SecurityOptions`.
    """

    def __init__(
        self,
        bootstrap_servers: str | Sequence[str] = "localhost:9092",
        *,
        client_id: str | None = None,
        request_timeout_ms: int = 30_000,
        dialer: Dialer | None = None,
        **security: Unpack[SecurityOptions],
    ) -> None:
        self._timeout_ms = _checked(request_timeout_ms, "request_timeout_ms")
        self._client = Client(
            bootstrap_servers,
            client_id=client_id,
            request_timeout_ms=request_timeout_ms,
            allow_auto_topic_creation=False,
            security=Security.of("Admin", security),
            dialer=dialer,
        )

    async def start(self) -> None:
        """Reach the cluster; raises NoBrokersAvailable naming the servers, AuthenticationFailed."""
        await self._client.start()

    async def stop(self) -> None:
        """Disconnect."""
        await self._client.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()

    @property
    def client(self) -> Client:
        """The client that this one runs on; it ends with it."""
        return self._client

    # --- topics ---

    async def create_topics(
        self,
        topics: Iterable[NewTopic],
        *,
        timeout_ms: int | None = None,
        validate_only: bool = False,
    ) -> dict[str, CreatedTopic]:
        """Make topics; validate_only only says whether they could be made.

        Other brokers may learn of a new topic a moment later. Raises BrokerError
        (TOPIC_ALREADY_EXISTS, INVALID_REPLICATION_FACTOR, ...) naming the topic.
        """
        wanted = {
            topic.name: {
                "name": topic.name,
                "num_partitions": topic.num_partitions,
                "replication_factor": topic.replication_factor,
                "assignments": [],
                "configs": [
                    {"name": name, "value": _text(value)} for name, value in topic.configs.items()
                ],
            }
            for topic in topics
        }
        answers = await self._by_topic(
            "CreateTopics",
            wanted,
            lambda some: {"topics": some, "validate_only": validate_only},
            lambda answer: answer.topics,
            timeout_ms,
        )
        return {name: _created(found) for name, found in answers.items()}

    async def delete_topics(self, topics: Iterable[str], *, timeout_ms: int | None = None) -> None:
        """Delete topics and all that is in them.

        Raises BrokerError (UNKNOWN_TOPIC_OR_PARTITION, ...) naming the topic.
        """
        wanted = {name: {"name": name, "topic_id": None} for name in topics}
        await self._by_topic(
            "DeleteTopics",
            wanted,
            lambda some: {"topics": some, "topic_names": [each["name"] for each in some]},
            lambda answer: answer.responses,
            timeout_ms,
        )

    async def create_partitions(
        self,
        totals: Mapping[str, int],
        *,
        timeout_ms: int | None = None,
        validate_only: bool = False,
    ) -> None:
        """Give topics more partitions: totals says how many each has afterwards.

        Keys may then belong to other partitions than before. Raises BrokerError
        (INVALID_PARTITIONS when there are as many already, ...) naming the topic.
        """
        wanted = {
            name: {"name": name, "count": total, "assignments": None}
            for name, total in totals.items()
        }
        await self._by_topic(
            "CreatePartitions",
            wanted,
            lambda some: {"topics": some, "validate_only": validate_only},
            lambda answer: answer.results,
            timeout_ms,
        )

    async def describe_topics(
        self, topics: Iterable[str], *, timeout_ms: int | None = None
    ) -> dict[str, TopicDescription]:
        """Return what a broker knows of topics; never makes one.

        Raises BrokerError (UNKNOWN_TOPIC_OR_PARTITION, ...) naming the topic.
        """
        names = list(dict.fromkeys(topics))
        if not names:
            return {}
        answer = await self._metadata(names, timeout_ms)
        refused = [
            codes.error_for(found.error_code, found.name)
            for found in answer.topics
            if found.error_code and not found.partitions
        ]
        _raise_first(refused)
        return {found.name: _described(found) for found in answer.topics}

    async def list_topics(
        self, *, internal: bool = False, timeout_ms: int | None = None
    ) -> list[str]:
        """Return the names of all topics that we may see, sorted; Kafka's own if `internal`."""
        answer = await self._metadata(None, timeout_ms)
        return sorted(
            found.name
            for found in answer.topics
            if not found.error_code and (internal or not found.is_internal)
        )

    # --- records ---

    async def delete_records(
        self, before: Mapping[TopicPartition, int], *, timeout_ms: int | None = None
    ) -> dict[TopicPartition, int]:
        """Delete the messages before an offset of each partition (-1: all that there are now).

        Returns the first offset that each partition has now. Raises BrokerError
        (OFFSET_OUT_OF_RANGE, POLICY_VIOLATION for a compacted topic, ...) naming
        the partition.
        """
        deadline = self._deadline(timeout_ms)
        backoff = Backoff(_BACKOFF_S, _BACKOFF_MAX_S)
        pending = {TopicPartition(*tp): offset for tp, offset in before.items()}
        done: dict[TopicPartition, int] = {}
        refused: list[BrokerError] = []
        self._client.add_topics(*{tp.topic for tp in pending})
        while pending:
            by_leader: dict[int, list[TopicPartition]] = {}
            for tp in pending:
                leader, _ = await self._client.leader_for(tp, deadline.left())
                by_leader.setdefault(leader, []).append(tp)
            failed: dict[TopicPartition, BrokerError] = {}
            for leader, tps in by_leader.items():
                answer = await self._client.request(
                    "DeleteRecords",
                    node=leader,
                    timeout_s=deadline.left(),
                    errors=_nothing,
                    topics=_records_by_topic({tp: pending[tp] for tp in tps}),
                    timeout_ms=_left_ms(deadline),
                )
                for topic in answer.topics:
                    for found in topic.partitions:
                        tp = TopicPartition(topic.name, found.partition_index)
                        if found.error_code:
                            where = f"{tp.topic}/{tp.partition}"
                            failed[tp] = codes.error_for(found.error_code, where)
                        else:
                            done[tp] = found.low_watermark
            delay_s = backoff.next()
            again = [tp for tp, e in failed.items() if e.retriable and deadline.left() > delay_s]
            refused += [error for tp, error in failed.items() if tp not in again]
            pending = {tp: pending[tp] for tp in again}
            if pending:
                self._client.request_refresh()
                await asyncio.sleep(delay_s)
        _raise_first(refused)
        return done

    # --- inside ---

    async def _by_topic(
        self,
        name: str,
        wanted: Mapping[str, dict[str, Any]],
        fields: Callable[[list[dict[str, Any]]], dict[str, Any]],
        items: Callable[[Any], Iterable[Any]],
        timeout_ms: int | None,
    ) -> dict[str, Any]:
        """Ask the controller, and again for those topics alone that may be tried again."""
        deadline = self._deadline(timeout_ms)
        backoff = Backoff(_BACKOFF_S, _BACKOFF_MAX_S)
        pending = dict(wanted)
        done: dict[str, Any] = {}
        refused: list[BrokerError] = []
        node: Where = CONTROLLER
        while pending:
            answer = await self._client.request(
                name,
                node=node,
                timeout_s=deadline.left(),
                errors=_nothing,
                timeout_ms=_left_ms(deadline),
                **fields(list(pending.values())),
            )
            delay_s = backoff.next()
            for found in items(answer):
                code = codes.lookup(found.error_code)
                if code.retriable and deadline.left() > delay_s:
                    if code.refresh:
                        self._client.request_refresh()
                    continue
                pending.pop(found.name, None)
                if code.code:
                    message = getattr(found, "error_message", None)
                    detail = f"{found.name}: {message}" if message else found.name
                    refused.append(codes.error_for(code.code, detail))
                else:
                    done[found.name] = found
            if pending:
                deadline.check(f"{name} of {', '.join(pending)}")
                await asyncio.sleep(delay_s)
        _raise_first(refused)
        return done

    async def _metadata(self, names: list[str] | None, timeout_ms: int | None) -> Any:
        return await self._client.request(
            "Metadata",
            node=ANY,
            timeout_s=self._deadline(timeout_ms).left(),
            errors=lambda answer: [
                topic.error_code
                for topic in answer.topics
                # the one retriable code that is the answer here
                if topic.error_code != codes.UNKNOWN_TOPIC_OR_PARTITION
            ],
            topics=None if names is None else [{"name": name} for name in names],
            allow_auto_topic_creation=False,
        )

    def _deadline(self, timeout_ms: int | None) -> Deadline:
        chosen = self._timeout_ms if timeout_ms is None else _checked(timeout_ms, "timeout_ms")
        return Deadline(chosen / 1000)


def _checked(timeout_ms: int, name: str) -> int:
    if timeout_ms <= 0:
        raise ImproperlyConfigured(f"{name} is {timeout_ms}; it must be above 0")
    return timeout_ms


def _nothing(_: Any) -> tuple[int, ...]:
    """Take any answer: the codes in it are looked at one by one."""
    return ()


def _left_ms(deadline: Deadline) -> int:
    return max(1, int(deadline.left() * 1000))


def _raise_first(refused: list[BrokerError]) -> None:
    if refused:
        first, *others = refused
        for other in others:
            first.add_note(f"also: {other}")
        raise first


def _text(value: str | int | float | bool | None) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return str(value).lower() if isinstance(value, bool) else str(value)


def _created(found: Any) -> CreatedTopic:
    return CreatedTopic(
        found.name,
        found.topic_id.bytes if getattr(found, "topic_id", None) is not None else bytes(16),
        getattr(found, "num_partitions", -1),
        getattr(found, "replication_factor", -1),
        {config.name: config.value for config in getattr(found, "configs", None) or ()},
    )


def _described(found: Any) -> TopicDescription:
    return TopicDescription(
        found.name,
        found.topic_id.bytes if getattr(found, "topic_id", None) is not None else bytes(16),
        bool(found.is_internal),
        tuple(
            PartitionDescription(
                each.partition_index,
                each.leader_id,
                each.leader_epoch,
                tuple(each.replica_nodes or ()),
                tuple(each.isr_nodes or ()),
                tuple(each.offline_replicas or ()),
            )
            for each in sorted(found.partitions, key=lambda each: each.partition_index)
        ),
    )


def _records_by_topic(before: Mapping[TopicPartition, int]) -> list[dict[str, Any]]:
    grouped: dict[str, list[dict[str, int]]] = {}
    for tp, offset in before.items():
        grouped.setdefault(tp.topic, []).append({"partition_index": tp.partition, "offset": offset})
    return [{"name": topic, "partitions": some} for topic, some in grouped.items()]
