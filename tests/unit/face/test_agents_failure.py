"""What becomes of an event whose agent failed, by the agent's policy."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

import faustc
from faustc.exceptions import ImproperlyConfigured
from faustc.failure import MAX_BACKOFF_S, DeadLetter, Retry
from faustc.testing import MemoryBroker


def make_app(**options: Any) -> faustc.App:
    return faustc.App("failing", broker="kafka://127.0.0.1:1", **options)


class Flaky:
    """An agent that fails on some values, so many times each."""

    def __init__(self, fails: dict[Any, int], value_type: Any = int, **options: Any) -> None:
        self.app = make_app()
        self.topic = self.app.topic("orders", value_type=value_type, partitions=2)
        self.dead = self.app.topic("orders-dead", key_type=bytes, value_type=bytes)
        self.tries: list[Any] = []
        self.done: list[Any] = []
        self.fails = dict(fails)

        @self.app.agent(self.topic, name="flaky", **options)
        async def flaky(stream: Any) -> None:
            async for value in stream:
                self.tries.append(value)
                if self.fails.get(value, 0):
                    self.fails[value] -= 1
                    raise ValueError(f"{value} is bad")
                self.done.append(value)

        self.agent = flaky


async def test_retry_hands_the_same_event_out_again_and_keeps_the_order() -> None:
    flaky = Flaky({2: 2}, on_failure=faustc.Retry(3, backoff=1.0))
    async with flaky.app.test_context() as t:
        for value in (1, 2, 3):
            await t.send("orders", None, value, partition=0)
        await t.advance(10)
        assert flaky.tries == [1, 2, 2, 2, 3]
        assert flaky.done == [1, 2, 3]
        await t.settled()
        assert t.committed("orders", 0) == 3
        assert flaky.app.monitor.retries_total == 2
        assert flaky.agent.errors_total == 2


async def test_retry_waits_twice_as_long_each_time() -> None:
    retry = Retry(9, backoff=timedelta(seconds=0.5))
    assert [retry.delay_s(n) for n in (1, 2, 3, 4)] == [0.5, 1.0, 2.0, 4.0]
    assert retry.delay_s(99) == MAX_BACKOFF_S


async def test_after_the_last_retry_the_event_is_skipped_and_nothing_is_committed_before() -> None:
    flaky = Flaky({2: 99}, on_failure=Retry(2, backoff=5.0))
    async with flaky.app.test_context() as t:
        for value in (1, 2, 3):
            await t.send("orders", None, value, partition=0)
        await t.advance(4)
        assert flaky.tries == [1, 2]
        await flaky.app.commit()
        assert t.committed("orders", 0) == 1  # never past what is tried again
        await t.advance(30)
        assert flaky.tries == [1, 2, 2, 2, 3]
        await t.settled()
        assert t.committed("orders", 0) == 3


async def test_other_actors_go_on_while_one_waits_to_retry() -> None:
    flaky = Flaky({1: 1}, on_failure=Retry(1, backoff=60.0), concurrency=2)
    async with flaky.app.test_context() as t:
        for value in (1, 2, 3):
            await t.send("orders", None, value, partition=0)
        await t.advance(10)
        assert sorted(flaky.done) == [2, 3]
        await t.advance(100)
        assert sorted(flaky.done) == [1, 2, 3]
        await t.settled()
        assert t.committed("orders", 0) == 3


async def test_a_list_that_failed_is_tried_again_as_a_whole() -> None:
    app = make_app()
    tries: list[list[int]] = []

    @app.agent(app.topic("orders", value_type=int), on_failure=Retry(1, backoff=0.1))
    async def lists(stream: Any) -> None:
        async for some in stream.take(3, within=10):
            tries.append(some)
            if len(tries) == 1:
                raise ValueError("not yet")

    async with app.test_context() as t:
        for value in (1, 2, 3):
            await t.send("orders", None, value, partition=0)
        await t.advance(30)
        assert tries == [[1, 2, 3], [1, 2, 3]]
        await t.settled()
        assert t.committed("orders", 0) == 3


async def test_a_dead_letter_has_the_bytes_and_says_where_they_came_from() -> None:
    flaky = Flaky({7: 9}, on_failure=faustc.DeadLetter("orders-dead"))
    async with flaky.app.test_context() as t:
        await t.send("orders", "key", 7, partition=1, headers={"trace": b"abc"})
        await t.send("orders", "key", 8, partition=1)
        await t.settled()
        assert flaky.done == [8]
        [letter] = t.received(flaky.dead)
        assert (letter.key, letter.value) == (b'"key"', b"7")
        headers = {name: value.decode() for name, value in letter.headers.items()}
        assert headers["trace"] == "abc"
        assert headers["faustc-topic"] == "orders"
        assert headers["faustc-partition"] == "1"
        assert headers["faustc-offset"] == "0"
        assert headers["faustc-agent"] == "flaky"
        assert headers["faustc-exception"] == "ValueError: 7 is bad"
        assert "Traceback" in headers["faustc-traceback"]
        assert "raise ValueError" in headers["faustc-traceback"]
        assert t.committed("orders", 1) == 2
        assert flaky.app.monitor.dead_letters_by_topic == {"orders": 1}


async def test_a_dead_letter_comes_after_the_retries() -> None:
    policy = Retry(2, backoff=1, then=DeadLetter("orders-dead"))
    flaky = Flaky({7: 9}, on_failure=policy)
    async with flaky.app.test_context() as t:
        await t.send("orders", None, 7, partition=0)
        await t.advance(20)
        assert flaky.tries == [7, 7, 7]
        assert len(t.received(flaky.dead)) == 1


async def test_what_does_not_decode_becomes_a_dead_letter_as_well() -> None:
    flaky = Flaky({}, on_failure=Retry(5, then=DeadLetter("orders-dead")))
    async with flaky.app.test_context() as t:
        await t.send("orders", None, b"{not json", value_serializer="raw", partition=0)
        await t.send("orders", None, 8, partition=0)
        await t.settled()
        assert flaky.done == [8]
        [letter] = t.received(flaky.dead)
        assert letter.value == b"{not json"
        assert b"DecodeError" in letter.headers["faustc-exception"]
        assert t.committed("orders", 0) == 2
        assert flaky.app.monitor.decode_errors_total == 1


@pytest.mark.parametrize("value", [7, b"{not json"])
async def test_crash_stops_the_app_and_the_event_comes_again(value: Any) -> None:
    flaky, again = Flaky({7: 1}, on_failure="crash"), Flaky({})

    async def until_it_crashes(broker: MemoryBroker) -> None:
        async with flaky.app.test_context(broker=broker) as t:
            serializer = "raw" if isinstance(value, bytes) else None
            await t.send("orders", None, 1, partition=0)
            await t.settled()
            await t.send("orders", None, value, value_serializer=serializer, partition=0)
            await t.settled()

    async with MemoryBroker() as broker:
        with pytest.raises(RuntimeError, match="failing has crashed"):
            await until_it_crashes(broker)
        assert flaky.done == [1]
        async with again.app.test_context(broker=broker) as t:
            await t.settled()
            seen = again.done if value == 7 else [again.app.monitor.decode_errors_total]
            # The first may come again as well: nothing is committed any more by one that crashes.
            assert seen[-1] == (7 if value == 7 else 1)


async def test_on_error_is_told_whatever_the_policy() -> None:
    told: list[tuple[str, str]] = []

    async def on_error(agent: Any, error: BaseException) -> None:
        told.append((agent.name, str(error)))

    flaky = Flaky({1: 1}, on_failure=Retry(1, backoff=0.1), on_error=on_error)
    async with flaky.app.test_context() as t:
        await t.send("orders", None, 1, partition=0)
        await t.advance(5)
    assert told == [("flaky", "1 is bad")]


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        (lambda: Retry(0), "1 or more"),
        (lambda: Retry(1, backoff=-1), "not negative"),
        (lambda: Retry(1, then="again"), "'skip', 'crash' or DeadLetter"),  # type: ignore[arg-type]
        (lambda: DeadLetter(""), "a topic or its name"),
    ],
)
def test_policies_that_make_no_sense_are_refused(policy: Any, said: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=said):
        policy()


async def test_a_dead_letter_of_what_has_no_bytes_is_refused() -> None:
    app = make_app()

    @app.agent(app.channel(), name="a", on_failure=DeadLetter("dead"))
    async def agent(stream: Any) -> None: ...

    with pytest.raises(ImproperlyConfigured, match="DeadLetter keeps the bytes"):
        agent.open()
