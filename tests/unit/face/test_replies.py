"""Calling agents: what is asked is answered, to who asked, or fails for a reason."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

import faustc
from faustc.exceptions import NoReply, RequestFailed
from faustc.replies import ReplyPromise
from faustc.reqrep import ReqRepResponse
from faustc.testing import EmbeddedBroker, MemoryBroker
from faustc.testing.memory import MemoryTransport

ASKS_FAUST = [("Faust-Ag-ReplyTo", b"answers"), ("Faust-Ag-CorrelationId", b"c1")]


class Add(faustc.Record, namespace="calc.Add"):
    a: int
    b: int


class Calc:
    """An app with agents to be called."""

    def __init__(self, **options: Any) -> None:
        self.app = app = faustc.App("calc", **{"broker": "kafka://nowhere", **options})
        self.sunk: list[Any] = []
        self.asked: list[Any] = []
        self.answers = app.topic("answers", value_type=ReqRepResponse, partitions=1)

        @app.agent(name="double", sink=[self.sunk.append])
        async def double(numbers: Any) -> AsyncIterator[int]:
            async for number in numbers:
                self.asked.append(number)
                yield number * 2

        @app.agent(name="add", value_type=Add)
        async def add(pairs: Any) -> AsyncIterator[int]:
            async for pair in pairs:
                yield pair.a + pair.b

        @app.agent(name="divide")
        async def divide(numbers: Any) -> AsyncIterator[float]:
            async for number in numbers:
                yield 1 / number

        @app.agent(name="count")
        async def count(numbers: Any) -> AsyncIterator[int]:
            async for number in numbers:
                for n in range(number):
                    yield n
                if number < 0:
                    raise ValueError("below zero")
                if number == 99:
                    raise ValueError("after all")

        @app.agent(name="slow")
        async def slow(numbers: Any) -> AsyncIterator[int]:
            async for number in numbers:
                await asyncio.sleep(number)
                yield number

        self.double, self.add, self.divide, self.count, self.slow = (
            double, add, divide, count, slow,
        )  # fmt: skip


# -- asking --------------------------------------------------------------------------------


async def test_ask_gets_what_the_agent_yields_and_sinks_get_it_as_well() -> None:
    calc = Calc()
    async with calc.app.test_context():
        assert await calc.double.ask(21) == 42
        assert calc.sunk == [42]


async def test_models_are_asked_with_and_replied() -> None:
    calc = Calc()

    @calc.app.agent(value_type=Add)
    async def swap(pairs: Any) -> AsyncIterator[Add]:
        async for pair in pairs:
            yield Add(a=pair.b, b=pair.a)

    async with calc.app.test_context():
        assert await calc.add.ask(Add(a=1, b=2)) == 3
        assert await swap.ask(Add(a=1, b=2)) == Add(a=2, b=1)


async def test_the_options_of_a_request_reach_its_message() -> None:
    calc = Calc()
    async with calc.app.test_context() as t:
        await calc.double.ask(
            1,
            key="k",
            partition=3,
            timestamp=1000.5,
            headers={"h": b"x"},
            correlation_id="my-own",
        )
        [message] = t.received(calc.double)
        assert (message.key, message.partition, message.timestamp) == ("k", 3, 1000.5)
        assert message.headers == {
            "h": b"x",
            "Faust-Ag-ReplyTo": calc.app.conf.reply_to.encode(),
            "Faust-Ag-CorrelationId": b"my-own",
            "Faustc-Ag-TakesErrors": b"1",
        }


async def test_cast_wants_no_reply() -> None:
    calc = Calc()
    async with calc.app.test_context() as t:
        assert await calc.double.cast(4, key="k", headers={"h": b"x"}) is None
        await t.settled()
        [message] = t.received(calc.double)
        assert (message.key, message.value, message.headers) == ("k", 4, {"h": b"x"})
        assert calc.sunk == [8]
        assert not t.broker.partitions(calc.app.conf.reply_to)


async def test_ask_nowait_gives_a_promise() -> None:
    calc = Calc()
    async with calc.app.test_context():
        promises = [await calc.double.ask_nowait(n) for n in range(3)]
        assert all(isinstance(promise, ReplyPromise) for promise in promises)
        assert promises[0].reply_to == calc.app.conf.reply_to
        assert await asyncio.gather(*promises) == [0, 2, 4]


async def test_a_promise_that_the_program_adds_as_with_faust_is_fulfilled_all_the_same() -> None:
    calc = Calc()
    async with calc.app.test_context():
        promise = await calc.double.ask_nowait(1, reply_to=calc.app.conf.reply_to)
        await calc.app._reply_consumer.add(promise.correlation_id, promise)
        assert await promise == 2


async def test_two_who_ask_with_one_correlation_id_both_get_a_reply() -> None:
    calc = Calc()
    async with calc.app.test_context():
        both = calc.double.ask(1, correlation_id="c"), calc.double.ask(1, correlation_id="c")
        assert await asyncio.gather(*both) == [2, 2]


async def test_ask_from_another_threads_loop() -> None:
    calc = Calc()
    got: list[Any] = []

    async def ask() -> None:
        got.append(await calc.double.ask(1))
        got.append(await calc.double.join([1, 2]))
        got.append([value async for value in calc.double.map([3])])
        with pytest.raises(RequestFailed):
            await calc.divide.ask(0)

    async with calc.app.test_context(virtual_time=False):
        thread = threading.Thread(target=lambda: asyncio.run(ask()))
        thread.start()
        await asyncio.to_thread(thread.join)
    assert got == [2, [2, 4], [6]]


async def test_an_agent_may_ask_another() -> None:
    calc = Calc()

    @calc.app.agent()
    async def quadruple(numbers: Any) -> AsyncIterator[int]:
        async for number in numbers:
            yield await calc.double.ask(await calc.double.ask(number))

    async with calc.app.test_context():
        assert await quadruple.ask(3) == 12


async def test_whatever_an_agent_is_like_it_may_be_asked() -> None:
    app, seen = faustc.App("calc", broker="kafka://nowhere"), []

    @app.agent(name="plain")
    def plain(number: int) -> int:
        return number + 1

    @app.agent(name="isolated", isolated_partitions=True)
    async def isolated(numbers: Any) -> AsyncIterator[int]:
        async for number in numbers:
            yield number * 4

    @app.agent(name="grouped")
    async def grouped(numbers: Any) -> AsyncIterator[int]:
        async for number in numbers.group_by(str, name="number"):
            yield number * 3

    @app.agent(name="retried", on_failure=faustc.Retry(2))
    async def retried(numbers: Any) -> AsyncIterator[int]:
        async for number in numbers:
            seen.append(number)
            if len(seen) < 3:
                raise ValueError("not yet")
            yield number

    async with app.test_context(), asyncio.timeout(60):
        assert await plain.ask(1) == 2
        assert await isolated.join([1, 2, 3]) == [4, 8, 12]
        assert await grouped.ask(1) == 3
        assert await retried.ask(7) == 7
        assert seen == [7, 7, 7]


async def test_an_agent_over_a_channel_in_memory_may_be_asked() -> None:
    calc = Calc()

    @calc.app.agent(calc.app.channel())
    async def negate(numbers: Any) -> AsyncIterator[int]:
        async for number in numbers:
            yield -number

    async with calc.app.test_context():
        assert await negate.ask(3) == -3


async def test_an_agent_that_never_yields_is_said_to_be_mute_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    calc = Calc()

    @calc.app.agent(name="mute")
    async def mute(numbers: Any) -> None:
        async for _ in numbers:
            pass

    async with calc.app.test_context() as t:
        for _ in range(2):
            (await mute.ask_nowait(1)).cancel()
        await t.settled()
    assert caplog.text.count("mute is asked for a reply, but its function does not yield") == 1


# -- where replies go ----------------------------------------------------------------------


async def test_every_yield_is_a_reply_and_ask_takes_the_first() -> None:
    calc = Calc()
    async with calc.app.test_context() as t:
        assert await calc.count.ask(3) == 0
        await t.settled()
        assert [reply.value for reply in t.values(calc.app.conf.reply_to)] == [0, 1, 2]
        assert calc.app.monitor.replies_dropped_total == 2


@pytest.mark.parametrize("by_name", [True, False])
async def test_replies_go_to_a_topic(by_name: bool) -> None:
    calc = Calc()
    async with calc.app.test_context() as t:
        await calc.answers.declare()
        to = "answers" if by_name else calc.answers
        await calc.count.send(key="k", value=2, reply_to=to, correlation_id="c1")
        await t.settled()
        assert t.values(calc.answers) == [
            ReqRepResponse(key="k", value=0, correlation_id="c1"),
            ReqRepResponse(key="k", value=1, correlation_id="c1"),
        ]


async def test_replies_go_to_another_agent() -> None:
    calc = Calc()
    got: list[Any] = []

    @calc.app.agent()
    async def collect(replies: Any) -> None:
        async for reply in replies:
            got.append(reply)

    async with calc.app.test_context() as t:
        await calc.double.send(value=2, reply_to=collect, correlation_id="c1")
        await t.settled()
        assert got == [ReqRepResponse(key=None, value=4, correlation_id="c1")]


async def test_replies_go_to_a_channel_in_memory() -> None:
    calc = Calc()
    channel = calc.app.channel()
    async with calc.app.test_context():
        await calc.count.send(key="k", value=2, reply_to=channel, correlation_id="c1")
        first, second = await channel.get(timeout=60), await channel.get(timeout=60)
        assert (first.key, first.value.value, second.value.value) == ("k", 0, 1)
        assert await calc.double.ask(1, reply_to=channel) == 2
        assert (await channel.get(timeout=60)).value.value == 2


async def test_who_asks_may_read_the_reply_elsewhere_among_what_else_is_there() -> None:
    calc = Calc()
    async with calc.app.test_context() as t:
        await t.send("answers", value="something else")
        assert await calc.double.ask(1, reply_to=calc.answers) == 2
        await t.send("answers", value="something else")
        assert await calc.double.ask(2, reply_to="answers") == 4
        assert not t.broker.partitions(calc.app.conf.reply_to)
        assert calc.app.monitor.decode_errors_total == 0


async def test_a_request_names_where_to_reply_or_is_an_error() -> None:
    calc = Calc()
    with pytest.raises(faustc.exceptions.ImproperlyConfigured, match="reply_to is an agent"):
        await calc.double.send(value=1, reply_to=3)


async def test_a_reply_to_a_topic_that_is_gone_is_dropped_and_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    calc = Calc()
    async with (
        MemoryBroker(auto_create_topics=False) as broker,
        calc.app.test_context(broker=broker) as t,
    ):
        began = t.now()
        for n in range(10):
            await calc.double.send(key="k", value=n, reply_to="gone", correlation_id=f"c{n}")
        await t.settled()
        assert calc.sunk == [n * 2 for n in range(10)]
        assert t.now() - began < 20  # it is looked for once, not ten times
    assert "The reply to request c9 cannot be delivered to gone" in caplog.text


async def test_send_takes_everything() -> None:
    calc = Calc()
    told: list[Any] = []
    async with calc.app.test_context() as t:
        await calc.answers.declare()
        delivery = await calc.double.send(
            key=b"k",
            value=b"4",
            partition=1,
            timestamp=1000.5,
            headers={"h": b"x"},
            key_serializer="raw",
            value_serializer="raw",
            callback=told.append,
            reply_to=calc.answers,
            correlation_id="c1",
            force=True,
        )
        assert (await delivery).partition == 1
        await t.settled()
        [message] = t.broker.messages("calc-double")
        assert (message.key, message.value, message.timestamp) == (b"k", b"4", 1000_500)
        assert dict(message.headers)["h"] == b"x"
        [fut] = told
        assert fut.result() == await delivery
        assert [reply.value for reply in t.values(calc.answers)] == [8]


# -- failures ------------------------------------------------------------------------------


async def test_what_the_agent_raises_is_told_to_who_asked_and_the_agent_goes_on() -> None:
    calc = Calc()
    async with calc.app.test_context():
        with pytest.raises(RequestFailed, match="agent divide raised ZeroDivisionError") as raised:
            await calc.divide.ask(0)
        assert raised.value.agent == "divide"
        assert raised.value.error_type == "ZeroDivisionError"
        assert raised.value.detail == "division by zero"
        assert await calc.divide.ask(2) == 0.5


async def test_an_error_after_a_reply_is_no_second_reply() -> None:
    calc = Calc()
    async with calc.app.test_context() as t:
        assert await calc.count.ask(99) == 0
        await t.settled()
        assert len(t.received(calc.app.conf.reply_to)) == 99
        with pytest.raises(RequestFailed, match="below zero"):
            await calc.count.ask(-1)


async def test_a_value_that_no_reply_can_carry_is_an_error_for_who_asked() -> None:
    calc = Calc()

    @calc.app.agent(name="odd")
    async def odd(numbers: Any) -> AsyncIterator[Any]:
        async for number in numbers:
            yield object() if number % 2 else number

    async with calc.app.test_context():
        with pytest.raises(RequestFailed, match="agent odd raised TypeError"):
            await odd.ask(1)
        assert await odd.ask(2) == 2


async def test_everybody_whose_request_is_in_a_list_learns_that_it_failed() -> None:
    calc = Calc()

    @calc.app.agent()
    async def together(numbers: Any) -> AsyncIterator[Any]:
        async for several in numbers.take(3, within=1):
            yield sum(several) / len(several) / (0 not in several)

    async with calc.app.test_context():
        asked = [together.ask(n, key="k") for n in range(3)]
        failures = await asyncio.gather(*asked, return_exceptions=True)
        assert [getattr(one, "error_type", one) for one in failures] == ["ZeroDivisionError"] * 3
        assert await together.ask(4) == 4


async def test_a_request_that_does_not_decode_is_an_error_for_who_asked() -> None:
    calc = Calc()
    async with calc.app.test_context() as t:
        with pytest.raises(RequestFailed, match="agent add raised ValueDecodeError"):
            await calc.add.ask("no pair")
        await calc.add.cast("no pair")
        await t.settled()
        assert calc.app.monitor.decode_errors_total == 2
        assert len(t.received(calc.app.conf.reply_to)) == 1


async def test_errors_are_not_sent_to_those_who_would_take_them_for_values() -> None:
    calc = Calc()
    async with calc.app.test_context() as t:
        await calc.answers.declare()
        await t.send(calc.divide, value=0, headers=ASKS_FAUST)  # as a client of Faust's would
        await t.send(calc.divide, value=4, headers=ASKS_FAUST)
        await t.settled()
        assert [reply.value for reply in t.values(calc.answers)] == [0.25]


async def test_who_does_not_wait_any_more_gets_nothing_and_others_do() -> None:
    calc = Calc()
    async with calc.app.test_context() as t:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await calc.slow.ask(5)
        assert len(calc.app.runner.replies) == 0
        assert await calc.slow.ask(1) == 1
        await t.settled()
        assert calc.app.monitor.replies_dropped_total == 1


async def test_a_promise_fails_when_the_app_stops_before_the_reply() -> None:
    calc = Calc()
    async with calc.app.test_context():
        promise = await calc.slow.ask_nowait(10_000)
        barrier = asyncio.ensure_future(calc.slow.join([20_000, 20_000]))
        while len(calc.app.runner.replies) < 3:  # noqa: ASYNC110
            await asyncio.sleep(0)
    with pytest.raises(NoReply, match="before app calc stopped"):
        await promise
    with pytest.raises(NoReply, match="before app calc stopped"):
        await barrier


@pytest.mark.parametrize("in_tasks", [False, True])
async def test_agents_that_wait_for_each_other_hold_up_no_stop(
    in_tasks: bool, caplog: pytest.LogCaptureFixture
) -> None:
    calc, loop = Calc(), asyncio.get_running_loop()
    got: list[int] = []

    @calc.app.agent(concurrency=3)
    async def quadruple(numbers: Any) -> None:
        async for number in numbers:
            if in_tasks:
                await asyncio.gather(calc.slow.ask(0.05), calc.slow.ask(0.05))
            else:
                await calc.slow.ask(0.1)
            got.append(number)

    caplog.set_level("INFO", "faustc.replies")
    async with MemoryBroker() as broker:
        async with calc.app.test_context(broker=broker) as t:
            for n in range(100):
                await t.send(quadruple, key="k", value=n)
            await t.advance(3)
            began = loop.time()
        assert loop.time() - began < 10
        assert "waits for a reply while its partition goes; it comes again" in caplog.text
        assert 0 < len(got) < 100
        async with calc.app.test_context(broker=broker) as t:
            await t.settled()
        assert set(got) == set(range(100))


async def test_a_promise_fails_when_replies_have_expired() -> None:
    calc = Calc(reply_expires=60)
    async with calc.app.test_context() as t:
        first = asyncio.ensure_future(calc.slow.ask(100))
        await t.advance(30)
        second = asyncio.ensure_future(calc.slow.ask(10))
        await t.advance(31)
        assert first.done()
        with pytest.raises(NoReply, match="within 60 s"):
            await first
        with pytest.raises(NoReply, match="within 60 s"):
            await second
        assert await calc.double.ask(1) == 2


async def test_what_is_no_reply_is_counted_and_passed() -> None:
    calc = Calc()
    async with calc.app.test_context() as t:
        assert await calc.double.ask(1) == 2
        await t.send(calc.app.conf.reply_to, value={"nothing": "of ours"})
        await t.send(calc.app.conf.reply_to, value=b"\xff")
        assert await calc.double.ask(2) == 4
        assert calc.app.monitor.decode_errors_total == 2


async def test_replies_come_though_the_network_does_what_it_does() -> None:
    calc = Calc()
    async with calc.app.test_context(seed=3) as t:
        t.control("Produce", error="NOT_LEADER_OR_FOLLOWER", times=None, chance=0.3)
        t.control("Fetch", cut_after_bytes=10, times=5, chance=0.3)
        assert await calc.double.join(range(20)) == [n * 2 for n in range(20)]


# -- many at once --------------------------------------------------------------------------


async def test_map_yields_replies_as_they_come_and_join_in_order() -> None:
    calc = Calc()

    @calc.app.agent(concurrency=4)
    async def sleep(numbers: Any) -> AsyncIterator[int]:
        async for number in numbers:
            await asyncio.sleep(number)
            yield number

    async def numbers() -> AsyncIterator[int]:
        for number in (3, 1, 2):
            yield number

    async with calc.app.test_context():
        assert [value async for value in sleep.map([3, 1, 2], key="k")] == [1, 2, 3]
        assert [value async for value in sleep.kvmap([("a", 3), ("a", 1)])] == [1, 3]
        assert await sleep.join(numbers(), key="k") == [3, 1, 2]
        assert await sleep.kvjoin([("a", 3), ("a", 1)]) == [3, 1]
        assert await sleep.join([]) == []
        assert [value async for value in sleep.map([])] == []


async def test_keys_of_a_map_are_those_of_its_messages() -> None:
    calc = Calc()
    async with calc.app.test_context() as t:
        await calc.double.join([1, 2], key="k")
        await calc.double.kvjoin([("a", 3), ("b", 4)])
        keys = {message.value: message.key for message in t.received(calc.double)}
        assert keys == {1: "k", 2: "k", 3: "a", 4: "b"}


async def test_replies_to_a_map_may_go_to_another_topic() -> None:
    calc = Calc()
    async with calc.app.test_context() as t:
        assert await calc.double.join([1, 2], reply_to="answers") == [2, 4]
        assert sorted([v async for v in calc.double.map([3, 4], reply_to="answers")]) == [6, 8]
        assert len(t.received(calc.answers)) == 4


async def test_one_failure_ends_a_map_and_a_join_and_leaves_nobody_waiting() -> None:
    calc = Calc()
    async with calc.app.test_context():
        with pytest.raises(RequestFailed, match="division by zero"):
            await calc.divide.join([1, 0, 2])
        with pytest.raises(RequestFailed, match="division by zero"):
            async for _ in calc.divide.map([1, 0, 2]):
                pass
        assert len(calc.app.runner.replies) == 0
        assert await calc.divide.join([1, 2]) == [1, 0.5]


async def test_a_map_that_is_left_waits_for_no_more_replies() -> None:
    calc = Calc()
    async with calc.app.test_context():
        replies = calc.slow.map([0, 1, 1000])
        assert await anext(replies) == 0
        await replies.aclose()  # type: ignore[attr-defined]
        assert len(calc.app.runner.replies) == 0


async def test_a_map_has_so_many_requests_out_and_no_more(monkeypatch: Any) -> None:
    monkeypatch.setattr("faustc.asking.MAX_WAITING", 3)
    calc = Calc()
    sent: list[int] = []

    def numbers() -> Any:
        for number in range(10):
            sent.append(number)
            yield number

    async with calc.app.test_context():
        got = []
        async for value in calc.double.map(numbers()):
            got.append(value)
            assert len(sent) - len(got) <= 3
        assert sorted(got) == [n * 2 for n in range(10)]
        assert await calc.double.join(numbers()) == [n * 2 for n in range(10)]


# -- clients -------------------------------------------------------------------------------


async def test_a_client_calls_the_agents_of_a_worker_and_runs_nothing_itself() -> None:
    worker, client = Calc(), Calc()
    ran: list[str] = []
    client.app.task(lambda: ran.append("task"))
    async with (
        MemoryBroker() as broker,
        worker.app.test_context(broker=broker),
        client.app.test_context(broker=broker, client_only=True),
    ):
        assert client.app.client_only
        assert await client.double.ask(1) == 2
        assert await client.double.join([2, 3]) == [4, 6]
        assert broker.members("calc") == 1
    assert (worker.asked, client.asked, ran) == ([1, 2, 3], [], [])


async def test_two_clients_get_each_their_own_replies() -> None:
    worker, one, two = Calc(), Calc(), Calc()
    assert one.app.conf.reply_to != two.app.conf.reply_to
    async with (
        MemoryBroker() as broker,
        worker.app.test_context(broker=broker),
        one.app.test_context(broker=broker, client_only=True),
        two.app.test_context(broker=broker, client_only=True),
    ):
        of_one, of_two = await asyncio.gather(one.double.join([1, 2]), two.double.join([3, 4]))
        assert (of_one, of_two) == ([2, 4], [6, 8])
        assert one.app.monitor.replies_dropped_total == two.app.monitor.replies_dropped_total == 0


async def test_a_client_may_become_a_worker_later() -> None:
    calc = Calc()
    async with MemoryBroker() as broker:
        async with calc.app.test_context(broker=broker, client_only=True):
            await calc.app.maybe_start_client()  # it is
            promise = await calc.double.ask_nowait(1)
        with pytest.raises(NoReply):
            await promise
        async with calc.app.test_context(broker=broker) as t:
            await calc.app.maybe_start_client()  # it is more than that
            assert not calc.app.client_only
            assert await calc.double.ask(2) == 4
            await t.settled()
    assert calc.asked == [1, 2]


async def test_an_app_that_was_never_started_may_ask() -> None:
    worker, client = Calc(), Calc()
    async with MemoryBroker() as broker, worker.app.test_context(broker=broker):
        client.app.transport = MemoryTransport(broker.dialer())
        assert await client.double.ask(1) == 2
        promise = await client.slow.ask_nowait(1000)
        await client.app.stop()
        with pytest.raises(NoReply):
            await promise
        assert not client.app.started
        assert await client.double.ask(2) == 4  # anew
        await client.app.stop()
    assert client.asked == []


def test_each_run_of_a_loop_may_ask_and_stop(
    embedded_broker: EmbeddedBroker,
) -> None:
    worker, client = (Calc(broker=embedded_broker.url) for _ in range(2))
    ready, done = threading.Event(), threading.Event()

    async def work() -> None:
        async with worker.app:
            ready.set()
            await asyncio.to_thread(done.wait)

    async def ask(number: int) -> Any:
        try:
            async with asyncio.timeout(30):
                return await client.double.ask(number)
        finally:
            await client.app.stop()

    thread = threading.Thread(target=lambda: asyncio.run(work()))
    thread.start()
    try:
        assert ready.wait(30)
        assert [asyncio.run(ask(n)) for n in range(3)] == [0, 2, 4]
    finally:
        done.set()
        thread.join(30)


# -- settings ------------------------------------------------------------------------------


@pytest.mark.parametrize("client_only", [True, False])
async def test_reply_create_topic_makes_it_at_the_start(client_only: bool) -> None:
    calc = Calc(reply_create_topic=True, reply_to="replies-here", reply_expires=90)
    async with calc.app.test_context(client_only=client_only) as t:
        topic = t.broker.broker.topics.get("replies-here")
        assert topic is not None
        assert len(topic.partitions) == 1
        assert topic.config.overrides == {"retention.ms": "90000", "cleanup.policy": "delete"}


async def test_without_it_the_reply_topic_is_made_by_the_first_who_asks() -> None:
    calc = Calc(reply_to_prefix="answers-to-")
    assert calc.app.conf.reply_to.startswith("answers-to-")
    async with calc.app.test_context() as t:
        assert not t.broker.partitions(calc.app.conf.reply_to)
        await asyncio.gather(*(calc.double.ask(n) for n in range(5)))
        assert len(t.received(calc.app.conf.reply_to)) == 5
