"""Tables as whole programs, on both brokers: what a worker knew it knows again, killed or not.

At rest the table of each worker is what its changelog says, and the changelog is what was sent.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter

import pytest

from faustc.client import Producer
from tests.programs.conftest import MakeProgram
from tests.programs.tables import (
    BODY,
    changelog_of,
    send,
    some_words,
    table_of,
    until_at_least,
)

STORES = pytest.mark.parametrize("store", ["memory://", "rocksdb://"])


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
