"""Programs with tables, and what may become of their workers: a table is what was sent.

Each program lives through the same: it is counted, a second and a third worker join and leave,
all are stopped and started again, one is killed, one is killed while its tables are filled. As
long as nobody was killed each table is exactly the truth, then it is no less; and whatever was
done, every store left behind is what its changelog says.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from faustc.client import Producer
from tests.process import Process
from tests.programs.conftest import MakeProgram, Program
from tests.programs.test_router import address_of, ask

HEAD = """\
from collections.abc import Set

app.config_from_object(dict(
    store="rocksdb://", datadir=os.environ.get("HERE", "unused"), table_cleanup_interval=0.5,
    table_standby_replicas=int(os.environ.get("STANDBYS", "0")),
))

def plain(value):
    return sorted(value) if isinstance(value, Set) else value

def told(table):
    return [[key, plain(value)] for key, value in table.items()]

@app.timer(0.3)
async def show():
    tables = {name: told(table) for name, table in app.tables.items()}
    print("TABLES", json.dumps(tables), flush=True)

source = app.topic(app.conf.id + "-source", partitions=4, **TYPES)
"""
TYPES = "TYPES = dict(key_type=str, value_type=int)\n"
# At the start of a day: a second later, or before, is the same window.
NOON = 1_790_000_000 // 86_400 * 86_400 + 43_200
Truth = dict[str, dict[str, Any]]


class Words:
    """Words are counted by key, and anybody asks any worker for one."""

    body = f"""\
{TYPES}{HEAD}
counts = app.Table("counts", key_type=str, value_type=int, default=int, partitions=4)

@app.agent(source)
async def count(stream):
    async for word, number in stream.items():
        counts[word] += number

@app.page("/count/{{word}}/")
@app.table_route(counts, match_info="word")
async def get_count(web, request, word):
    return web.json({{"count": counts[word], "pid": os.getpid()}})
"""

    def events(self, n: int) -> list[tuple[str, Any]]:
        return [(f"w{number % 37}", 1) for number in range(200 + n)]

    def add(self, truth: Truth, key: str, value: Any) -> None:
        counts = truth.setdefault("counts", Counter())
        counts[key] += value


class Withdrawals:
    """Withdrawals come in any order, are grouped by who makes them, and added up by day."""

    body = f"""\
class Withdrawal(faust.Record):
    user: str
    amount: int
    day: float

TYPES = dict(key_type=str, value_type=Withdrawal)
{HEAD}
totals = app.Table("totals", key_type=str, value_type=int, default=int, partitions=4)
days = app.Table("days", key_type=str, value_type=int, default=int, partitions=4).tumbling(
    86_400
).relative_to_field(Withdrawal.day)

@app.agent(source)
async def add(stream):
    async for one in stream.group_by(Withdrawal.user, partitions=4):
        totals[one.user] += one.amount
        days[one.user] += one.amount
"""

    def events(self, n: int) -> list[tuple[str, Any]]:
        return [
            (
                f"{number}",
                {
                    "user": f"u{number % 23}",
                    "amount": number,
                    "day": NOON + 86_400 * (number % 3),
                },
            )
            for number in range(150 + n)
        ]

    def add(self, truth: Truth, key: str, value: Any) -> None:
        totals = truth.setdefault("totals", Counter())
        totals[value["user"]] += value["amount"]
        days = truth.setdefault("days", Counter())
        start = value["day"] - 43_200.0
        days[json.dumps([value["user"], [start, start + 86_400 - 0.1]])] += value["amount"]


class Visitors:
    """Who was where: a table of sets."""

    body = f"""\
TYPES = dict(key_type=str, value_type=str)
{HEAD}
visitors = app.SetTable("visitors", key_type=str, value_type=str, partitions=4)

@app.agent(source)
async def visit(stream):
    async for place, who in stream.items():
        visitors[place].add(who)
"""

    def events(self, n: int) -> list[tuple[str, Any]]:
        return [(f"p{number % 11}", f"v{number % 29}-{n}") for number in range(150)]

    def add(self, truth: Truth, key: str, value: Any) -> None:
        visitors = truth.setdefault("visitors", {})
        visitors[key] = sorted({*visitors.get(key, ()), value})


class Sums(Words):
    """Four partitions whose sums are known, each followed by a standby."""

    body = f"""\
