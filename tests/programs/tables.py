"""A program that counts words in a table; what tests ask of workers and changelogs."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from faustc.client import Consumer, Producer
from faustc.types import TopicPartition
from tests.process import Process
from tests.programs.conftest import Program

BODY = """\
app.config_from_object(dict(store="{store}", table_cleanup_interval=0.5))
words = app.topic(app.conf.id + "-words", key_type=str, value_type=str, partitions=4)
counts = app.Table("counts", default=int, partitions=4)

@app.agent(words)
async def count(stream):
    async for word in stream:
        counts[word] += 1

@app.timer(0.3)
async def show():
    print("TABLE", json.dumps(dict(counts.items())), flush=True)
"""


def table_of(worker: Process) -> dict[str, int]:
    """What a worker's table was when it last told."""
    told = re.findall(r"TABLE (\{.*\})$", worker.output(), re.M)
    found: dict[str, int] = json.loads(told[-1]) if told else {}
    return found


async def changelog_of(program: Program, table: str = "counts") -> dict[str, Any]:
    """What a changelog says, read from its beginning to its end."""
    topic = f"{program.id}-{table}-changelog"
    found: dict[str, Any] = {}
    async with Consumer(
        bootstrap_servers=program.cluster.bootstrap, isolation_level="read_committed"
    ) as consumer:
        tps = [TopicPartition(topic, number) for number in range(4)]
        consumer.assign(tps)
        ends = await consumer.end_offsets(tps)
        await consumer.seek_to_beginning()
        while any([await consumer.position(tp) < ends[tp] for tp in tps]):
            for messages in (await consumer.getmany(timeout_ms=200)).values():
                for message in messages:
                    key = json.loads(message.key or b"null")
                    if not isinstance(key, str):  # of a window: the key, and the range
                        key = json.dumps(key)
                    if message.value is None:
                        found.pop(key, None)
                    else:
                        found[key] = json.loads(message.value)
    return found


async def send(producer: Producer, program: Program, words: Iterable[str]) -> Counter[str]:
    """Send words; return how often each was."""
    sent = Counter(words)
    for word in sent.elements():
        await producer.send(
            f"{program.id}-words", json.dumps(word).encode(), json.dumps(word).encode()
        )
    await producer.flush()
    return sent


async def settled(program: Program, *workers: Process, timeout_s: float = 60.0) -> dict[str, int]:
    """Wait until tables and changelog agree and change no more; return what they say."""
    give_up = time.monotonic() + timeout_s
    while True:
        tables = [table_of(worker) for worker in workers]
        whole = {key: value for table in tables for key, value in table.items()}
        said = await changelog_of(program)
        if said == whole and sum(map(len, tables)) == len(whole):
            return said
        told = "\n".join(worker.output()[-3000:] for worker in workers)
        assert time.monotonic() < give_up, f"{tables} is not {said}:\n{told}"


async def until_at_least(
    program: Program, wanted: Mapping[str, int], *workers: Process, timeout_s: float = 60.0
) -> dict[str, int]:
    """Wait until tables and changelog agree, and have each word as often as wanted, or more."""
    give_up = time.monotonic() + timeout_s
    while True:
        said = await settled(program, *workers)
        if all(said.get(word, 0) >= count for word, count in wanted.items()):
            return said
        assert time.monotonic() < give_up, f"{said} is less than {wanted}"


def some_words(count: int) -> list[str]:
    """Words of which each comes again and again."""
    return [f"w{number % 37}" for number in range(count)]
