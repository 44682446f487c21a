"""What a worker left on its disk: it counts when tables are shared out, unless it is too old."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

import faustc
from faustc.streams import Stream
from faustc.testing.memory import MemoryBroker


def counting(datadir: Path, **options: Any) -> faustc.App:
    app = faustc.App(
        "t",
        broker="kafka://memory",
        topic_partitions=8,
        datadir=datadir,
        store="rocksdb://",
        table_standby_replicas=0,
    )
    counts = app.Table("counts", key_type=str, value_type=int, default=int, **options)
    words = app.topic("words", key_type=str, value_type=int)

    @app.agent(words)
    async def count(stream: Stream[int]) -> None:
        async for word, number in stream.items():
            if number:
                counts[word] += number
            else:
                del counts[word]

    app.counts, app.words = counts, words  # type: ignore[attr-defined]
    return app


def ours(app: faustc.App) -> set[int]:
    return {tp.partition for tp in app.runner.engine.assignment.partitions}


async def rest(*tests: Any) -> None:
    for _ in range(3):
        for test in tests:
            await test.settled()
        await tests[-1].advance(10)


@pytest.mark.parametrize("later", ["first", "second"])
async def test_who_comes_back_is_given_what_is_on_its_disk(tmp_path: Path, later: str) -> None:
    folders = {"first": tmp_path / "a", "second": tmp_path / "b"}
    async with MemoryBroker() as broker:
        async with AsyncExitStack() as stack:
            apps = {name: counting(folder) for name, folder in folders.items()}
            tests = [
                await stack.enter_async_context(app.test_context(broker=broker))
                for app in apps.values()
            ]
            await rest(*tests)
            for n in range(200):
                await tests[0].send(apps["first"].words, key=f"w{n}", value=1)
            await rest(*tests)
            before = {name: ours(app) for name, app in apps.items()}
            assert [len(one) for one in before.values()] == [4, 4]
        # When they come back, one after the other, each has the partitions that it had.
        sooner = "second" if later == "first" else "first"
        async with AsyncExitStack() as stack:
            apps = {name: counting(folders[name]) for name in (sooner, later)}
            tests = []
            for app in apps.values():
                tests.append(await stack.enter_async_context(app.test_context(broker=broker)))
                await rest(*tests)
            assert {name: ours(app) for name, app in apps.items()} == before
            whole = {**dict(apps["first"].counts.items()), **dict(apps["second"].counts.items())}
            assert whole == {f"w{n}": 1 for n in range(200)}


@pytest.mark.parametrize(("kept_ms", "anew"), [("0", True), ("86400000", False)])
async def test_a_store_that_was_away_for_longer_than_deletions_are_kept_is_filled_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kept_ms: str, anew: bool
) -> None:
    options = {"extra_topic_configs": {"delete.retention.ms": kept_ms}}
    caplog.set_level(logging.WARNING)
    async with MemoryBroker() as broker:
        # Given: two workers that were here one after the other, each with a folder of its own
        for folder, sent in (("a", [("x", 1), ("y", 1)]), ("b", [("x", 0), ("z", 1)])):
            app = counting(tmp_path / folder, **options)
            async with app.test_context(broker=broker) as test:
                await rest(test)
                for word, number in sent:
                    await test.send(app.words, key=word, value=number)
                await rest(test)
        assert "keeps deletions" not in caplog.text
        # When the first comes back
        app = counting(tmp_path / "a", **options)
        async with app.test_context(broker=broker) as test:
            await rest(test)
            # Then it has what the other made of it
            assert dict(app.counts.items()) == {"y": 1, "z": 1}
        assert ("keeps deletions" in caplog.text) is anew


async def test_a_store_that_has_all_of_its_changelog_is_never_too_old(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = {"extra_topic_configs": {"delete.retention.ms": "0"}}
    caplog.set_level(logging.WARNING)
    async with MemoryBroker() as broker:
        for _ in range(2):
            app = counting(tmp_path / "a", **options)
            async with app.test_context(broker=broker) as test:
                await rest(test)
                await test.send(app.words, key="x", value=1)
                await rest(test)
    assert "filled anew" not in caplog.text
