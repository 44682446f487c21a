"""kafka-python: poll and send."""

from __future__ import annotations

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from measure import arguments, keys, payloads, timed


def consume(args) -> None:
    consumer = KafkaConsumer(
        bootstrap_servers=args.bootstrap, enable_auto_commit=False, max_poll_records=10_000
    )
    tp = TopicPartition(args.topic, 0)
    consumer.assign([tp])
    consumer.seek(tp, 0)
    seen = 0
    with timed(args.count):
        while seen < args.count:
            for messages in consumer.poll(timeout_ms=1000).values():
                for message in messages:
                    _ = message.key
                    _ = message.value
                seen += len(messages)
    consumer.close()


def produce(args) -> None:
    values, some_keys = payloads(args.size), keys()
    producer = KafkaProducer(
        bootstrap_servers=args.bootstrap,
        acks="all",
        linger_ms=5,
        batch_size=131072,
        compression_type=None if args.compression == "none" else args.compression,
    )
    producer.send(args.topic, b"warm", b"up")
    producer.flush()
    with timed(args.count):
        for n in range(args.count):
            producer.send(args.topic, values[n % 1000], some_keys[n % 1000])
        producer.flush()
    producer.close()


args = arguments()
{"consume": consume, "produce": produce}[args.work](args)
