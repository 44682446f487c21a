"""Tables as whole programs, on both brokers: what a worker knew it knows again, killed or not.

At rest the table of each worker is what its changelog says, and the changelog is what was sent.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from faustc.client import Consumer, Producer
from faustc.types import TopicPartition
from tests.process import Process
from tests.programs.conftest import MakeProgram, Program

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
STORES = pytest.mark.parametrize("store", ["memory://", "rocksdb://"])


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
    give_up = time.monotonic() + timeout_s
    while True:
        said = await settled(program, *workers)
        if all(said.get(word, 0) >= count for word, count in wanted.items()):
            return said
        assert time.monotonic() < give_up, f"{said} is less than {wanted}"


def some_words(count: int) -> list[str]:
    return [f"w{number % 37}" for number in range(count)]


@STORES
async def test_a_table_outlives_restarts_and_kills(
    program: MakeProgram, producer: Producer, store: str
) -> None:
    app = program(BODY.replace("{store}", store))
    first = app.ready_worker()
    sent = await send(producer, app, some_words(500))
    assert await until_at_least(app, sent, first) == sent
    assert first.terminate() == 0, first.output()
    # What a clean stop committed is there again, and nothing comes twice.
    second = app.ready_worker()
    sent += await send(producer, app, some_words(300))
    assert await until_at_least(app, sent, second) == sent
    # After kill -9 what was not committed comes again: counted at least once, and never lost.
    sent += await send(producer, app, some_words(400))
    second.kill()
    third = app.ready_worker()
    said = await until_at_least(app, sent, third)
    assert sum(said.values()) <= sum(sent.values()) + 400
    # kill -9 in the middle of its recovery, too
    third.kill()
    fourth = app.worker()
    fourth.wait_until(lambda: "Assigned:" in fourth.output(), "an assignment")
    fourth.kill()
    fifth = app.ready_worker()
    assert await until_at_least(app, said, fifth) == said
    assert fifth.terminate() == 0, fifth.output()


async def test_a_second_worker_gets_its_part_and_gives_it_back(
    program: MakeProgram, producer: Producer
) -> None:
    app = program(BODY.replace("{store}", "memory://"))
    first = app.ready_worker()
    sent = await send(producer, app, some_words(400))
    assert await until_at_least(app, sent, first) == sent
    second = app.ready_worker()
    second.wait_until(lambda: len(table_of(second)) > 0, "a part of the table")
    sent += await send(producer, app, some_words(400))
    assert await until_at_least(app, sent, first, second) == sent
    assert table_of(first)
    assert table_of(second)
    assert second.terminate() == 0, second.output()
    first.wait_until(lambda: len(table_of(first)) == len(sent), "the whole table")
    sent += await send(producer, app, some_words(100))
    assert await until_at_least(app, sent, first) == sent
    assert first.terminate() == 0, first.output()
    app.assert_no_errors()


WINDOWED = """\
app.config_from_object(dict(table_cleanup_interval=0.3))
words = app.topic(app.conf.id + "-words", key_type=str, value_type=str, partitions=4)

async def closed(key, value):
    print("CLOSED", json.dumps([key, value]), flush=True)

counts = app.Table(
    "counts", default=int, partitions=4, on_window_close=closed
).tumbling(1.0, expires=1.0)

@app.agent(words)
async def count(stream):
    async for word in stream:
        counts[word] += 1
"""


async def test_a_window_closes_once_with_all_that_was_in_it(
    program: MakeProgram, producer: Producer
) -> None:
    app = program(WINDOWED)
    worker = app.ready_worker()
    sent = await send(producer, app, some_words(111))

    def closed() -> Counter[str]:
        total: Counter[str] = Counter()
        for text in re.findall(r"CLOSED (\[.*\])$", worker.output(), re.M):
            (word, _), value = json.loads(text)
            total[word] += value
        return total

    worker.wait_until(lambda: closed() == sent, "windows that closed with all words", 60)
    give_up = time.monotonic() + 30
    while await changelog_of(app):  # what has expired is deleted there, too
        assert time.monotonic() < give_up
    assert closed() == sent
    assert worker.terminate() == 0, worker.output()
    app.assert_no_errors()
