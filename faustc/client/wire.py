"""Control-plane messages: which version to speak, bytes out, structs in.

The only importer of kafka-python, whose classes are made from Kafka's own
message schemas. It is imported when the first message is encoded: the import
takes a quarter of a second, which `import faustc` must not cost.

Requests take plain values, with a dict for each nested struct, under Kafka's
field names in snake_case; answers are structs by attribute. Fetch and Produce
are encoded in `_native`; only their versions are chosen here.
"""

from __future__ import annotations

import re
import struct
import warnings
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import import_module
from typing import Any, NamedTuple

from faustc.client.assignors import Assignment, Subscription
from faustc.client.codes import UNSUPPORTED_VERSION
from faustc.exceptions import CorruptFrame, UnsupportedVersion
from faustc.types import TopicPartition

# A metadata answer for 200,000 partitions is about 10 MiB. Structs cost some
# hundred bytes for each byte that claims one, so the bound is well below the
# framer's, which has to let a fetch answer through.
MAX_CONTROL_BYTES = 64 * 1024 * 1024


class Cap(NamedTuple):
    """One API: its key, the versions we speak (both ends included), and why no more.

    unless_v2 is the highest version as long as the cluster has not finalized
    transaction.version 2; -1 where that makes no difference.
    """

    key: int
    min: int
    max: int
    reason: str
    unless_v2: int = -1


_NATIVE = "what _native encodes and decodes"
_OLDEST = "the oldest is what Kafka 2.4 has, the newest what kafka-python has"
_ANY = "every version kafka-python has"
_V2 = "the highest needs transaction.version 2 finalized (KIP-890)"
_IDS = "10 replaces names by topic ids, which we would have to know of every topic"

CAPS: dict[str, Cap] = {
    "Produce": Cap(0, 8, 13, _NATIVE),
    "Fetch": Cap(1, 11, 18, _NATIVE),
    "ListOffsets": Cap(2, 5, 11, _OLDEST),
    "Metadata": Cap(3, 7, 13, "7 brings leader epochs, 10 topic ids"),
    "OffsetCommit": Cap(8, 6, 9, _IDS),
    "OffsetFetch": Cap(9, 5, 9, _IDS),
    "FindCoordinator": Cap(10, 1, 6, "1 can ask for transactions"),
    "JoinGroup": Cap(11, 5, 9, "5 brings static members"),
    "Heartbeat": Cap(12, 3, 4, "3 brings static members"),
    "LeaveGroup": Cap(13, 3, 5, "3 brings static members"),
    "SyncGroup": Cap(14, 3, 5, "3 brings static members"),
    "DescribeGroups": Cap(15, 0, 6, _ANY),
    "ListGroups": Cap(16, 0, 5, _ANY),
    "SaslHandshake": Cap(17, 1, 1, "0 sends tokens outside of frames"),
    "ApiVersions": Cap(18, 0, 4, _ANY),
    "CreateTopics": Cap(19, 2, 7, _ANY),
    "DeleteTopics": Cap(20, 1, 6, _ANY),
    "DeleteRecords": Cap(21, 0, 2, _ANY),
    "InitProducerId": Cap(22, 1, 5, "6 is for two-phase commit (KIP-939)"),
    "OffsetForLeaderEpoch": Cap(23, 3, 4, _OLDEST),
    "AddPartitionsToTxn": Cap(24, 0, 3, "4 and up are for brokers among themselves (KIP-890)"),
    "AddOffsetsToTxn": Cap(25, 0, 4, _ANY),
    "EndTxn": Cap(26, 0, 5, _V2, unless_v2=4),
    "TxnOffsetCommit": Cap(28, 0, 5, _V2, unless_v2=4),
    "DescribeAcls": Cap(29, 1, 3, _ANY),
    "CreateAcls": Cap(30, 1, 3, _ANY),
    "DeleteAcls": Cap(31, 1, 3, _ANY),
    "DescribeConfigs": Cap(32, 1, 4, _ANY),
    "AlterConfigs": Cap(33, 0, 2, _ANY),
    "DescribeLogDirs": Cap(35, 1, 5, _ANY),
    "SaslAuthenticate": Cap(36, 0, 2, _ANY),
    "CreatePartitions": Cap(37, 0, 3, _ANY),
    "DeleteGroups": Cap(42, 0, 2, _ANY),
    "ElectLeaders": Cap(43, 0, 2, _ANY),
    "IncrementalAlterConfigs": Cap(44, 0, 1, _ANY),
    "AlterPartitionReassignments": Cap(45, 0, 1, _ANY),
    "ListPartitionReassignments": Cap(46, 0, 0, _ANY),
    "OffsetDelete": Cap(47, 0, 0, _ANY),
    "DescribeCluster": Cap(60, 0, 2, _ANY),
    "DescribeProducers": Cap(61, 0, 0, _ANY),
    "DescribeTransactions": Cap(65, 0, 0, _ANY),
    "ListTransactions": Cap(66, 0, 2, _ANY),
}

