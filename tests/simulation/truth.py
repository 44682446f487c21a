"""The ledger of a run: what went in, what user code had, what came out, and what must hold of it.

Each check names the invariant of the guarantees that it is for. The first that fails ends the run.
"""

from __future__ import annotations

import asyncio
import bisect
import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from faustc.broker.broker import Broker
from faustc.types import TopicPartition
from tests.simulation.feed import TOPIC, Event, Feed
from tests.simulation.lives import Life
from tests.simulation.logs import Logs, Written
from tests.simulation.scenario import Scenario

__all__ = ["GROUP", "RETRIES", "Truth", "Violation"]

GROUP = "sim"
CHANGELOG = f"{GROUP}-counts-changelog"
RETRIES = 2


class Violation(AssertionError):
    """Something that must hold does not."""


class Truth:
    """Told of all that happens; `violations` is what must not have happened."""

    def __init__(self, scenario: Scenario, broker: Broker, feed: Feed) -> None:
        self.scenario = scenario
        self.exactly_once = scenario.guarantee == "exactly_once"
        self._feed = feed
        self._broker = broker
        self.violations: list[str] = []
        self.trace: list[str] = []
        self._clock = lambda: broker.loop.time()
        self.out = Logs(broker, "out")
        self.dead = Logs(broker, "dead")
        self.changelog = Logs(broker, CHANGELOG)
        self._outs: Counter[tuple[int, int]] = Counter()
        self._beyond: dict[TopicPartition, set[int]] = {}  # done, and not passed by the offset
        self._fresh: list[int] = []  # events whose outputs have come since the last commit
        self._letters: Counter[tuple[TopicPartition, int]] = Counter()
        self._values: dict[tuple[int, bytes], list[tuple[int, bytes | None]]] = {}
        # Of events, by life and place, with the ledger they are of.
        self._in_hand: dict[tuple[Life, TopicPartition, int], Any] = {}
        self._failures: Counter[tuple[Life, TopicPartition, int]] = Counter()
        self.producers: dict[int, str] = {}  # the lives that producer ids were given to
        #: Partitions of the table that somebody wrote to whose they were no more.
        self.haunted: set[int] = set()
        self._begun: Counter[tuple[TopicPartition, int]] = Counter()
        self.finished: Counter[tuple[TopicPartition, int]] = Counter()
        self.given_up: Counter[tuple[TopicPartition, int]] = Counter()
        self.owned: dict[tuple[Life, TopicPartition], int] = {}  # from which offset on
        self._owner: dict[TopicPartition, Life] = {}  # who was the last to be given it
        self.committed: dict[TopicPartition, int] = {}
        self._passed: dict[TopicPartition, Counter[str]] = {}
        self.acked: list[tuple[str, Any]] = []  # attempts, and where brokers said they are
        self._attempts = 0

    # -- telling

    def note(self, what: str) -> None:
        """Write a line of what the run was."""
        self.trace.append(f"{self._clock():.6f} {what}")

    def fail(self, invariant: str, what: str) -> None:
        """Note that something does not hold."""
        self.violations.append(f"{invariant}: {what}")
        self.note(f"VIOLATION {invariant}: {what}")

    def check(self) -> None:
        """Raise what was found so far."""
        if self.violations:
            raise Violation("\n".join(self.violations[:5]))

    def event_at(self, tp: TopicPartition, offset: int) -> Event | None:
        """Return the event of a place, None where user code is to see none."""
        found = self._feed.events[tp].get(offset)
        if found is None and not self.exactly_once:
            found = self._feed.aborted[tp].get(offset)  # it reads uncommitted
        return found

    def visible(self) -> list[Event]:
        """Return all events that user code is to see."""
        found = [e for events in self._feed.events.values() for e in events.values()]
        if not self.exactly_once:
            found += [e for events in self._feed.aborted.values() for e in events.values()]
        return found

    # -- what workers own

    def assigned(self, life: Life, partitions: Any) -> None:
        """Partitions are being given to a worker."""
        self.note(f"{life.name} assigned {_names(partitions)}")
        for tp in partitions:
            if tp.topic == TOPIC:
                self.owned[life, tp] = self.committed.get(tp, 0)
                self._owner[tp] = life

    def revoked(self, life: Life, partitions: Any, how: str) -> None:
        """Partitions have been taken from a worker, and it has said that it is done with them."""
        self.note(f"{life.name} {how} {_names(partitions)}")
        for tp in partitions:
            self.owned.pop((life, tp), None)

    def died(self, life: Life) -> None:
        """A worker is gone, by itself or not: nothing of it is in hand any more."""
        for key in [key for key in self._in_hand if key[0] is life]:
            del self._in_hand[key]
        for key in [key for key in self.owned if key[0] is life]:
            del self.owned[key]

    def appended(self, tp: TopicPartition, producer_id: int) -> None:
        """Something was written to a partition."""
        if tp.topic != CHANGELOG or tp.partition in self.haunted or self.exactly_once:
            return
        name = self.producers.get(producer_id)
        source = TopicPartition(TOPIC, tp.partition)
        owner = self._owner.get(source)
        if owner is None or owner.name != name or (owner, source) not in self.owned:
            # At least once nothing keeps what was sent before a worker lost a partition from
            # arriving after the next one has read the changelog: counts may go back.
            self.note(f"{name} writes to {tp.topic}/{tp.partition}, which is not its own any more")
            self.haunted.add(tp.partition)

    # -- user code

    def begin(self, life: Life, tp: TopicPartition, offset: int, ledger: Any) -> Event | None:
        """User code was given an event; return what it is, None if it should not have been."""
        place = f"{tp.topic}/{tp.partition}@{offset}"
        if life.dead:
            return None
        self.note(f"{life.name} begins {place}")
        if (life, tp) not in self.owned:
            self.fail("I8", f"{life.name} was given {place} after its revoke")
        elif ledger.closed:
            self.fail("I8", f"{life.name} was given {place} of an assignment that is over")
        elif offset < self.owned[life, tp]:
            began = self.owned[life, tp]
            self.fail("I8", f"{life.name} was given {place}, below {began} where it had to begin")
        event = self.event_at(tp, offset)
        if event is None:
            self.fail("I3", f"{life.name} was given {place}, which nobody is to see")
        self._in_hand[life, tp, offset] = ledger
        self._begun[tp, offset] += 1
        return event

    def end(self, life: Life, event: Event, failed: bool = False) -> None:
        """User code is done with an event, or has failed with it."""
        if life.dead:
            return
        place = (event.tp, event.offset)
        self.note(
            f"{life.name} {'fails' if failed else 'ends'} {event.tp.partition}@{event.offset}"
        )
        if failed and self.scenario.policy == "retry":
            # A worker goes on counting where a partition was lost and comes back.
            self._failures[life, *place] += 1
            if self._failures[life, *place] <= RETRIES:
                return  # it comes again, and is in hand until then
        self._in_hand.pop((life, *place), None)
        (self.given_up if failed else self.finished)[place] += 1

    def attempt(self, life: Life) -> str:
        """Return a name for one send: who sends, and which of its sends it is."""
        self._attempts += 1
        task = asyncio.current_task()
        assert task is not None
        return f"{life.name} {task.get_name()}:{self._attempts}"

    # -- logs

    def read(self) -> None:
        """Take in what was written since the last time."""
        for message in self.out.read():
            said = json.loads(message.value or b"null")
            self._outs[said["id"], said["n"]] += 1
            self._fresh.append(said["id"])
        for message in self.dead.read():
            place = (message.headers["faustc-partition"], message.headers["faustc-offset"])
            number, offset = (int(text or b"-1") for text in place)
            self._letters[TopicPartition(TOPIC, number), offset] += 1
        for message in self.changelog.read():
            assert message.key is not None
            values = self._values.setdefault((message.tp.partition, message.key), [])
            bisect.insort(values, (message.offset, message.value), key=lambda one: one[0])

    def replayed(self, partition: int) -> dict[bytes, bytes]:
        """Return what a changelog comes to."""
        return {
            key: value
            for (number, key), values in self._values.items()
            if number == partition and (value := values[-1][1]) is not None
        }

    def may_hold(self, partition: int, data: Mapping[bytes, bytes], position: int) -> str:
        """Say what a store at a position must not hold; empty if all is right (I7).

        After a crash values may be newer than the position, never older.
        """
        for (number, key), values in self._values.items():
            if number == partition:
                at = bisect.bisect_left(values, position, key=lambda one: one[0])
                right = [value for _, value in values[max(at - 1, 0) :]]
                if at == 0:
                    right.append(None)
                if data.get(key) not in right:
                    return f"{key!r} is {data.get(key)!r}, right are {right[:3]}"
        known = {key for number, key in self._values if number == partition}
        return f"{data.keys() - known} are unknown" if data.keys() - known else ""

    def counted(self, partition: int, key: str) -> int:
        """Return the count of a key, as the changelog has it."""
        values = self._values.get((partition, json.dumps(key).encode()))
        value = values[-1][1] if values else None
        return 0 if value is None else int(value)

    def stored(self, tp: TopicPartition, changes: Mapping[bytes, Any], position: int) -> None:
        """A durable store is written: it must not get ahead of the changelog (I7)."""
        self.read()
        partition = self._broker.partition(*tp)
        if partition is None or position > partition.log_end:
            self.fail("I7", f"a store of {tp} claims position {position}, behind the end")
        for key, value in changes.items():
            values = self._values.get((tp.partition, key), [])
            at = bisect.bisect_left(values, position, key=lambda one: one[0])
            right = [value for _, value in values[max(at - 1, 0) :]]
            if value not in right:
                self.fail("I7", f"a store of {tp} holds {key!r}={value!r}, its changelog {right}")

    # -- commits

    def held(self, life: Life | None, member: str, offsets: Mapping[TopicPartition, Any]) -> None:
        """Offsets have reached the broker, for the end of a transaction."""
        for tp, kept in sorted(offsets.items()):
            self.note(
                f"{member.split('-')[0]} would commit {tp.topic}/{tp.partition} {kept.offset}"
            )
            if life is not None and (life, tp) not in self.owned:
                self.fail("I8", f"{life.name} would commit {tp} {kept.offset} after its revoke")

    def commit(self, life: Life | None, member: str, offsets: Mapping[TopicPartition, Any]) -> None:
        """A commit has reached the broker."""
        self.read()
        for tp, committed in sorted(offsets.items()):
            offset = committed.offset
            self.note(f"{member.split('-')[0]} commits {tp.topic}/{tp.partition} {offset}")
            before = self.committed.get(tp, 0)
            if offset < before:
                self.fail("I5", f"{member} commits {offset} of {tp}, {before} was committed")
                continue
            if life is not None and (life, tp) not in self.owned and not self.exactly_once:
                self.fail("I8", f"{life.name} commits {tp} {offset} after its revoke")
            partition = self._broker.partition(*tp)
            if partition is not None and offset > partition.log_end:
                self.fail("I5", f"{member} commits {offset} of {tp}, behind the end of the log")
            for at in range(before, offset):
                event = self.event_at(tp, at)
                if event is not None:
                    self._passes(life, event, offset)
            self.committed[tp] = offset
            self._beyond[tp] = _done(offset, committed.metadata or "")

    def ended(self, name: str) -> None:
        """A transaction was committed: what it shows is of events that it passes (I4)."""
        self.read()
        by_id = {event.id: event for event in self.visible()}
        for number in self._fresh:
            event = by_id[number]
            at = self.committed.get(event.tp, 0)
            if event.offset >= at and event.offset not in self._beyond.get(event.tp, ()):
                self.fail("I4", f"{name} commits {at} of {event.tp}, and outputs of {event}")
        self._fresh.clear()

    def _passes(self, life: Life | None, event: Event, offset: int) -> None:
        """Check that a commit may pass an event: all that it had to cause is there."""
        place = (event.tp, event.offset)
        what = f"{life.name if life else '?'} commits {offset}, past {event}"
        ledger = self._in_hand.get((life, *place)) if life is not None else None
        if ledger is not None and not ledger.closed:
            self.fail("I5", f"{what}, which is in hand")
        why = self.lacking(event)
        if why:
            self.fail("I5", f"{what}: {why}")
        if event.counts:
            assert event.key is not None
            passed = self._passed.setdefault(event.tp, Counter())
            passed[event.key] += 1
            there = self.counted(event.tp.partition, event.key)
            if there < passed[event.key] and event.tp.partition not in self.haunted:
                self.fail(
                    "I6", f"{what}: {passed[event.key]} events of {event.key} passed, "
                    f"{there} counted in the changelog"
                )  # fmt: skip

    def lacking(self, event: Event) -> str:
        """Say what an event has not caused yet; empty if all is there (I2, I13)."""
        place = (event.tp, event.offset)
        missing = [n for n in range(event.fan) if not self._outs[event.id, n]]
        if missing:
            return f"its outputs {missing} are missing"
        if event.shape in ("poison", "undecodable"):
            if self.scenario.policy == "dead" and not self._letters[place]:
                return "its dead letter is missing"
            if event.shape == "poison" and not self.given_up[place]:
                return "it did not fail for good"
            return ""
        return "" if self.finished[place] else "user code is not done with it"

    # -- at the end

    def drained(self) -> str:
        """Say what is left to do; empty when everything was read and committed."""
        for tp in self._feed.events:
            partition = self._broker.partition(*tp)
            assert partition is not None
            if self.committed.get(tp, 0) < partition.log_end:
                at = self.committed.get(tp, 0)
                return f"{tp.topic}/{tp.partition} is committed up to {at} of {partition.log_end}"
        return ""

    def final(self) -> None:
        """Check what must hold once everything is drained."""
        self.read()
        for event in self.visible():
            why = self.lacking(event)
            if why:
                self.fail("I2", f"{event}: {why}")
        self._check_counts()
        self._check_attempts()
        if self.exactly_once:
            self._check_exactly_once()
        self.check()

    def _check_counts(self) -> None:
        truth: Counter[tuple[int, str]] = Counter()
        most: Counter[tuple[int, str]] = Counter()
        for event in self.visible():
            if event.counts:
                assert event.key is not None
                truth[event.tp.partition, event.key] += 1
                most[event.tp.partition, event.key] += self._begun[event.tp, event.offset]
        for (partition, key), count in truth.items():
            there = self.counted(partition, key)
            top = count if self.exactly_once else most[partition, key]
            if not count <= there <= top and partition not in self.haunted:
                self.fail("I6", f"{key} of {partition} is {there}, {count} to {top} are right")

    def _check_attempts(self) -> None:
        """I1: each send is there once at most, those acknowledged where they are said to be."""
        seen: dict[str, Written] = {}
        last: dict[tuple[str, TopicPartition], int] = {}
        for message in self.out:
            if message.aborted:
                continue
            attempt = (message.headers["attempt"] or b"").decode()
            if attempt in seen:
                self.fail("I1", f"{attempt} is at {seen[attempt].offset} and at {message.offset}")
            seen[attempt] = message
            life, _, number = attempt.rpartition(":")
            if last.get((life, message.tp), -1) > int(number):
                self.fail("I1", f"{attempt} is behind {last[life, message.tp]} in {message.tp}")
            last[life, message.tp] = int(number)
        for attempt, metadata in self.acked:
            found = seen.get(attempt)
            if found is None:
                if not self.exactly_once:
                    self.fail("I1", f"{attempt} was acknowledged and is not there")
            elif (found.tp.partition, found.offset) != (metadata.partition, metadata.offset):
                self.fail("I1", f"{attempt} is at {found.tp}@{found.offset}, not {metadata}")

    def _check_exactly_once(self) -> None:
        """I3: nothing twice; where order is kept, counts of a key run 1, 2, 3, ..."""
        for (number, n), count in self._outs.items():
            if count != 1:
                self.fail("I3", f"output {n} of event {number} is there {count} times")
        for place, count in self._letters.items():
            if count != 1:
                self.fail("I3", f"the dead letter of {place} is there {count} times")
        if self.scenario.concurrency > 1 and self.scenario.order is None:
            return
        ranks: Counter[tuple[int, str]] = Counter()
        wanted: dict[int, int] = {}
        for event in sorted(self.visible(), key=lambda one: (one.tp, one.offset)):
            if event.counts:
                assert event.key is not None
                ranks[event.tp.partition, event.key] += 1
                wanted[event.id] = ranks[event.tp.partition, event.key]
        last: dict[bytes, int] = {}
        for message in self.out:
            said = json.loads(message.value or b"null")
            if not message.committed or message.key is None:
                continue
            if said["count"] != wanted[said["id"]]:
                self.fail("I3", f"{said} says {said['count']}, {wanted[said['id']]} is right")
            if said["count"] < last.get(message.key, 0):
                self.fail("I3", f"{said} is behind {last[message.key]} of {message.key!r}")
            last[message.key] = said["count"]


def _names(partitions: Any) -> str:
    return " ".join(f"{tp.topic}/{tp.partition}" for tp in sorted(partitions)) or "nothing"


def _done(offset: int, text: str) -> set[int]:
    """Return the offsets that are done as the text says which was committed with one."""
    found: set[int] = set()
    for lengths in json.loads(text)["done"].values() if text else ():
        at = offset
        for gap, run in zip(lengths[::2], lengths[1::2], strict=True):
            found.update(range(at + gap, at + gap + run))
            at += gap + run
    return found
