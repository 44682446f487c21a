"""Write a topic to be consumed: count messages of size bytes, in batches of 64 KiB."""

from __future__ import annotations

import argparse

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from measure import keys, payloads

parser = argparse.ArgumentParser()
parser.add_argument("--bootstrap", required=True)
parser.add_argument("--topic", required=True)
parser.add_argument("--count", type=int, required=True)
parser.add_argument("--size", type=int, required=True)
parser.add_argument("--compression", required=True)
args = parser.parse_args()

admin = AdminClient({"bootstrap.servers": args.bootstrap})
if args.topic not in admin.list_topics(timeout=30).topics:
    admin.create_topics([NewTopic(args.topic, 1, 1)])[args.topic].result(30)
    values, some_keys = payloads(args.size), keys()
    producer = Producer(
        {
            "bootstrap.servers": args.bootstrap,
            "linger.ms": 50,
            "batch.size": 65536,
            "batch.num.messages": 1_000_000,
            "compression.type": args.compression,
            "queue.buffering.max.messages": 500_000,
            "enable.idempotence": True,
        }
    )
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
