"""Streams as whole programs, on both brokers: group_by, and a join over two workers."""

from __future__ import annotations

import re

from faustc.client import Producer
from tests.process import Process
from tests.programs.conftest import MakeProgram

GROUPED = """
class Order(faust.Record):
    account: str
    amount: int

orders = app.topic(app.conf.id + "-orders", value_type=Order)

@app.agent(orders, name="count")
async def count(stream):
    seen = {}
    async for order in stream.group_by(Order.account):
        seen[order.account] = seen.get(order.account, 0) + order.amount
        event = faust.current_event()
        print(f"{order.account} {seen[order.account]} of {event.message.partition}", flush=True)
"""


async def test_group_by_brings_each_key_to_one_partition_and_loses_nothing(
    program: MakeProgram, producer: Producer
) -> None:
    app = program(GROUPED)
    topic = f"{app.id}-orders"

    def said(worker: Process) -> list[tuple[str, str]]:
        return re.findall(r"stdout: (a\d+) \d+ of (\d)$", worker.output(), re.M)

    async def send(count: int) -> None:
        # Spread by hand: a key's orders come from every partition.
        for number in range(count):
            value = b'{"account": "a%d", "amount": 1}' % (number % 16)
            await producer.send(topic, value, partition=number % 3)
        await producer.flush()

    worker = app.ready_worker()
    await send(160)
    worker.wait_until(lambda: len(said(worker)) >= 160, "160 orders")
    assert worker.terminate() == 0, worker.output()
    places = set(said(worker))
    assert len(places) == 16, "a key was seen in two partitions"
    assert len({partition for _, partition in places}) > 1
    # when another worker goes on, then it sees what is new, once, in the same places
    again = app.ready_worker()
    await send(32)
    again.wait_until(lambda: len(said(again)) >= 32, "32 orders")
    assert again.terminate() == 0, again.output()
    assert len(said(again)) == 32
    assert set(said(again)) == places
    app.assert_no_errors()


JOINED = """
class Click(faust.Record):
    user: str
    page: str

class View(faust.Record):
    user: str
    ad: str

clicks = app.topic(app.conf.id + "-clicks", key_type=str, value_type=Click, partitions=4)
views = app.topic(app.conf.id + "-views", key_type=str, value_type=View, partitions=4)

@app.agent(clicks, name="match")
async def match(stream):
    both = stream & views.stream()
    async for click, view in both.join(Click.user, View.user, within=60):
        print(f"matched {click.user} {click.page} {view.ad}", flush=True)

@app.command()
async def fill(self):
    for number in range(20):
        user = f"u{number}"
        await views.send(key=user, value=View(user, f"ad{number}"))
        await clicks.send(key=user, value=Click(user, f"page{number}"))
    await app.producer.flush()
"""


def test_a_join_of_two_topics_over_two_workers(program: MakeProgram) -> None:
    app = program(JOINED)
    workers = [app.ready_worker(), app.ready_worker()]
    for worker in workers:
        worker.wait_until(lambda worker=worker: f"{app.id}-views/" in worker.output(), "its views")
    app.command("fill")

    def matched() -> set[str]:
        return {
            one for w in workers for one in re.findall(r"stdout: (matched .*)$", w.output(), re.M)
        }

    workers[0].wait_until(lambda: len(matched()) >= 20, "all matches")
    assert matched() == {f"matched u{n} page{n} ad{n}" for n in range(20)}
    for worker in workers:
        assert worker.terminate() == 0, worker.output()
    app.assert_no_errors()
