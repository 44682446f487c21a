"""What becomes of an event whose agent failed: the policies, and carrying them out.

Without a policy it is Faust's rule: logged with its place, counted, taken as done. A
policy is given to an agent, `@app.agent(topic, on_failure=...)`:

    "skip"                       Faust's rule
    Retry(3, backoff=1.0)        the same event again, up to so often, then `then`
    DeadLetter("orders-dead")    the bytes as they came go to another topic, then it is done
    "crash"                      the app stops; the event is not done and comes again

What does not decode is judged by the same policy, except that nobody tries it again. So is
a whole batch that cannot be read (`pass_unreadable`); with DeadLetter it crashes the app,
since there are no bytes of messages to send.
"""

from __future__ import annotations

import logging
import traceback
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Any, Literal

from faustc.exceptions import DecodeError, ImproperlyConfigured
from faustc.topics import Topic

__all__ = ["DeadLetter", "Failures", "Fate", "Policy", "Retry"]

logger = logging.getLogger(__name__)

MAX_BACKOFF_S = 60.0
# A letter has to fit where its message did; of a long traceback the end says most.
MAX_TRACEBACK = 8192


@dataclass(frozen=True)
class DeadLetter:
    """Send the event, its bytes as they came, to a topic; then it is done.

    The letter has the key, value, timestamp and headers of the message, and these headers
    besides, all text: faustc-topic, faustc-partition, faustc-offset, faustc-timestamp (ms),
    faustc-agent, faustc-exception, faustc-traceback.
    """

    topic: str | Topic

    def __post_init__(self) -> None:
        if not isinstance(self.topic, str | Topic) or not self.topic:
            raise ImproperlyConfigured(f"DeadLetter takes a topic or its name, not {self.topic!r}")


@dataclass(frozen=True)
class Retry:
    """Give the agent the same event again, up to `times` times; then do what `then` says.

    It waits backoff seconds before the first time, twice as long before each next, at
    most a minute. Meanwhile its actor does nothing else, so that order is kept; other
    actors go on, if there are some (concurrency, isolated_partitions). Who stops or loses
    the partition does not wait: the event is not done, and comes again.
    """

    times: int = 3
    backoff: float | timedelta = 1.0
    then: Literal["skip", "crash"] | DeadLetter = "skip"

    def __post_init__(self) -> None:
        if not isinstance(self.times, int) or self.times < 1:
            raise ImproperlyConfigured(f"Retry(times=...) is 1 or more, not {self.times!r}")
        if self.delay_s(1) < 0:
            raise ImproperlyConfigured(f"Retry(backoff=...) is not negative: {self.backoff!r}")
        if self.then not in ("skip", "crash") and not isinstance(self.then, DeadLetter):
            raise ImproperlyConfigured(
                f"Retry(then=...) is 'skip', 'crash' or DeadLetter(topic), not {self.then!r}"
            )

    def delay_s(self, failures: int) -> float:
        """Return how long to wait after so many failures of one event."""
        backoff = self.backoff
        first_s = backoff.total_seconds() if isinstance(backoff, timedelta) else float(backoff)
        return float(min(first_s * 2 ** min(failures - 1, 32), MAX_BACKOFF_S))


Policy = Literal["skip", "crash"] | Retry | DeadLetter


class Fate(Enum):
    """What is to be done with the event in hand."""

    DONE = "done"
    AGAIN = "again"
    CRASH = "crash"