os.environ["STANDBYS"] = "1"
{TYPES}{HEAD}
sums = app.Table("sums", key_type=str, value_type=int, default=int, partitions=4)

@app.agent(source)
async def add(stream):
    async for key, number in stream.items():
        sums[key] += number
"""

    def events(self, n: int) -> list[tuple[str, Any]]:
        return [(f"s{number % 101}", number) for number in range(500)]

    def add(self, truth: Truth, key: str, value: Any) -> None:
        sums = truth.setdefault("sums", Counter())
        sums[key] += value


class Life:
    """One program, its workers, and what was sent to it."""

    def __init__(self, app: Program, producer: Producer, kind: Any) -> None:
        self.app = app
        self.producer = producer
        self.kind = kind
        self.truth: Truth = {}
        self.batches = 0

    def worker(self, number: int) -> Process:
        """Start a worker that has a folder of its own."""
        worker = self.app.worker(environment=self.here(number))
        worker.wait_for("Worker ready", 60)
        return worker

    def here(self, number: int) -> dict[str, str]:
        return {"HERE": str(self.app.folder / f"data-{number}")}

    async def feed(self) -> None:
        """Send some more events, and add them to the truth."""
        for key, value in self.kind.events(self.batches):
            await self.producer.send(
                f"{self.app.id}-source", json.dumps(value).encode(), json.dumps(key).encode()
            )
            self.kind.add(self.truth, key, value)
        self.batches += 1
        await self.producer.flush()

    def until(self, true: Callable[[], bool], *workers: Process) -> None:
        """Wait until something is so; fail with what workers say."""
        give_up = time.monotonic() + 90
        while not true():
            if time.monotonic() > give_up:
                said = [re.sub(r".*TABLES .*\n", "", worker.output()) for worker in workers]
                told = "\n---\n".join([*said, *(str(told_by(worker)) for worker in workers)])
                raise AssertionError(f"{told}\nis not {self.truth}")
            time.sleep(0.1)

    def is_exact(self, *workers: Process) -> bool:
        """Whether the tables of these are the truth, with no key at two of them."""
        tables = [told_by(worker) for worker in workers]
        for name, wanted in self.truth.items():
            parts = [some.get(name, {}) for some in tables]
            whole = {key: value for part in parts for key, value in part.items()}
            if whole != wanted or sum(map(len, parts)) != len(whole):
                return False
        return all(len(some) >= len(self.truth) for some in tables)

    def is_no_less(self, *workers: Process) -> bool:
        """Whether nothing of the truth is missing; what a killed worker did may be there twice."""
        tables = [told_by(worker) for worker in workers]
        for name, wanted in self.truth.items():
            parts = [some.get(name, {}) for some in tables]
            whole = {key: value for part in parts for key, value in part.items()}
            if whole.keys() != wanted.keys() or sum(map(len, parts)) != len(whole):
                return False
            for key, value in wanted.items():
                enough = whole[key] == value if isinstance(value, list) else whole[key] >= value
                if not enough:
                    return False
        return True

    def verify(self, *numbers: int) -> None:
        """Compare every store that workers left with its changelog."""
        for number in numbers:
            done = subprocess.run(
                [sys.executable, "-m", "faustc", "-A", self.app.module, "tables", "--verify"],
                cwd=self.app.folder,
                env={**os.environ, **self.here(number)},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert done.returncode == 0, done.stdout + done.stderr
            assert "equal" in done.stdout


def told_by(worker: Process) -> Truth:
    """What a worker's tables were when it last told: values by key, of each."""
    told = re.findall(r"TABLES (\{.*\})$", worker.output(), re.M)
    tables: dict[str, list[Any]] = json.loads(told[-1]) if told else {}
    return {
        name: {key if isinstance(key, str) else json.dumps(key): value for key, value in pairs}
        for name, pairs in tables.items()
    }


def has_a_part(worker: Process) -> bool:
    return any(told_by(worker).values())


