"""What an answer of the broker means for a parcel: written, again, halved, or given up."""

from __future__ import annotations

import random
from collections.abc import Callable

from faustc.client import codes
from faustc.client.lane import Lane
from faustc.client.parcel import Parcel, failure
from faustc.exceptions import KafkaError, MessageTooLarge

# How soon a transaction is tried again whose predecessor is not over on all brokers.
CONCURRENT_BACKOFF_S = 0.02
_DONE = frozenset({codes.NONE, codes.DUPLICATE_SEQUENCE_NUMBER})
_TOO_LARGE = frozenset({codes.MESSAGE_TOO_LARGE, codes.RECORD_LIST_TOO_LARGE})
_LOST_SEQUENCE = frozenset({codes.OUT_OF_ORDER_SEQUENCE_NUMBER, codes.UNKNOWN_PRODUCER_ID})


class Judge:
    """Applies answers to lanes; knows how long to hold a lane back, and how to halve a parcel."""

    __slots__ = ("_backoff_max_s", "_backoff_s", "_compression", "_refused")

    def __init__(
        self,
        *,
        backoff_s: float,
        backoff_max_s: float,
        compression: str | None,
        refused: Callable[[int, KafkaError], None] | None = None,
    ) -> None:
        self._refused = refused  # told what ends a transaction
        self._backoff_s = backoff_s
        self._backoff_max_s = backoff_max_s
        self._compression = compression

    def answered(
        self,
        lane: Lane,
        parcel: Parcel,
        now: float,
        *,
        code: int,
        base_offset: int = -1,
        log_append_time: int = -1,
        detail: str = "",
    ) -> bool:
        """Settle one parcel by the broker's answer; True: metadata are stale."""
        if code in _DONE:
            # A duplicate was written by an earlier attempt; where, the broker has forgotten.
            lane.written(parcel, base_offset, log_append_time)
            return False
        known = codes.lookup(code)
        where = f"{lane.tp.topic}/{lane.tp.partition}" + (f": {detail}" if detail else "")
        error = codes.error_for(code, where)
        if code in _LOST_SEQUENCE and parcel.sequence >= 0:
            lane.lost_sequence(parcel, error)
            self._hold(lane, now)
            if lane.restart and self._refused is not None:
                self._refused(code, error)
        elif code in _TOO_LARGE and parcel.count > 1 and not parcel.done:
            lane.divide(parcel, parcel.split(self._compression))
        elif code in _TOO_LARGE:
            too_large = MessageTooLarge(
                f"{lane.tp.topic}/{lane.tp.partition}: a batch of one message, {len(parcel.data)} "
                f"bytes, is larger than the topic's max.message.bytes"
            )
            too_large.__cause__ = error
            lane.reject(parcel, too_large)
        elif code == codes.CONCURRENT_TRANSACTIONS:
            # The last transaction of this producer is about to have its markers.
            lane.put_back(parcel, error)
            lane.hold_until = max(lane.hold_until, now + CONCURRENT_BACKOFF_S)
        elif known.retriable:
            self.again(lane, parcel, now, error)
        else:
            if self._refused is not None:
                self._refused(code, error)
            lane.reject(parcel, failure(parcel, f"refused by the broker: {error}", error))
        return known.refresh == "metadata"

    def again(self, lane: Lane, parcel: Parcel, now: float, error: KafkaError) -> None:
        """Put a parcel back to be sent again after a while."""
        lane.put_back(parcel, error)
        self._hold(lane, now)

    def _hold(self, lane: Lane, now: float) -> None:
        # One failure may bring back all that was in flight: they count as one.
        if now >= lane.hold_until:
            delay_s = min(
                self._backoff_s * 2.0 ** min(lane.failures_in_a_row, 30), self._backoff_max_s
            )
            lane.failures_in_a_row += 1
            lane.hold_until = now + delay_s * random.uniform(0.8, 1.2)