# Produce 12 adds partitions to the transaction by itself, which the older
# transaction protocol must do with AddPartitionsToTxn first (KIP-890).
TRANSACTIONAL_PRODUCE_MAX = 11

_MODULES = ("metadata", "consumer", "producer", "admin", "sasl")

# What kafka-python's generated decoders raise on bytes that do not fit.
_MALFORMED = (
    struct.error,
    IndexError,
    KeyError,
    ValueError,
    TypeError,
    OverflowError,
    AttributeError,
    AssertionError,
    NotImplementedError,
)

# A varint has at most 5 bytes with the high bit (10 for 64 bits), but the
# decoders read on for as long as it is set, in time that grows with the square
# of the run. UTF-8 text and binary blobs have runs too, far shorter than this.
_ENDLESS_VARINT = re.compile(rb"[\x80-\xff]{16384}")


def api_key(name: str) -> int:
    """Return the number of an API."""
    return CAPS[name].key


_NAMES = {cap.key: name for name, cap in CAPS.items()}


def api_name(key: int) -> str:
    """Return the name of an API, for messages."""
    return _NAMES.get(key, f"API {key}")


def pick_version(
    name: str,
    broker_versions: Mapping[int, tuple[int, int]],
    *,
    transactional: bool = False,
    transactions_v2: bool = False,
) -> int:
    """Return the highest version that both sides speak.

    transactional matters to Produce alone; transactions_v2 says that the
    cluster has finalized transaction.version 2. Raises UnsupportedVersion
    naming the API and both ranges.
    """
    cap = CAPS[name]
    highest = cap.max
    if not transactions_v2:
        if cap.unless_v2 >= 0:
            highest = cap.unless_v2
        if transactional and name == "Produce":
            highest = TRANSACTIONAL_PRODUCE_MAX
    if cap.key not in broker_versions:
        raise UnsupportedVersion(
            f"the broker does not serve {name} (API {cap.key}); we speak versions "
            f"{cap.min} to {highest}: Kafka 2.4 or newer is needed"
        )
    low, high = broker_versions[cap.key]
    version = min(high, highest)
    if version < max(low, cap.min):
        raise UnsupportedVersion(
            f"the broker serves {name} (API {cap.key}) in versions {low} to {high}, we speak "
            f"{cap.min} to {highest} ({cap.reason}): Kafka 2.4 or newer is needed"
        )
    return version


def encode(
    name: str, version: int, correlation_id: int, client_id: str, **fields: Any
) -> bytearray:
    """Return a whole request frame: length, header, body.

    Fields that this version does not have are left out, so that a caller may
    pass what any version needs. Raises ValueError for a name that no version has.
    """
    cls = _message(name, "Request")
    request = _nested(cls, fields, version)
    request.with_header(correlation_id, client_id)
    frame: bytearray = request.encode(version=version, header=True, framed=True)
    return frame


def decode(name: str, version: int, body: bytes) -> Any:
    """Return the answer in `body`, a frame without its length but with its response header.

    Raises CorruptFrame when the bytes do not fit, have some left over, or are
    more than any control-plane answer needs.
    """
    cls = _message(name, "Response")
    if len(body) > MAX_CONTROL_BYTES:
        raise CorruptFrame(
            f"{name} answer of {len(body)} bytes, at most {MAX_CONTROL_BYTES} are taken"
        )
    if len(body) > 16384 and _ENDLESS_VARINT.search(body):
        raise CorruptFrame(f"{name} v{version} answer holds a number without end")
    try:
        pos = 4
        if name == "ApiVersions":
            # Its header never has tags, and a broker that does not know the
            # version says so in version 0 (KIP-511).
            if struct.unpack_from(">h", body, pos)[0] == UNSUPPORTED_VERSION:
                version = 0
        elif cls.flexible_version_q(version):
            pos = _skip_tags(body, pos)
        flexible = cls.flexible_version_q(version)
        # Not cls.decode(): it does not say where it stopped, and strings cut
        # short by the end of the frame go unnoticed.
        decoder = cls._struct.compiled_decode_from(
            version, compact=flexible, tagged=flexible, data_class=cls
        )
        answer, pos = decoder(memoryview(body), pos)
    except _MALFORMED as exc:
        raise CorruptFrame(f"{name} v{version} answer of {len(body)} bytes: {exc!r}") from exc
    if pos != len(body):
        raise CorruptFrame(f"{name} v{version} answer takes {pos} bytes, the frame has {len(body)}")
    return answer