class Failures:
    """Judges the failures of one agent by its policy, and counts them."""

    def __init__(self, agent: Any, policy: Policy) -> None:
        if policy not in ("skip", "crash") and not isinstance(policy, Retry | DeadLetter):
            raise ImproperlyConfigured(
                f"agent {agent.name}: on_failure is 'skip', 'crash', Retry(...) or "
                f"DeadLetter(topic), not {policy!r}"
            )
        self.agent = agent
        self.policy = policy
        self._tried: dict[tuple[Any, int], int] = {}
        self._letters: dict[str, Topic] = {}

    async def judge(
        self, in_hand: list[tuple[Any, Any]], error: BaseException
    ) -> tuple[Fate, float]:
        """Say what is to be done with the events in hand, and in how many seconds.

        What the policy says to send is in the producer's buffer when this returns.
        """
        policy: Any = self.policy
        if isinstance(policy, Retry) and isinstance(error, DecodeError):
            policy = policy.then
        if isinstance(policy, Retry):
            ledger, message = in_hand[0]
            self._forget_done(ledger, message.tp)
            place = message.tp, message.offset
            failures = self._tried.get(place, 0) + 1
            if failures <= policy.times:
                self._tried[place] = failures
                self.agent.app.monitor.retries_total += 1
                delay_s = policy.delay_s(failures)
                logger.warning(
                    "Agent %s: offset %d of %s/%d comes again in %.3g s (%d of %d)",
                    self.agent.name, message.offset, message.topic, message.partition,
                    delay_s, failures, policy.times,
                )  # fmt: skip
                return Fate.AGAIN, delay_s
            self._tried.pop(place, None)
            policy = policy.then
        if isinstance(policy, DeadLetter):
            for _, message in in_hand:
                await self._letter(policy).send(**self._written(message, error))
                self._count(message)
            return Fate.DONE, 0.0
        return (Fate.CRASH if policy == "crash" else Fate.DONE), 0.0

    def _forget_done(self, ledger: Any, tp: Any) -> None:
        """Forget how often those were tried that are done by now."""
        done = getattr(ledger, "position", -1)
        for place in [one for one in self._tried if one[0] == tp and one[1] < done]:
            del self._tried[place]

    def undecodable(self, message: Any, ledger: Any, error: BaseException) -> bool:
        """Deal with a message that does not decode; True if its fate is to crash the app."""
        policy: Any = self.policy
        if isinstance(policy, Retry):
            policy = policy.then
        if policy == "crash":
            return True
        if isinstance(policy, DeadLetter):
            # In order before the next flush, which comes before any commit.
            self._letter(policy).send_soon(**self._written(message, error))
            self._count(message)
        ledger.ack(message.offset)
        return False

    @property
    def skips_unreadable(self) -> bool:
        """Whether a batch whose records cannot be read is passed: they make no letters."""
        policy = self.policy
        return (policy.then if isinstance(policy, Retry) else policy) == "skip"

    def topics(self) -> list[Topic]:
        """Return the topics that the policy sends to."""
        policy = self.policy
        then = policy.then if isinstance(policy, Retry) else policy
        return [self._letter(then)] if isinstance(then, DeadLetter) else []

    def check_channel(self, channel: Any) -> None:
        """Raise ImproperlyConfigured where the policy could not do what it says."""
        policy = self.policy
        then = policy.then if isinstance(policy, Retry) else policy
        if isinstance(then, DeadLetter) and not isinstance(channel, Topic):
            raise ImproperlyConfigured(
                f"agent {self.agent.name}: DeadLetter keeps the bytes that came, and {channel!r} "
                "has none; read a topic, or use on_error"
            )

    def _count(self, message: Any) -> None:
        counters = self.agent.app.monitor
        counters.dead_letters_total += 1
        counters.dead_letters_by_topic[message.topic] += 1

    def _letter(self, policy: DeadLetter) -> Topic:
        name = policy.topic if isinstance(policy.topic, str) else policy.topic.get_topic_name()
        topic = self._letters.get(name)
        if topic is None:
            given = policy.topic
            topic = self._letters[name] = (
                self.agent.app.topic(given) if isinstance(given, str) else given
            )
        return topic

    def _written(self, message: Any, error: BaseException) -> dict[str, Any]:
        text = "".join(traceback.format_exception(error))
        added = {
            "faustc-topic": message.topic,
            "faustc-partition": str(message.partition),
            "faustc-offset": str(message.offset),
            "faustc-timestamp": str(message.timestamp),
            "faustc-agent": self.agent.name,
            "faustc-exception": f"{type(error).__name__}: {error}"[:MAX_TRACEBACK],
            "faustc-traceback": text[-MAX_TRACEBACK:],
        }
        headers = [*(message.headers or ()), *((k, v.encode()) for k, v in added.items())]
        return {
            "key": message.key,
            "value": message.value,
            "key_serializer": "raw",
            "value_serializer": "raw",
            "timestamp": message.timestamp / 1000 if message.timestamp >= 0 else None,
            "headers": headers,
        }
