"""Produce (0), versions 3 to 13.

Left out: waiting for other replicas (there are none, acks=-1 is acks=1), and telling
which record of a batch was wrong.
"""

from __future__ import annotations

import logging
from typing import Any

from faustc.broker import wire
from faustc.broker.broker import Broker
from faustc.broker.partition import Partition
from faustc.broker.producers import Refused
from faustc.broker.topics import Topic
from faustc.broker.transactions import Claim
from faustc.broker.wire import Answer, Api, Call
from faustc.client.codes import (
    INVALID_REQUIRED_ACKS,
    KAFKA_STORAGE_ERROR,
    NONE,
    UNKNOWN_TOPIC_ID,
    UNKNOWN_TOPIC_OR_PARTITION,
)

logger = logging.getLogger(__name__)

API = Api("Produce", 0, 3, 13)

_BY_ID = 13
# From here on a write opens the transaction by itself (KIP-890).
_ADDS_PARTITIONS = 12
_KNOWS_ABORTABLE = 11
_TRANSACTIONAL = 0x10


async def handle(broker: Broker, call: Call) -> Answer | None:
    """Append each partition's batch, and answer when the log has them all."""
    request = call.request
    refused = 0
    topics = []
    for data in request.topic_data:
        topic = _find(broker, call.version, data)
        rows = []
        for part in data.partition_data:
            row = _append(broker, call, topic, part)
            refused += row["error_code"] != NONE
            rows.append(row)
        topics.append({"name": data.name, "topic_id": data.topic_id, "partition_responses": rows})
    await broker.written()
    if request.acks == 0:
        if refused:  # the one way to tell a producer that does not listen
            call.session.close(f"{refused} partitions of a Produce without acks were refused")
        return None
    return wire.answer(call, responses=topics)


def _find(broker: Broker, version: int, data: Any) -> Topic | None:
    return broker.topics.by_id(data.topic_id) if version >= _BY_ID else broker.topics.get(data.name)


def _append(broker: Broker, call: Call, topic: Topic | None, part: Any) -> dict[str, Any]:
    """Append one batch and return the row that answers it."""
    if call.request.acks not in (-1, 0, 1):
        return _refusal(part.index, INVALID_REQUIRED_ACKS, f"acks is {call.request.acks}")
    if topic is None or not 0 <= part.index < len(topic.partitions):
        missing = topic is None and call.version >= _BY_ID
        return _refusal(
            part.index, UNKNOWN_TOPIC_ID if missing else UNKNOWN_TOPIC_OR_PARTITION, None
        )
    partition = topic.partitions[part.index]
    try:
        error = _admit(broker, call, partition, part.records)
        if error:
            return _refusal(part.index, error, "not in a transaction that is open")
        appended = partition.append(part.records)
    except Refused as exc:
        return _refusal(part.index, exc.code, exc.reason)
    except OSError as exc:
        logger.error("Cannot write to %s/%d: %s", *partition.tp, exc)
        return _refusal(part.index, KAFKA_STORAGE_ERROR, str(exc))
    return {
        "index": part.index,
        "error_code": NONE,
        "base_offset": appended.base_offset,
        "log_append_time_ms": appended.append_ms,
        "log_start_offset": partition.log_start,
    }


def _admit(broker: Broker, call: Call, partition: Partition, records: bytes | None) -> int:
    """Ask the transaction's coordinator, if the batch is of one; return an error or NONE."""
    # Attributes, producer id and epoch, where KIP-98 puts them; partition.append checks the rest.
    if not records or len(records) < 61 or not records[22] & _TRANSACTIONAL:
        return NONE
    claim = Claim(
        call.request.transactional_id,
        int.from_bytes(records[43:51], "big", signed=True),
        int.from_bytes(records[51:53], "big", signed=True),
    )
    return broker.coordinators.transactions.admit_write(
        claim,
        [partition.tp],
        adds=call.version >= _ADDS_PARTITIONS,
        knows_abortable=call.version >= _KNOWS_ABORTABLE,
    )


def _refusal(index: int, code: int, reason: str | None) -> dict[str, Any]:
    return {
        "index": index,
        "error_code": code,
        "base_offset": -1,
        "log_append_time_ms": -1,
        "log_start_offset": -1,
        "error_message": reason,
    }
