"""What did not decode: every message is counted and said, though not every one has a line."""

from __future__ import annotations

import logging
import time
from typing import Any

from faustc.exceptions import DecodeError, KafkaError, UnsupportedCodec

__all__ = ["UndecodableLog", "pass_unreadable"]

logger = logging.getLogger(__name__)

# A topic of a million bad messages must not fill the disk with lines.
LINES_PER_INTERVAL = 5
INTERVAL_S = 10.0


class UndecodableLog:
    """Logs messages that do not decode, a few per topic and interval, and counts the rest."""

    def __init__(self) -> None:
        self._state: dict[str, tuple[float, int]] = {}  # topic -> (interval began, seen in it)

    def report(self, topic: str, message: Any, error: DecodeError) -> None:
        """Say where the message is and why it does not decode, unless too much was said."""
        if error.topic is None:
            error.topic, error.partition = message.topic, message.partition
            error.offset = message.offset
        now = time.monotonic()
        began, seen = self._state.get(topic, (now, 0))
        if now - began >= INTERVAL_S:
            if seen > LINES_PER_INTERVAL:
                logger.error(
                    "%d more messages of %s did not decode and were skipped",
                    seen - LINES_PER_INTERVAL,
                    topic,
                )
            began, seen = now, 0
        self._state[topic] = (began, seen + 1)
        if seen < LINES_PER_INTERVAL:
            logger.error("Skipped, does not decode: %s", error)
        if seen == LINES_PER_INTERVAL - 1:
            logger.error("No more lines about %s for %.0f s; all are counted", topic, INTERVAL_S)


def pass_unreadable(app: Any, batch: Any, error: KafkaError, *, skip: bool) -> bool:
    """Deal with a batch whose records cannot be read; True: it is passed, else the app crashes.

    It is too large once it is decompressed, or not what it claims to be. That is said and
    its messages are counted, whatever becomes of it. One whose codec nobody registered is
    never passed: nothing is wrong with it.
    """
    topic = batch.tp.topic
    app.monitor.decode_errors_total += batch.count
    app.monitor.decode_errors_by_topic[topic] += batch.count
    skip = skip and not isinstance(error, UnsupportedCodec)
    logger.error(
        "%s a batch of %d messages of %s/%d, before offset %d: %s",
        "Skipped" if skip else "Cannot go on past",
        batch.count,
        *batch.tp,
        batch.next_offset,
        error,
    )
    if not skip:
        app._crashed_by(error)
    return skip
