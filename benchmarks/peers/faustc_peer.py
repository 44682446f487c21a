"""faustc's own Consumer and Producer."""

from __future__ import annotations

import asyncio

from measure import arguments, keys, payloads, timed

from faustc.client.consumer import Consumer
from faustc.client.producer import Producer
from faustc.types import TopicPartition


async def consume(args) -> None:
    async with Consumer(bootstrap_servers=args.bootstrap) as consumer:
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


async def produce(args) -> None:
    values, some_keys = payloads(args.size), keys()
    async with Producer(
        bootstrap_servers=args.bootstrap, compression_type=args.compression, linger_ms=5
    ) as producer:
        await producer.send_and_wait(args.topic, b"warm", key=b"up")
        send, topic = producer.send, args.topic
        with timed(args.count):
            for n in range(args.count):
                await send(topic, values[n % 1000], key=some_keys[n % 1000])
            await producer.flush()


async def produce_bulk(args) -> None:
    values, some_keys = payloads(args.size), keys()
    async with Producer(
        bootstrap_servers=args.bootstrap, compression_type=args.compression, linger_ms=5
    ) as producer:
        await producer.send_and_wait(args.topic, b"warm", key=b"up")
        with timed(args.count):
            for _ in range(args.count // 1000):
                await producer.send_many(args.topic, values, keys=some_keys)
            await producer.flush()


args = arguments()
asyncio.run({"consume": consume, "produce": produce, "produce-bulk": produce_bulk}[args.work](args))