@pytest.mark.parametrize("kind", [Words, Withdrawals, Visitors, Sums])
async def test_tables_are_the_truth_whatever_becomes_of_workers(
    program: MakeProgram, producer: Producer, kind: Any
) -> None:
    app = program(kind.body)
    life = Life(app, producer, kind())
    one = life.worker(1)
    await life.feed()
    life.until(lambda: life.is_exact(one), one)

    # A second and a third join, and leave
    two, three = life.worker(2), life.worker(3)
    life.until(lambda: all(map(has_a_part, (one, two, three))), one, two, three)
    await life.feed()
    life.until(lambda: life.is_exact(one, two, three), one, two, three)
    if kind is Words:
        workers = (one, two, three)
        answers = [ask(address_of(worker), "w5") for worker in workers]
        assert answers[0] == answers[1] == answers[2]
        status, answer = answers[0]
        assert (status, answer["count"]) == (200, life.truth["counts"]["w5"])
        assert answer["pid"] in {worker.process.pid for worker in workers}
    assert three.terminate() == 0, three.output()
    assert two.terminate() == 0, two.output()
    await life.feed()
    life.until(lambda: life.is_exact(one), one)

    # All stop, and one starts again
    assert one.terminate() == 0, one.output()
    life.verify(1, 2, 3)
    one = life.worker(1)
    life.until(lambda: life.is_exact(one), one)
    app.assert_no_errors()

    # One is killed with work in hand, and then another while its tables are filled
    two = life.worker(2)
    life.until(lambda: has_a_part(two), one, two)
    await life.feed()
    one.kill()
    life.until(lambda: life.is_no_less(two), two)
    filling = app.worker(environment=life.here(3))
    filling.wait_until(lambda: "Assigned:" in filling.output(), "an assignment", 60)
    filling.kill()
    one = life.worker(1)
    await life.feed()
    life.until(lambda: life.is_no_less(one, two), one, two)
    assert one.terminate() == 0, one.output()
    life.until(lambda: life.is_no_less(two), two)
    assert two.terminate() == 0, two.output()
    life.verify(1, 2)


CLOSING = f"""\
{TYPES}{HEAD}
async def closed(key, value):
    print("CLOSED", json.dumps([key, value]), flush=True)

sums = app.Table(
    "sums", key_type=str, value_type=int, default=int, partitions=4, on_window_close=closed
).tumbling(5.0, expires=8.0)

@app.agent(source)
async def add(stream):
    async for key, number in stream.items():
        sums[key] += number
"""


async def test_each_window_is_closed_once_wherever_it_is_then(
    program: MakeProgram, producer: Producer
) -> None:
    """Windows that are open while workers join, leave and start again close with all in them."""
    app = program(CLOSING)
    life = Life(app, producer, Words())
    sent: Counter[tuple[str, float]] = Counter()
    began = time.time()

    async def feed() -> None:
        for key, value in life.kind.events(0):
            now = time.time()
            raw = json.dumps(value).encode(), json.dumps(key).encode()
            await producer.send(f"{app.id}-source", *raw, timestamp_ms=int(now * 1000))
            sent[key, int(now * 1000) / 1000 // 5 * 5] += value
        await producer.flush()

    one = life.worker(1)
    await feed()
    two = life.worker(2)
    life.until(lambda: has_a_part(two), one, two)
    await feed()
    assert one.terminate() == 0, one.output()
    await feed()
    three = life.worker(3)
    life.until(lambda: has_a_part(three), two, three)
    await feed()
    workers = (one, two, three)

    def closed() -> list[tuple[tuple[str, float], int]]:
        found = []
        for worker in workers:
            for text in re.findall(r"CLOSED (\[.*\])$", worker.output(), re.M):
                (key, (start, _)), value = json.loads(text)
                found.append(((key, start), value))
        return found

    life.until(lambda: len(closed()) >= len(sent), *workers)
    assert sorted(closed()) == sorted(sent.items()), f"after {time.time() - began:.0f} s"
    life.until(lambda: not has_a_part(two) and not has_a_part(three), two, three)
    for worker in (two, three):
        assert worker.terminate() == 0, worker.output()
    app.assert_no_errors()
