"""aiokafka: getmany, send, and its own batches."""

from __future__ import annotations

import asyncio

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from measure import arguments, keys, payloads, timed


async def consume(args) -> None:
    consumer = AIOKafkaConsumer(bootstrap_servers=args.bootstrap, enable_auto_commit=False)
    await consumer.start()
    tp = TopicPartition(args.topic, 0)
    consumer.assign([tp])
    consumer.seek(tp, 0)
    seen = 0
    with timed(args.count):
        while seen < args.count:
            for messages in (await consumer.getmany(timeout_ms=1000)).values():
                for message in messages:
                    _ = message.key
                    _ = message.value
                seen += len(messages)
    await consumer.stop()


def _producer(args) -> AIOKafkaProducer:
    return AIOKafkaProducer(
        bootstrap_servers=args.bootstrap,
        acks="all",
        linger_ms=5,
        max_batch_size=131072,
        compression_type=None if args.compression == "none" else args.compression,
    )


async def produce(args) -> None:
    values, some_keys = payloads(args.size), keys()
    producer = _producer(args)
    await producer.start()
    await producer.send_and_wait(args.topic, b"warm", key=b"up")
    with timed(args.count):
        for n in range(args.count):
            await producer.send(args.topic, values[n % 1000], key=some_keys[n % 1000])
        await producer.flush()
    await producer.stop()


async def produce_bulk(args) -> None:
    values, some_keys = payloads(args.size), keys()
    producer = _producer(args)
    await producer.start()
    await producer.send_and_wait(args.topic, b"warm", key=b"up")
    with timed(args.count):
        batch = producer.create_batch()
        sent = 0
        while sent < args.count:
            taken = batch.append(
                key=some_keys[sent % 1000], value=values[sent % 1000], timestamp=None
            )
            if taken is None:
                await producer.send_batch(batch, args.topic, partition=0)
                batch = producer.create_batch()
                continue
            sent += 1
        await producer.send_batch(batch, args.topic, partition=0)
        await producer.flush()
    await producer.stop()


args = arguments()
asyncio.run({"consume": consume, "produce": produce, "produce-bulk": produce_bulk}[args.work](args))
