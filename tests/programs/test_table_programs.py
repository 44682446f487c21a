"""Programs with tables, and what may become of their workers: a table is what was sent.

Each program lives through the same: a second and a third worker join and leave, all are stopped
and started again, one kills itself while its tables are filled, and then another with work in
hand. As long as nobody was killed who had done something, tables are replays of their
changelogs, and both are exactly the truth; then both are the same, and no less than it.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from faustc.client import Producer
from tests.process import Process
from tests.programs.conftest import MakeProgram, Program
from tests.programs.tables import changelog_of
from tests.programs.test_router import address_of, ask

HEAD = """\
from collections.abc import Set

app.config_from_object(dict(
    store=os.environ.get("STORE", "rocksdb://"), datadir=os.environ.get("HERE", "unused"),
    table_cleanup_interval=0.3, broker_heartbeat_interval=0.3, num_standby_replicas=STANDBYS,
    web_stats_enabled=True,
))

def plain(value):
    return sorted(value) if isinstance(value, Set) else value

def told(table):
    return [[key, plain(value)] for key, value in table.items()]

shown = []

@app.timer(0.2)
async def show():
    tables = json.dumps({name: told(table) for name, table in app.tables.items()})
    if shown != [tables]:
        shown[:] = [tables]
        print("TABLES", tables, flush=True)

source = app.topic(app.conf.id + "-source", partitions=4, **TYPES)
"""
TYPES = "TYPES = dict(key_type=str, value_type=int)\n"
ALONE = "STANDBYS = 0\n"
# The worker dies of it with a part of one changelog in one store, and nothing in the others.
# Sets read the changelog themselves, and write what it says.
DYING = """\
import os
import signal

from faustc.stores.rocksdb import RocksDBStore


