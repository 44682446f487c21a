"""Agents as whole programs: hello world, a task queue, bound agents, partitions for themselves."""

from __future__ import annotations

import re
import signal
from collections import Counter

from faustc.client import Producer
from tests.programs.conftest import MakeProgram

HELLO = """
greetings = app.topic(app.conf.id + "-greetings", value_type=str)

@app.agent(greetings)
async def print_greetings(greetings):
    async for greeting in greetings:
        print("greeted:", greeting, flush=True)

@app.timer(interval=0.3)
async def produce():
    for i in range(3):
        await greetings.send(value=f"hello {i}")
"""


def test_hello_world(program: MakeProgram) -> None:
    app = program(HELLO)
    worker = app.ready_worker()
    for number in range(3):
        worker.wait_for(f"greeted: hello {number}")
    assert worker.terminate() == 0, worker.output()
    app.assert_no_errors()


QUEUE = """
class Mail(faust.Record):
    to: str
    number: int

mails = app.topic(app.conf.id + "-mails", value_type=Mail)

@app.agent(mails, concurrency=8, order="key", on_failure=faust.Retry(2, backoff=0.05))
def send_mail(mail):                 # a plain function: in threads
    time.sleep(0.01)
    if mail.number % 50 == 7 and mail.number not in tried:
        tried.add(mail.number)
        raise OSError("the server is busy")
    print(f"sent {mail.number} to {mail.to}", flush=True)

tried = set()

@app.command(faust.cli.option("--count", type=int, default=200))
async def enqueue(self, count):
    for number in range(count):
        to = f"user{number % 10}"
        await mails.send(key=to, value=Mail(to, number))
    await app.producer.flush()
    self.say("queued")
"""


def test_a_task_queue_does_every_task_once_and_keeps_the_order_of_each_key(
    program: MakeProgram,
) -> None:
    app = program("import faustc.cli\n" + QUEUE)
    assert "queued" in app.command("enqueue", "--count", "200")
    worker = app.ready_worker()
    worker.wait_until(lambda: worker.output().count("sent ") >= 200, "200 mails")
    assert worker.terminate() == 0, worker.output()
    sent = [(to, int(n)) for n, to in re.findall(r"sent (\d+) to (\w+)", worker.output())]
    assert Counter(n for _, n in sent) == Counter(range(200))
    for user in {to for to, _ in sent}:
        numbers = [n for to, n in sent if to == user]
        assert numbers == sorted(numbers)
    # when another worker starts, then nothing is left for it
    again = app.ready_worker()
    app.command("enqueue", "--count", "1")
    again.wait_for("sent 0 to user0")
    assert again.terminate() == 0
    assert again.output().count("sent ") == 1


BOUND = """
from functools import partial

class Account:
    def __init__(self, name):
        self.name, self.total = name, 0

    async def add(self, amounts):
        async for amount in amounts:
            self.total += amount
            print(f"{self.name} has {self.total}", flush=True)

async def scaled(factor, amounts):
    async for amount in amounts:
        print(f"scaled {amount * factor}", flush=True)

amounts = app.topic(app.conf.id + "-amounts", value_type=int, partitions=1)
app.agent(amounts, name="one")(Account("one").add)
app.agent(amounts, name="two")(Account("two").add)
app.agent(amounts, name="scaled")(partial(scaled, 10))
"""


def test_bound_and_partial_agents(program: MakeProgram) -> None:
    app = program(BOUND)
    worker = app.ready_worker()
    for amount in (1, 2, 3):
        app.command("send", f"{app.id}-amounts", str(amount))
    for said in ("one has 6", "two has 6", "scaled 10", "scaled 20", "scaled 30"):
        worker.wait_for(said)
    assert worker.terminate() == 0
    app.assert_no_errors()


ISOLATED = """
numbers = app.topic(app.conf.id + "-numbers", value_type=int, partitions=4)

@app.agent(numbers, isolated_partitions=True)
async def per_partition(stream):
    [tp] = stream.active_partitions
    total = 0
    async for number in stream:
        if number < 0:
            raise ValueError("below zero")
        total += number
        print(f"partition {tp.partition}: {total}", flush=True)
"""


async def test_a_crash_in_one_isolated_partition_disturbs_no_other(
    program: MakeProgram, producer: Producer
) -> None:
    app = program(ISOLATED)
    worker = app.ready_worker()
    topic = f"{app.id}-numbers"
    for partition in range(4):
        for value in (b"1", b"2", b"-1" if partition == 2 else b"3", b"4"):
            await producer.send_and_wait(topic, value, partition=partition)
    for partition in (0, 1, 3):
        worker.wait_for(f"partition {partition}: 10")
    worker.wait_for("partition 2: 4")  # it began anew behind the one that failed
    assert f"raised on {topic}/2 offset 2: ValueError" in worker.output()
    assert worker.output().count("raised on") == 1
    assert worker.terminate() == 0


CRASHING = """
orders = app.topic(app.conf.id + "-orders", value_type=int, partitions=1)

@app.agent(orders, {policy})
async def take(stream):
    async for order in stream:
        if order == 13 and not os.path.exists("fixed"):
            raise ValueError("thirteen")
        print(f"took {{order}}", flush=True)
"""


async def _crash(program: MakeProgram, producer: Producer, policy: str) -> None:
    app = program(CRASHING.format(policy=policy))
    worker = app.ready_worker()
    topic = f"{app.id}-orders"
    await producer.send_and_wait(topic, b"1", partition=0)
    worker.wait_for("took 1")
    await producer.send_and_wait(topic, b"13", partition=0)
    assert worker.wait() == 1, worker.output()
    assert "thirteen" in worker.output()
    # given that somebody mended it, when it is started again, then the event is there
    (app.folder / "fixed").touch()
    again = app.ready_worker()
    again.wait_for("took 13")
    assert again.terminate() == 0


async def test_the_crashing_supervisor_ends_the_worker_and_loses_nothing(
    program: MakeProgram, producer: Producer
) -> None:
    await _crash(program, producer, 'supervisor_strategy="mode.CrashingSupervisor"')


async def test_the_crash_policy_ends_the_worker_and_loses_nothing(
    program: MakeProgram, producer: Producer
) -> None:
    await _crash(program, producer, 'on_failure="crash"')


DEAD = """
orders = app.topic(app.conf.id + "-orders", value_type=int, partitions=1)

@app.agent(orders, on_failure=faust.DeadLetter(app.conf.id + "-dead"))
async def take(stream):
    async for order in stream:
        if order == 13:
            raise ValueError("thirteen")
        print(f"took {order}", flush=True)

@app.agent(app.topic(app.conf.id + "-dead", value_type=bytes))
async def bury(letters):
    async for event in letters.events():
        headers = {name: value.decode() for name, value in event.headers.items()}
        place = headers["faustc-offset"]
        print("dead:", event.value, place, headers["faustc-exception"], flush=True)
"""


async def test_dead_letters_arrive_even_after_kill_9(
    program: MakeProgram, producer: Producer
) -> None:
    app = program(DEAD)
    worker = app.ready_worker()
    topic = f"{app.id}-orders"
    for value in (b"1", b"13", b"{broken", b"2"):
        await producer.send_and_wait(topic, value, partition=0)
    worker.wait_for("took 2")
    worker.process.send_signal(signal.SIGKILL)
    worker.wait()
    again = app.ready_worker()
    both = "".join
    again.wait_until(
        lambda: (
            "1 ValueError: thirteen" in both([worker.output(), again.output()])
            and "2 ValueDecodeError" in both([worker.output(), again.output()])
        ),
        "both dead letters",
    )
    assert again.terminate() == 0
