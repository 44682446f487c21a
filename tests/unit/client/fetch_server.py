"""A wire server that serves fetches from logs, with sessions as strict as Kafka's."""

from __future__ import annotations

import asyncio
import struct
import uuid
from typing import Any, NamedTuple

from faustc._native.builder import BatchBuilder
from faustc.client import codes, wire
from faustc.types import TopicPartition
from tests.unit.client.wire_server import Request, WireServer, encode_answer, parse

FETCH = wire.api_key("Fetch")
COMMIT_MARKER = struct.pack(">hh", 0, 1)
ABORT_MARKER = struct.pack(">hh", 0, 0)


class Stored(NamedTuple):
    base: int
    last: int
    data: bytes


class Log:
    """One partition: batches, where it starts, who leads it in which epoch."""

    def __init__(self) -> None:
        self.batches: list[Stored] = []
        self.start = 0
        self.end = 0
        self.epoch = 0
        self.epoch_ends: dict[int, int] = {}
        self.error = 0
        self.aborted: list[tuple[int, int]] = []

    def append(self, *values: bytes, gap: int = 0, **options: Any) -> Stored:
        """Store the values as one batch; gap leaves offsets out behind it, as compaction does."""
        key = options.pop("key", b"k")
        builder = BatchBuilder(options.pop("compression", None), **options)
        for value in values:
            assert builder.append(key, value, 1_000 + self.end) >= 0
        data = bytearray(builder.seal())
        struct.pack_into(">q", data, 0, self.end)
        struct.pack_into(">i", data, 12, self.epoch)
        stored = Stored(self.end, self.end + len(values) - 1, bytes(data))
        self.batches.append(stored)
        self.end += len(values) + gap
        return stored

    def damage(self, index: int) -> None:
        """Flip a bit in the records of a batch."""
        stored = self.batches[index]
        data = bytearray(stored.data)
        data[-2] ^= 0x40
        self.batches[index] = stored._replace(data=bytes(data))

    def truncate(self, end: int) -> None:
        """Lose what is at `end` and after it, and elect a leader in the next epoch."""
        self.batches = [stored for stored in self.batches if stored.last < end]
        self.end = end
        self.epoch_ends[self.epoch] = end
        self.epoch += 1

    def read(self, offset: int, max_bytes: int) -> bytes:
        """Return batches from the one that has `offset`, the last cut short, as brokers do."""
        data = b"".join(stored.data for stored in self.batches if stored.last >= offset)
        first = next((len(s.data) for s in self.batches if s.last >= offset), 0)
        return data[: max(max_bytes, first)]