class Dying(RocksDBStore):
    def load(self, batches):
        if super().load(list(batches)[:1]):
            os.kill(os.getpid(), signal.SIGKILL)
        return 0

    def write(self, changes, position):
        if not changes:
            return super().write(changes, position)
        some = list(changes.items())
        super().write(dict(some[: len(some) // 2 + 1]), self.position or 0)
        os.kill(os.getpid(), signal.SIGKILL)
"""
DAY = 86_400
# At noon: a second later, or before, is the same day.
NOON = 1_790_000_000 // DAY * DAY + DAY // 2
# Keys are text; of a window, and of a member of a set, JSON.
Tables = dict[str, dict[str, Any]]


def end_of(start: float, size: float) -> str:
    return json.dumps([start, start + size - 0.1])


class Kind:
    """A program, what is sent to it, and what its tables are then."""

    body: str
    tables: tuple[str, ...]

    def events(self, batch: int) -> Iterator[tuple[str, Any, float]]:
        """The key, value and time of each event of a batch."""
        raise NotImplementedError

    def add(self, truth: Tables, key: str, value: Any, at: float) -> None:
        """Add an event to what the tables are."""
        raise NotImplementedError

    def from_changelog(self, records: dict[str, Any]) -> dict[str, Any]:
        """What a table is whose changelog says this."""
        return records

    async def also(self, life: Life, *workers: Process) -> None:
        """What holds besides while the tables are exact."""

    def at_last(self, life: Life) -> None:
        """What holds besides after some were killed."""


class Words(Kind):
    """Words are counted by key, and anybody asks any worker for one."""

    tables = ("counts",)
    body = f"""\
{TYPES}{ALONE}{HEAD}
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

    def events(self, batch: int) -> Iterator[tuple[str, Any, float]]:
        return ((f"w{n % 37}", 1, time.time()) for n in range(200 + batch))

    def add(self, truth: Tables, key: str, value: Any, at: float) -> None:
        truth["counts"][key] = truth["counts"].get(key, 0) + value

    async def also(self, life: Life, *workers: Process) -> None:
        """Each worker answers for each word, wherever it is counted."""
        addresses = [address_of(worker) for worker in workers]
        pids = {worker.process.pid for worker in workers}
        wanted = life.truth["counts"]

        async def answered() -> bool:
            for address in addresses:
                answers = {word: ask(address, word) for word in wanted}
                assert {status for status, _ in answers.values()} <= {200, 503}, answers
                if {word: told.get("count") for word, (_, told) in answers.items()} != wanted:
                    return False
                if {told["pid"] for _, told in answers.values()} != pids:
                    return False
            return True

        await life.until(answered, *workers)


class Withdrawals(Kind):
    """Withdrawals come in any order, are grouped by who makes them, and added up by day."""

    tables = ("totals", "days")
    body = f"""\
class Withdrawal(faust.Record):
    user: str
    amount: int
    day: float

TYPES = dict(key_type=str, value_type=Withdrawal)
{ALONE}{HEAD}
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

    def events(self, batch: int) -> Iterator[tuple[str, Any, float]]:
        for n in range(150 + batch):
            one = {"user": f"u{n % 23}", "amount": n, "day": NOON + DAY * (n % 3)}
            yield f"{n}", one, time.time()

    def add(self, truth: Tables, key: str, value: Any, at: float) -> None:
        user, amount = value["user"], value["amount"]
        day = f'["{user}", {end_of(float(value["day"] - DAY // 2), DAY)}]'
        truth["totals"][user] = truth["totals"].get(user, 0) + amount
        truth["days"][day] = truth["days"].get(day, 0) + amount


class Closings(Kind):
    """Windows close once the time of the events has gone on, whoever has them then.

    The time is that of hours ago, and goes on with each batch: events are of a window of their
    own, and of that of the batch before, and by then those before that are over.
    """

    SIZE, STEP = 100, 1000
    tables = ("sums",)
    body = f"""\
{TYPES}{ALONE}{HEAD}
async def closed(key, value):
    print("CLOSED", json.dumps([key, value]), flush=True)

sums = app.Table(
    "sums", key_type=str, value_type=int, default=int, partitions=4, on_window_close=closed
).tumbling({SIZE}, expires={STEP + STEP // 2})

@app.agent(source)
async def add(stream):
    async for key, number in stream.items():
        sums[key] += number
"""

    def __init__(self) -> None:
        self.begins = int(time.time()) // self.SIZE * self.SIZE - 36_000
        self.over: dict[str, int] = {}

    def start(self, batch: int) -> float:
        return float(self.begins + batch * self.STEP)

    def events(self, batch: int) -> Iterator[tuple[str, Any, float]]:
        for n in range(148):
            yield f"w{n % 37}", n, self.start(max(0, batch - n % 2)) + n % self.SIZE

    def add(self, truth: Tables, key: str, value: Any, at: float) -> None:
        start = at // self.SIZE * self.SIZE
        name = f'["{key}", {end_of(start, self.SIZE)}]'
        truth["sums"][name] = truth["sums"].get(name, 0) + value
        for other in list(truth["sums"]):
            if json.loads(other)[1][0] < start - self.STEP:
                self.over[other] = truth["sums"].pop(other)

    def closed(self, life: Life) -> list[tuple[str, int]]:
        """What any worker was told of, as often as it was."""
        said = "".join(worker.output() for worker in life.app.started)
        told = [json.loads(text) for text in re.findall(r"^.*CLOSED (\[.*\])$", said, re.M)]
        return [(json.dumps(key), value) for key, value in told]

    async def also(self, life: Life, *workers: Process) -> None:
        """Each window that is over was closed by one worker, once, with all that was in it."""
        assert sorted(self.closed(life)) == sorted(self.over.items())

    def at_last(self, life: Life) -> None:
        most: dict[str, int] = {}
        for name, value in self.closed(life):
            most[name] = max(value, most.get(name, 0))
        assert most.keys() == self.over.keys()
        assert all(most[name] >= value for name, value in self.over.items())


class Visitors(Kind):
    """Who was where: a table of sets."""

    tables = ("visitors",)
    body = f"""\
TYPES = dict(key_type=str, value_type=str)
{ALONE}{HEAD}
visitors = app.SetTable("visitors", key_type=str, value_type=str, partitions=4)

@app.agent(source)
async def visit(stream):
    async for place, who in stream.items():
        visitors[place].add(who)
"""

    def events(self, batch: int) -> Iterator[tuple[str, Any, float]]:
        return ((f"p{n % 11}", f"v{n % 29}-{batch}", time.time()) for n in range(150))

    def add(self, truth: Tables, key: str, value: Any, at: float) -> None:
        truth["visitors"][key] = sorted({*truth["visitors"].get(key, ()), value})

    def from_changelog(self, records: dict[str, Any]) -> dict[str, Any]:
        sets: dict[str, list[str]] = {}
        for record in sorted(records):
            _, place, who = json.loads(record)
            sets.setdefault(place, []).append(who)
        return {place: sorted(members) for place, members in sets.items()}


class Sums(Kind):
    """Four partitions whose sums are known, each followed by a standby."""

    tables = ("sums",)
    body = f"""\
STANDBYS = 1
{TYPES}{HEAD}
sums = app.Table("sums", key_type=str, value_type=int, default=int, partitions=4)

@app.agent(source)
async def add(stream):
    async for key, number in stream.items():
        sums[key] += number
"""

    def events(self, batch: int) -> Iterator[tuple[str, Any, float]]:
        return ((f"s{n % 101}", n, time.time()) for n in range(500))

    def add(self, truth: Tables, key: str, value: Any, at: float) -> None:
        truth["sums"][key] = truth["sums"].get(key, 0) + value

    async def also(self, life: Life, *workers: Process) -> None:
        """Each partition is one worker's, and another one, if there is one, stands by for it."""
        source = f"{life.app.id}-source"

        async def stood_by() -> bool:
            told = [assignment_of(worker) for worker in workers]
            numbers = {
                kind: sorted(n for one in told for n in one[kind].get(source, ()))
                for kind in ("actives", "standbys")
            }
            every = [0, 1, 2, 3]
            return numbers == {"actives": every, "standbys": every if len(workers) > 1 else []}

        await life.until(stood_by, *workers)


class Life:
    """One program, its workers, and what was sent to it."""

    def __init__(self, app: Program, producer: Producer, kind: Kind) -> None:
        self.app = app
        self.producer = producer
        self.kind = kind
        self.truth: Tables = {name: {} for name in kind.tables}
        self.batches = 0
        app.write(DYING, "dying")

    def here(self, number: int) -> dict[str, str]:
        return {"HERE": str(self.app.folder / f"data-{number}")}

    def workers(self, *numbers: int) -> list[Process]:
        """Start workers, each with the folder of its number."""
        begun = [self.app.worker(environment=self.here(number)) for number in numbers]
        for worker in begun:
            worker.wait_for("Worker ready", 60)
        return begun

    def die_in_recovery(self, number: int) -> None:
        """Start a worker that is killed once it has a part of what its tables are filled with."""
        worker = self.app.worker(environment={**self.here(number), "STORE": "dying.Dying://"})
        assert worker.wait(60) == -signal.SIGKILL, worker.output()
        assert "Tables are whole" not in worker.output(), worker.output()

    async def feed(self) -> None:
        """Send some more events, and add them to the truth."""
        for key, value, at in self.kind.events(self.batches):
            raw = json.dumps(value).encode(), json.dumps(key).encode()
            await self.producer.send(f"{self.app.id}-source", *raw, timestamp_ms=int(at * 1000))
            self.kind.add(self.truth, key, value, at)
        self.batches += 1
        await self.producer.flush()

    async def until(self, true: Callable[[], Awaitable[bool]], *workers: Process) -> None:
        """Wait until something is so; fail with what workers say."""
        give_up = time.monotonic() + 90
        while not await true():
            if time.monotonic() > give_up:
                said = [re.sub(r".*TABLES .*\n", "", worker.output()) for worker in workers]
                told = "\n---\n".join([*said, *(str(told_by(worker)) for worker in workers)])
                raise AssertionError(f"{told}\nis not {self.truth}")
            await asyncio.sleep(0.05)

    async def shared(self, *workers: Process) -> None:
        """Wait until each has a part of each table."""

        async def all_have() -> bool:
            tables = [told_by(worker) for worker in workers]
            return all(some.get(name) for some in tables for name in self.truth)

        await self.until(all_have, *workers)

    async def exact(self, *workers: Process) -> None:
        """Wait until tables and changelogs are the truth, with no key at two workers."""

        async def is_exact() -> bool:
            return whole(self.truth, workers) == self.truth == await self.replay()

        await self.until(is_exact, *workers)
        await self.kind.also(self, *workers)

    async def no_less(self, *workers: Process) -> None:
        """Wait until nothing of the truth is missing; what was done may have been done twice."""

        async def is_no_less() -> bool:
            found = whole(self.truth, workers)
            if found is None or found != await self.replay():
                return False
            return all(
                found[name].keys() == wanted.keys()
                and all(found[name][key] >= value for key, value in wanted.items())
                for name, wanted in self.truth.items()
            )

        await self.until(is_no_less, *workers)
        self.kind.at_last(self)

    async def replay(self) -> Tables:
        """What the changelogs say."""
        return {
            name: self.kind.from_changelog(await changelog_of(self.app, name))
            for name in self.truth
        }

    def verify(self, *numbers: int) -> None:
        """Compare every store that workers left with its changelog."""
        command = [sys.executable, "-m", "faustc", "-A", self.app.module, "tables", "--verify"]
        begun = [
            subprocess.Popen(
                command,
                cwd=self.app.folder,
                env={**os.environ, **self.here(number)},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for number in numbers
        ]
        for process in begun:
            said, _ = process.communicate(timeout=60)
            assert process.returncode == 0, said
            assert "equal" in said


def told_by(worker: Process) -> Tables:
    """What a worker's tables were when it last told: values by key, of each."""
    told = re.findall(r"TABLES (\{.*\})$", worker.output(), re.M)
    tables: dict[str, list[Any]] = json.loads(told[-1]) if told else {}
    return {
        name: {key if isinstance(key, str) else json.dumps(key): value for key, value in pairs}
        for name, pairs in tables.items()
    }


def assignment_of(worker: Process) -> dict[str, dict[str, list[int]]]:
    """What a worker reads, and what it stands by for: kind, topic, partitions."""
    with urllib.request.urlopen(f"{address_of(worker)}/assignment/", timeout=30) as response:
        found: dict[str, dict[str, list[int]]] = json.load(response)
    return found


def whole(names: Tables, workers: tuple[Process, ...]) -> Tables | None:
    """What tables are at all workers together; None while a key is at two of them."""
    tables = [told_by(worker) for worker in workers]
    found: Tables = {}
    for name in names:
        parts = [some.get(name, {}) for some in tables]
        found[name] = {key: value for part in parts for key, value in part.items()}
        if sum(map(len, parts)) != len(found[name]):
            return None
    return found


@pytest.mark.parametrize("kind", [Words, Withdrawals, Closings, Visitors, Sums])
async def test_tables_are_the_truth_whatever_becomes_of_workers(
    program: MakeProgram, producer: Producer, kind: type[Kind]
) -> None:
    app = program(kind.body)
    life = Life(app, producer, kind())
    (one,) = life.workers(1)
    await life.feed()
    await life.exact(one)

    # A second and a third join, and leave
    (two,) = life.workers(2)
    await life.shared(one, two)
    await life.feed()
    await life.exact(one, two)
    (three,) = life.workers(3)
    await life.shared(one, two, three)
    await life.feed()
    await life.exact(one, two, three)
    assert three.terminate() == 0, three.output()
    assert two.terminate() == 0, two.output()
    await life.feed()
    await life.exact(one)

    # All stop, and one starts again
    assert one.terminate() == 0, one.output()
    life.verify(1, 2, 3)
    (one,) = life.workers(1)
    await life.exact(one)
    assert one.terminate() == 0, one.output()

    # One is killed while its tables are filled: it goes on with what it has, another comes, too
    life.die_in_recovery(4)
    one, two = life.workers(4, 2)
    await life.shared(one, two)
    await life.feed()
    await life.exact(one, two)
    app.assert_no_errors()

    # So is one that came to others, and one of those is killed with work in hand
    life.die_in_recovery(3)
    await life.feed()
    one.kill()
    one, three = life.workers(4, 3)
    await life.no_less(one, two, three)
    for worker in (one, two, three):
        assert worker.terminate() == 0, worker.output()
    life.verify(2, 3, 4)
