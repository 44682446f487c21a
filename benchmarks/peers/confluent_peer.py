"""confluent-kafka (librdkafka), tuned: deep fetch queue, consume(n), 5 ms linger."""

from __future__ import annotations

from confluent_kafka import Consumer, Producer, TopicPartition
from measure import arguments, keys, payloads, timed


def consume(args) -> None:
    consumer = Consumer(
        {
            "bootstrap.servers": args.bootstrap,
            "group.id": "bench",
            "enable.auto.commit": False,
            "queued.min.messages": 1_000_000,
            "fetch.queue.backoff.ms": 5,
        }
    )
    consumer.assign([TopicPartition(args.topic, 0, 0)])
    seen = 0
    with timed(args.count):
        while seen < args.count:
            messages = consumer.consume(10_000, 1.0)
            for message in messages:
                _ = message.key()
                _ = message.value()
            seen += len(messages)
    consumer.close()


def produce(args) -> None:
    values, some_keys = payloads(args.size), keys()
    producer = Producer(
        {
            "bootstrap.servers": args.bootstrap,
            "acks": "all",
            "linger.ms": 5,
            "enable.idempotence": True,
            "compression.type": args.compression,
            "queue.buffering.max.messages": 1_000_000,
        }
    )
    producer.produce(args.topic, b"warm", b"up")
    producer.flush()
    with timed(args.count):
        for n in range(args.count):
            while True:
                try:
                    producer.produce(args.topic, values[n % 1000], some_keys[n % 1000])
                    break
                except BufferError:
                    producer.poll(0.05)
            if not n % 10_000:
                producer.poll(0)
        producer.flush()


args = arguments()
{"consume": consume, "produce": produce}[args.work](args)