def _skip_tags(body: bytes, pos: int) -> int:
    """Return where the tagged fields of a response header end."""
    count, pos = _uvarint(body, pos)
    for _ in range(count):
        _, pos = _uvarint(body, pos)
        size, pos = _uvarint(body, pos)
        pos += size
    return pos


def _uvarint(body: bytes, pos: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 35, 7):
        byte = body[pos]
        pos += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, pos
    raise ValueError("a varint of more than 5 bytes")


def _plain(owner: Any, field: str, value: Any, version: int) -> Any:
    """Turn the dicts in a value into the nested classes that kafka-python wants."""
    schema = owner._struct.fields.get(field)
    if schema is None or not (schema.is_struct() or schema.is_struct_array()):
        return value
    if isinstance(value, dict):
        return _nested(schema.data_class, value, version)
    if isinstance(value, list | tuple):
        return [
            _nested(schema.data_class, item, version) if isinstance(item, dict) else item
            for item in value
        ]
    return value


def _nested(cls: Any, values: dict[str, Any], version: int) -> Any:
    schemas = cls._struct.fields
    return cls(
        version=version,
        **{
            name: _plain(cls, name, value, version)
            for name, value in values.items()
            # Plain fields are left out by their encoder; a struct could not even be made.
            if name not in schemas or schemas[name].for_version_q(version)
        },
    )


def _kafka_python(module: str) -> Any:
    """Import a module of kafka.protocol; the first time takes a quarter of a second."""
    with warnings.catch_warnings():
        # it reads its schemas with a function that Python 3.11 calls deprecated, and 3.13 no more
        warnings.simplefilter("ignore", DeprecationWarning)
        return import_module(f"kafka.protocol.{module}")


@cache
def _message(name: str, kind: str) -> Any:
    for module in _MODULES:
        found = getattr(_kafka_python(module), name + kind, None)
        if found is not None:
            return found
    raise LookupError(f"kafka-python has no {name}{kind}")


# --- the consumer protocol: what members of a group tell each other in JoinGroup and SyncGroup ---

SUBSCRIPTION_VERSION = 3  # generation (KIP-792) and rack (KIP-881)
ASSIGNMENT_VERSION = 1


def encode_subscription(subscription: Subscription, version: int = SUBSCRIPTION_VERSION) -> bytes:
    """Return the blob that goes into JoinGroup as a protocol's metadata."""
    cls = _consumer_protocol("ConsumerProtocolSubscription")
    return bytes(
        cls(
            version=version,
            topics=list(subscription.topics),
            user_data=subscription.user_data or None,
            owned_partitions=_by_topic(sorted(subscription.owned)),
            generation_id=subscription.generation,
            rack_id=subscription.rack,
        ).encode()
    )


def decode_subscription(blob: bytes) -> Subscription:
    """Return what a member wrote, at any version, without its instance id; raises CorruptFrame."""
    found = _decode_blob("ConsumerProtocolSubscription", blob)
    return Subscription(
        topics=tuple(found.topics or ()),
        user_data=bytes(found.user_data) if found.user_data else None,
        owned=frozenset(_flat(found.owned_partitions)),
        generation=found.generation_id,
        rack=found.rack_id,
    )


def encode_assignment(assignment: Assignment) -> bytes:
    """Return the blob that goes into SyncGroup for one member."""
    cls = _consumer_protocol("ConsumerProtocolAssignment")
    return bytes(
        cls(
            version=ASSIGNMENT_VERSION,
            assigned_partitions=_by_topic(assignment.partitions),
            user_data=assignment.user_data or None,
        ).encode()
    )


def decode_assignment(blob: bytes) -> Assignment:
    """Return what the leader gave us, nothing for an empty blob; raises CorruptFrame."""
    if not blob:
        return Assignment(())
    found = _decode_blob("ConsumerProtocolAssignment", blob)
    user_data = bytes(found.user_data) if found.user_data else None
    return Assignment(_flat(found.assigned_partitions), user_data)


def _consumer_protocol(name: str) -> Any:
    return getattr(_kafka_python("consumer.metadata"), name)


def _decode_blob(name: str, blob: bytes) -> Any:
    cls = _consumer_protocol(name)
    try:
        found = cls.decode(bytes(blob))
    except _MALFORMED as exc:
        raise CorruptFrame(f"{name} of {len(blob)} bytes: {exc!r}") from exc
    return found


def _by_topic(partitions: Iterable[TopicPartition]) -> list[tuple[str, list[int]]]:
    grouped: dict[str, list[int]] = {}
    for topic, partition in partitions:
        grouped.setdefault(topic, []).append(partition)
    return list(grouped.items())


def _flat(groups: Any) -> tuple[TopicPartition, ...]:
    return tuple(
        TopicPartition(group.topic, partition)
        for group in groups or ()
        for partition in group.partitions or ()
    )
