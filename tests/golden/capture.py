"""Capture answers of a real Kafka: python -m tests.golden.capture [version ...].

Writes one file per Fetch and Produce version the broker serves, without anything
of faustc in between: librdkafka writes the messages, kafka-python encodes the
requests, a plain blocking socket receives. See README.md here.
"""

from __future__ import annotations

import json
import secrets
import socket
import struct
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import confluent_kafka
from confluent_kafka.admin import AdminClient, NewTopic
from kafka.protocol.consumer import FetchRequest
from kafka.protocol.metadata import ApiVersionsRequest, ApiVersionsResponse
from kafka.protocol.producer import ProduceRequest

from tests.golden.messages import CODECS, MESSAGES, TIMESTAMP
from tests.kafka_cluster import DEFAULT_VERSION, KafkaCluster
from tests.reference.batches import Record, encode_batch

HERE = Path(__file__).parent


def main() -> int:
    for version in sys.argv[1:] or ("3.9.1", DEFAULT_VERSION):
        with KafkaCluster(version=version) as cluster:
            capture(cluster.bootstrap, version)
    return 0


def capture(bootstrap: str, version: str) -> None:
    topic = "golden"
    admin = AdminClient({"bootstrap.servers": bootstrap})
    # Our timestamps are years before the markers': without this, the markers would open
    # a new segment, and one answer never spans two.
    config = {"segment.ms": str(2**53)}
    admin.create_topics([NewTopic(topic, 1, 1, config=config)])[topic].result(30)
    for codec in CODECS:
        producer = confluent_kafka.Producer(
            {"bootstrap.servers": bootstrap, "compression.type": codec, "linger.ms": 200}
        )
        for n, (key, value, headers) in enumerate(MESSAGES):
            producer.produce(topic, value, key, headers=headers, timestamp=TIMESTAMP + n)
        producer.flush(30)
    transact(bootstrap, topic)

    topic_id = describe_id(admin, topic)
    low, high = served(bootstrap, 1)
    for api_version in range(max(low, 11), min(high, 18) + 1):
        body = exchange(bootstrap, fetch(api_version, topic, topic_id))
        (HERE / f"fetch-v{api_version}-kafka-{version}.bin").write_bytes(body)
    low, high = served(bootstrap, 0)
    for api_version in range(max(low, 8), min(high, 13) + 1):
        body = exchange(bootstrap, produce(api_version, topic, topic_id))
        (HERE / f"produce-v{api_version}-kafka-{version}.bin").write_bytes(body)
    (HERE / f"kafka-{version}.json").write_text(
        json.dumps({"topic": topic, "topic_id": topic_id.hex()}) + "\n", encoding="utf-8"
    )


def transact(bootstrap: str, topic: str) -> None:
    """Commit one message and abort another, so that control batches and aborted ranges appear."""
    producer = confluent_kafka.Producer(
        {"bootstrap.servers": bootstrap, "transactional.id": f"golden-{secrets.token_hex(3)}"}
    )
    producer.init_transactions(30)
    for value, finish in (
        (b"committed", producer.commit_transaction),
        (b"aborted", producer.abort_transaction),
    ):
        producer.begin_transaction()
        producer.produce(topic, value, timestamp=TIMESTAMP)
        producer.flush(30)  # what is not sent yet, an abort only forgets
        finish(30)
    time.sleep(2)  # EndTxn is answered before its marker is in the log


def describe_id(admin: AdminClient, topic: str) -> bytes:
    described = admin.describe_topics(confluent_kafka.TopicCollection([topic]))
    topic_id = described[topic].result(30).topic_id
    return struct.pack(
        ">qq", topic_id.get_most_significant_bits(), topic_id.get_least_significant_bits()
    )


def served(bootstrap: str, api_key: int) -> tuple[int, int]:
    request = ApiVersionsRequest(version=0)
    request.with_header(correlation_id=7, client_id="golden")
    body = exchange(bootstrap, bytes(request.encode(header=True, framed=True)))
    answer = ApiVersionsResponse.decode(body[4:], version=0, header=False)
    for api in answer.api_keys:
        if api.api_key == api_key:
            return api.min_version, api.max_version
    raise LookupError(api_key)


def fetch(version: int, topic: str, topic_id: bytes) -> bytes:
    partition: Any = FetchRequest.FetchTopic.FetchPartition(
        partition=0, current_leader_epoch=-1, fetch_offset=0, last_fetched_epoch=-1,
        log_start_offset=-1, partition_max_bytes=1 << 20,
    )  # fmt: skip
    request = FetchRequest(
        version=version, replica_id=-1, max_wait_ms=500, min_bytes=1, max_bytes=1 << 20,
        isolation_level=1, session_id=0, session_epoch=-1, forgotten_topics_data=[], rack_id="",
        topics=[
            FetchRequest.FetchTopic(
                topic=topic, topic_id=uuid.UUID(bytes=topic_id), partitions=[partition]
            )
        ],
    )  # fmt: skip
    request.with_header(correlation_id=7, client_id="golden")
    return bytes(request.encode(header=True, framed=True))


def produce(version: int, topic: str, topic_id: bytes) -> bytes:
    data = ProduceRequest.TopicProduceData
    request = ProduceRequest(
        version=version, transactional_id=None, acks=-1, timeout_ms=10_000,
        topic_data=[
            data(
                name=topic,
                topic_id=uuid.UUID(bytes=topic_id),
                partition_data=[
                    data.PartitionProduceData(
                        index=0,
                        records=encode_batch([Record(value=b"p")], base_timestamp=TIMESTAMP),
                    )
                ],
            )
        ],
    )  # fmt: skip
    request.with_header(correlation_id=7, client_id="golden")
    return bytes(request.encode(header=True, framed=True))


def exchange(bootstrap: str, frame: bytes) -> bytes:
    """Send one frame; return the answer without its length, response header included."""
    host, port = bootstrap.split(",")[0].rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=30) as sock:
        sock.sendall(frame)
        size = struct.unpack(">i", receive(sock, 4))[0]
        return receive(sock, size)


def receive(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = sock.recv(count - len(data))
        if not more:
            raise EOFError("the broker closed the connection: it does not accept the request")
        data += more
    return data


if __name__ == "__main__":
    sys.exit(main())
