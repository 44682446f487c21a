"""Answers that a broker did not give: a request refused with an error code, wherever it has one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from faustc.broker import wire
from faustc.broker.wire import Api, Call
from faustc.client.codes import lookup
from faustc.client.wire import api_name
from faustc.exceptions import ImproperlyConfigured

__all__ = ["REFUSABLE", "refusal"]

# What of a request an answer's list has its items from, where that is called otherwise.
_SOURCES: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("Produce", "responses"): ("topic_data",),
    ("Produce", "partition_responses"): ("partition_data",),
    ("Fetch", "responses"): ("topics",),
    ("OffsetFetch", "partitions"): ("partition_indexes",),
    ("FindCoordinator", "coordinators"): ("coordinator_keys",),
    ("DeleteTopics", "responses"): ("topics", "topic_names"),
    ("CreatePartitions", "results"): ("topics",),
    ("DescribeConfigs", "results"): ("resources",),
    ("AlterConfigs", "responses"): ("resources",),
    ("IncrementalAlterConfigs", "responses"): ("resources",),
    ("DeleteGroups", "results"): ("groups_names",),
    ("AddPartitionsToTxn", "results_by_topic_v3_and_below"): ("v3_and_below_topics",),
    ("AddPartitionsToTxn", "results_by_partition"): ("partitions",),
}
_FIELDS = {"partition_index": ("partition_index", "partition"), "index": ("index",)}
# A plain item of a request's list: an index, or a name.
_PLAIN = ("partition_index", "key", "name", "group_id")
_NO_OFFSET = ("base_offset", "committed_offset", "high_watermark", "end_offset", "offset")

#: The APIs that can be refused. The others' answers say more than how it went.
REFUSABLE = frozenset(
    {
        "Produce", "Fetch", "ListOffsets", "OffsetCommit", "OffsetFetch", "FindCoordinator",
        "JoinGroup", "Heartbeat", "LeaveGroup", "SyncGroup", "CreateTopics", "DeleteTopics",
        "DeleteRecords", "InitProducerId", "OffsetForLeaderEpoch", "AddPartitionsToTxn",
        "AddOffsetsToTxn", "EndTxn", "TxnOffsetCommit", "DescribeConfigs", "AlterConfigs",
        "CreatePartitions", "DeleteGroups", "IncrementalAlterConfigs",
    }
)  # fmt: skip


def refusal(frame: bytes, code: int) -> bytes:
    """Return the answer to a request that refuses all of it with one error code.

    The frame is without its length; so is what is returned. Raises
    ImproperlyConfigured for an API that has no such answer.
    """
    header = wire.read_header(frame)
    name = api_name(header.key)
    if name not in REFUSABLE:
        raise ImproperlyConfigured(f"{name} cannot be refused: its answer is more than a code")
    api = Api(name, header.key, header.version, header.version)
    request = wire.read_request(api, header, frame)
    nobody: Any = None  # the answer depends on nobody
    call = Call(api, header.version, header.correlation_id, header.client_id, request, nobody)
    schema = wire.message(name, "Response")._struct
    fields = _mirror(name, schema, request, header.version, code)
    if name == "Fetch" and fields.get("responses"):
        fields["error_code"] = 0  # that one is about the session
        # The broker has not heard of this request: its session is not where ours would be.
        fields["session_id"] = 0
    pieces = wire.answer(call, **fields).pieces
    return b"".join(pieces)[4:]


def _mirror(api: str, schema: Any, asked: Any, version: int, code: int) -> dict[str, Any]:
    """Return an answer's fields for what was asked, item by item."""
    fields: dict[str, Any] = {}
    for name, field in schema.fields.items():
        if not field.for_version_q(version):
            continue
        if name in ("error_code", "partition_error_code"):
            fields[name] = code
        elif name == "error_message":
            fields[name] = f"{lookup(code).name}, by a fault"
        elif name in _NO_OFFSET:
            fields[name] = -1
        elif hasattr(field, "data_class") and getattr(field, "fields", None):
            sources = _SOURCES.get((api, name), (name,))
            items = next((found for s in sources if (found := getattr(asked, s, None))), ())
            if items and isinstance(items, list | tuple):
                fields[name] = [_mirror(api, field, item, version, code) for item in items]
        elif isinstance(asked, int | str):
            if name in _PLAIN:
                fields[name] = asked
        else:
            for source in _FIELDS.get(name, (name,)):
                value = getattr(asked, source, None)
                if value is not None and not isinstance(value, list | tuple):
                    fields[name] = value
    return fields