class FetchServer(WireServer):
    """One broker of a cluster; `logs` is what it leads, `peers` may lead the rest."""

    def __init__(self, *topics: tuple[str, int], node_id: int = 1, version: int = 12) -> None:
        super().__init__(node_id=node_id)
        self.versions = {**self.versions, FETCH: (11, version)}
        self.logs: dict[TopicPartition, Log] = {
            TopicPartition(topic, number): Log()
            for topic, count in topics
            for number in range(count)
        }
        self.topic_ids: dict[str, uuid.UUID] = {t: uuid.uuid4() for t, _ in topics}
        self.leaders: dict[TopicPartition, int] = {}
        self.peers: list[FetchServer] = [self]
        self.fetches: list[Any] = []
        self.top_errors: list[int] = []  # for the next fetches, one each
        self.session_answers: list[int] = []
        self.preferred: dict[TopicPartition, int] = {}  # the replica to name instead of records
        self.topic_errors: dict[str, int] = {}
        self.hints = False  # name the leader along with NOT_LEADER_OR_FOLLOWER (KIP-951)
        self.gate = asyncio.Event()  # closed (clear): fetches are not answered
        self.gate.set()
        self.changed = asyncio.Event()
        self._stopping = False
        self._sessions: dict[int, tuple[int, dict[tuple[Any, int], Any]]] = {}
        self.answers |= {
            "Metadata": self._metadata,
            "ListOffsets": self._list_offsets,
            "OffsetForLeaderEpoch": self._epoch_ends,
        }

    def append(self, tp: TopicPartition, *values: bytes, **options: Any) -> None:
        self.logs[tp].append(*values, **options)
        self.wake()

    def wake(self) -> None:
        """Answer the fetches that wait for something new."""
        self.changed.set()
        self.changed = asyncio.Event()

    async def stop(self) -> None:
        self.gate.set()
        self._stopping = True
        self.wake()
        await super().stop()

    # -- control plane -----------------------------------------------------------------

    def _metadata(self, request: Request) -> dict[str, Any]:
        asked = request.fields.topics
        names = list(self.topic_ids) if asked is None else [t.name for t in asked]
        return {
            "brokers": [
                {"node_id": p.node_id, "host": "127.0.0.1", "port": p.port, "rack": None}
                for p in self.peers
            ],
            "cluster_id": "c",
            "controller_id": 1,
            "topics": [self._describe(name) for name in names],
        }

    def _describe(self, topic: str) -> dict[str, Any]:
        if topic not in self.topic_ids or topic in self.topic_errors:
            return {
                "name": topic,
                "error_code": self.topic_errors.get(topic, codes.UNKNOWN_TOPIC_OR_PARTITION),
                "is_internal": False,
                "partitions": [],
            }
        logs = {tp: log for peer in self.peers for tp, log in peer.logs.items()}
        return {
            "name": topic,
            "topic_id": self.topic_ids[topic],
            "error_code": 0,
            "is_internal": False,
            "partitions": [
                {
                    "error_code": 0,
                    "partition_index": tp.partition,
                    "leader_id": self.leaders.get(tp, self.node_id),
                    "leader_epoch": log.epoch,
                    "replica_nodes": [1],
                    "isr_nodes": [1],
                    "offline_replicas": [],
                }
                for tp, log in sorted(logs.items())
                if tp.topic == topic
            ],
        }

    def _list_offsets(self, request: Request) -> dict[str, Any]:
        def one(topic: str, part: Any) -> dict[str, Any]:
            log = self.logs.get(TopicPartition(topic, part.partition_index))
            found = {"partition_index": part.partition_index, "timestamp": -1}
            if log is None or log.error:
                return {**found, "error_code": log.error if log else 6, "offset": -1}
            offset = log.start if part.timestamp == -2 else log.end
            return {**found, "error_code": 0, "offset": offset, "leader_epoch": log.epoch}

        return {
            "topics": [
                {"name": t.name, "partitions": [one(t.name, p) for p in t.partitions]}
                for t in request.fields.topics
            ]
        }

    def _epoch_ends(self, request: Request) -> dict[str, Any]:
        def one(topic: str, part: Any) -> dict[str, Any]:
            log = self.logs[TopicPartition(topic, part.partition)]
            end = log.epoch_ends.get(part.leader_epoch, log.end)
            return {
                "error_code": 0,
                "partition": part.partition,
                "leader_epoch": part.leader_epoch,
                "end_offset": end,
            }

        return {
            "topics": [
                {"topic": t.topic, "partitions": [one(t.topic, p) for p in t.partitions]}
                for t in request.fields.topics
            ]
        }

    # -- fetches -----------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # As WireServer's, but a fetch may wait here for something to come.
        self.opened += 1
        self._writers.add(writer)
        try:
            while True:
                size = struct.unpack(">i", await reader.readexactly(4))[0]
                frame = await reader.readexactly(size)
                key, version, correlation_id = struct.unpack_from(">hhi", frame)
                if key == FETCH:
                    body = await self._fetch(frame, version, correlation_id)
                else:
                    body = self._control(frame)
                if body is not None:
                    writer.write(struct.pack(">i", len(body)) + body)
                    await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    def _control(self, frame: bytes) -> bytes | None:
        request = parse(frame)
        self.requests.append(request)
        answer = self._answer(request)
        if answer is None or isinstance(answer, bytes):
            return answer
        assert isinstance(answer, dict)
        return encode_answer(request.name, request.version, request.correlation_id, **answer)

    async def _fetch(self, frame: bytes, version: int, correlation_id: int) -> bytes:
        size = struct.unpack_from(">h", frame, 8)[0]
        cls = wire._message("Fetch", "Request")
        start = 10 + size + (1 if cls.flexible_version_q(version) else 0)
        request = cls.decode(frame[start:], version=version)
        self.fetches.append(request)
        await self.gate.wait()
        error, session_id, parts = self._session(request, version)
        if self.top_errors:
            error = self.top_errors.pop(0)
        answers: list[tuple[Any, dict[str, Any]]] = []
        full = request.session_epoch <= 0
        if not error:
            deadline = asyncio.get_running_loop().time() + request.max_wait_ms / 1000
            while True:
                answers = []
                room = request.max_bytes
                for (topic, _), part in parts.items():
                    answer = self._read(topic, part, version, room)
                    room -= len(answer["records"])
                    answers.append((topic, answer))
                left = deadline - asyncio.get_running_loop().time()
                if (
                    left <= 0
                    or self._stopping
                    or any(a["records"] or a["error_code"] for _, a in answers)
                ):
                    break
                try:
                    await asyncio.wait_for(self.changed.wait(), left)
                except TimeoutError:
                    break
            if not full:
                answers = [
                    (t, a)
                    for t, a in answers
                    if a["records"] or a["error_code"] or a["preferred_read_replica"] >= 0
                ]
        by_topic: dict[Any, list[Any]] = {}
        for topic, answer in answers:
            by_topic.setdefault(topic, []).append(answer)
        name = "topic_id" if version >= 13 else "topic"
        return encode_answer(
            "Fetch",
            version,
            correlation_id,
            throttle_time_ms=0,
            error_code=error,
            session_id=session_id,
            responses=[{name: topic, "partitions": found} for topic, found in by_topic.items()],
        )

    def _session(self, request: Any, version: int) -> tuple[int, int, dict[tuple[Any, int], Any]]:
        asked = {
            (t.topic_id if version >= 13 else t.topic, p.partition): p
            for t in request.topics
            for p in t.partitions
        }
        if request.session_epoch == -1:
            return 0, 0, asked
        if request.session_epoch == 0:
            self._sessions.pop(request.session_id, None)
            session_id = max(self._sessions, default=100) + 1
            self._sessions[session_id] = (1, asked)
            return 0, session_id, asked
        if request.session_id not in self._sessions:
            return codes.FETCH_SESSION_ID_NOT_FOUND, 0, {}
        epoch, parts = self._sessions[request.session_id]
        if epoch != request.session_epoch:
            return codes.INVALID_FETCH_SESSION_EPOCH, request.session_id, {}
        for topic in request.forgotten_topics_data:
            for number in topic.partitions:
                del parts[topic.topic_id if version >= 13 else topic.topic, number]
        parts |= asked
        self._sessions[request.session_id] = (epoch + 1, parts)
        return 0, request.session_id, parts

    def forget_sessions(self) -> None:
        self._sessions.clear()

    def _read(self, topic: Any, part: Any, version: int, room: int) -> dict[str, Any]:
        answer: dict[str, Any] = {
            "partition_index": part.partition,
            "error_code": 0,
            "high_watermark": -1,
            "last_stable_offset": -1,
            "log_start_offset": -1,
            "aborted_transactions": None,
            "preferred_read_replica": -1,
            "records": b"",
        }
        name = topic
        if version >= 13:
            name = next((t for t, i in self.topic_ids.items() if i == topic), None)
            if name is None:
                return {**answer, "error_code": codes.UNKNOWN_TOPIC_ID}
        tp = TopicPartition(name, part.partition)
        if tp in self.preferred:
            return {**answer, "preferred_read_replica": self.preferred[tp]}
        log = self.logs.get(tp)
        if log is None:
            hint = {"leader_id": self.leaders[tp], "leader_epoch": 1} if self.hints else None
            extra = {"current_leader": hint} if hint else {}
            return {**answer, "error_code": codes.NOT_LEADER_OR_FOLLOWER, **extra}
        if log.error:
            return {**answer, "error_code": log.error}
        if 0 <= part.current_leader_epoch < log.epoch:
            return {**answer, "error_code": codes.FENCED_LEADER_EPOCH}
        if part.current_leader_epoch > log.epoch:
            return {**answer, "error_code": codes.UNKNOWN_LEADER_EPOCH}
        if not log.start <= part.fetch_offset <= log.end:
            return {**answer, "error_code": codes.OFFSET_OUT_OF_RANGE}
        return {
            **answer,
            "high_watermark": log.end,
            "last_stable_offset": log.end,
            "log_start_offset": log.start,
            "aborted_transactions": [
                {"producer_id": producer, "first_offset": first} for producer, first in log.aborted
            ]
            or None,
            # the first partition gets a whole batch, whatever its size (KIP-74)
            "records": log.read(part.fetch_offset, min(part.partition_max_bytes, room))
            if room > 0
            else b"",
        }
