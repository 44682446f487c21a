"""Batches that decompress to more than is allowed, by librdkafka, kept by a real Kafka."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import confluent_kafka
import pytest

import faustc
from faustc.client.admin import Admin, NewTopic
from faustc.client.consumer import Consumer
from faustc.exceptions import CorruptFrame
from faustc.types import TopicPartition
from tests.conftest import Kafka

pytestmark = pytest.mark.kafka
NewName = Callable[[str], str]
MIB = 1 << 20
CODECS = ["gzip", "snappy", "lz4", "zstd"]


def explode(bootstrap: str, topic: str, codec: str, mib: int) -> None:
    """Write a small record, a batch of so many MiB of zeros, and a small one."""
    producer = confluent_kafka.Producer(
        {
            "bootstrap.servers": bootstrap,
            "compression.type": codec,
            "message.max.bytes": 1_000_000_000,
            "batch.size": 1_000_000_000,
            "linger.ms": 60_000,
        }
    )
    for values in ([b"before"], [bytes(MIB)] * mib, [b"after"]):
        for value in values:
            producer.produce(topic, value, partition=0)
        assert producer.flush(60) == 0


async def make_topic(bootstrap: str, topic: str) -> None:
    configs = {"max.message.bytes": str(64 * MIB)}
    async with Admin(bootstrap) as admin:
        await admin.create_topics([NewTopic(topic, 1, 1, configs)])


@pytest.mark.parametrize("codec", CODECS)
async def test_a_consumer_refuses_it_and_can_go_past(
    kafka: Kafka, new_name: NewName, codec: str
) -> None:
    topic = new_name("bomb")
    await make_topic(kafka.bootstrap, topic)
    await asyncio.to_thread(explode, kafka.bootstrap, topic, codec, 20)
    tp = TopicPartition(topic, 0)
    async with Consumer(
        topic,
        bootstrap_servers=kafka.bootstrap,
        auto_offset_reset="earliest",
        max_decompressed_bytes=4 * MIB,
    ) as consumer:
        assert (await consumer.getone()).value == b"before"
        with pytest.raises(CorruptFrame, match="decompresses to more than") as caught:
            await asyncio.wait_for(consumer.getone(), 20)
        error = caught.value
        assert (error.topic, error.partition, error.offset) == (topic, 0, 1)
        consumer.seek(tp, 2)  # anywhere in it: a batch is read whole or not at all
        assert (await asyncio.wait_for(consumer.getone(), 20)).value == b"after"


async def test_the_default_bound_holds_against_150_mib_in_a_few_kilobytes(
    kafka: Kafka, new_name: NewName
) -> None:
    topic = new_name("bomb")
    await make_topic(kafka.bootstrap, topic)
    await asyncio.to_thread(explode, kafka.bootstrap, topic, "zstd", 150)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with Consumer(
        topic, bootstrap_servers=kafka.bootstrap, auto_offset_reset="earliest"
    ) as consumer:
        assert (await consumer.getone()).value == b"before"
        with pytest.raises(CorruptFrame, match="decompresses to more than 134217728"):
            await asyncio.wait_for(consumer.getone(), 20)
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown_kib < 160 * 1024  # what is allowed, and what else a process takes


async def test_an_app_passes_it_and_says_so(
    kafka: Kafka, new_name: NewName, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    topic = new_name("bomb")
    await make_topic(kafka.bootstrap, topic)
    await asyncio.to_thread(explode, kafka.bootstrap, topic, "zstd", 20)
    app = faustc.App(
        new_name("app"),
        broker=f"kafka://{kafka.bootstrap}",
        datadir=tmp_path,
        commit_interval=0.2,
        consumer_max_decompressed_size=4 * MIB,
    )
    seen: list[bytes] = []

    @app.agent(app.topic(topic, value_type=bytes, partitions=1))
    async def read(stream: Any) -> None:
        async for value in stream:
            seen.append(value)

    await app.start()
    async with asyncio.timeout(30):
        while len(seen) < 2:  # noqa: ASYNC110 - no event for it
            await asyncio.sleep(0.05)
    await app.stop()
    assert seen == [b"before", b"after"]
    assert app.monitor.decode_errors_by_topic[topic] == 20
    assert f"Skipped a batch of 20 messages of {topic}/0, before offset 21" in caplog.text
