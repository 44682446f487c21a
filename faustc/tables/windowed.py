"""What a table with a window does: a key has a value in each range of time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from faustc.clock import now_ms
from faustc.exceptions import ImproperlyConfigured, OutsideStream
from faustc.tables.expiry import Expiry
from faustc.tables.facets import MISSING, Facet, Kept
from faustc.tables.routing import Routing, message_in_hand
from faustc.tables.sessions import SessionExpiry, places
from faustc.windows import SessionWindow, Window, WindowRange

__all__ = ["Windowed"]


class Windowed(Routing):
    """The part of a table that is about its window. Its keys are (key, (start, end))."""

    window: Window | None
    #: The table of the keys that have some window, if that is wanted.
    key_index_table: Any = None
    _state: Any
    __missing__: Callable[[Any], Any]
    _put: Callable[..., None]
    _delete: Callable[..., None]
    _get_key: Callable[[Any], Any]
    _has_key: Callable[[Any], bool]
    _value_of: Callable[[Facet, bytes], Any]

    def _set_window(self, window: Window) -> None:
        if not isinstance(window, Window):
            raise ImproperlyConfigured(f"table {self.name}: {window!r} is no window")
        if self._by_partition:
            raise ImproperlyConfigured(f"table {self.name} is in use, and has no window")
        if isinstance(window, SessionWindow) and (self.use_partitioner or self.is_global):
            raise ImproperlyConfigured(
                f"table {self.name}: sessions are in the partition of their events, so a table "
                "that has them is not global, and has no use_partitioner"
            )
        self.window = window
        self._coding = None
        self._raws = Kept(self._raws.limit * 2)

    @property
    def _range_of(self) -> Window:
        if self.window is None:
            raise ImproperlyConfigured(f"table {self.name} has no window")
        return self.window

    def _new_expiry(self, facet: Facet) -> Expiry | None:
        window = self.window
        if isinstance(window, SessionWindow):
            return SessionExpiry(self, facet, window)
        if window is None or not window.expires:
            return None
        return Expiry(self, facet, window)

    # -- the ranges of a moment ----------------------------------------------------------

    def _part(self, key: Any) -> bytes:
        """Return the bytes of a key without a range; those of the latest plain ones are known."""
        return self._known_bytes(key, "encode_part")

    def _places(self, key: Any, timestamp: float) -> Iterator[tuple[Facet, bytes, WindowRange]]:
        """Return where a change goes: to every window of the moment that is not over."""
        here = self._here_quickly()
        if isinstance(self.window, SessionWindow):
            yield from places(self, here or self._to_write(b""), key, timestamp)
            return
        coding, part = self._coding or self.coding, self._part(key)
        late = False
        for window_range in self._range_of.ranges(timestamp):
            raw = coding.windowed(part, key, window_range)
            facet = self._to_write(raw) if here is None else here
            if facet.expiry is not None and facet.expiry.is_over(window_range, timestamp):
                late = True
            else:
                yield facet, raw, window_range
        if late:
            self._is_late()

    def _is_late(self) -> None:
        if self._state is not None:
            self._state.events_late += 1

    def _here_quickly(self) -> Facet | None:
        message = message_in_hand()
        if message is not None:
            facets = self._facets.get(message.topic)
            if facets is not None and message.partition in facets:
                return facets[message.partition]
        return self._here()

    def _apply_window_op(
        self, op: Callable[[Any, Any], Any], key: Any, value: Any, timestamp: float
    ) -> bool:
        """Give a key in every window of a moment op(what it was, value); False: it is late."""
        found = False
        for facet, raw, window_range in self._places(key, timestamp):
            old = facet.get(raw)
            if old is MISSING:
                old = self.__missing__((key, window_range))
            self._put(facet, raw, (key, window_range), op(old, value))
            found = True
        return found

    def _set_windowed(self, key: Any, value: Any, timestamp: float) -> bool:
        """Give a key a value in every window of a moment; False: it is late."""
        found = False
        for facet, raw, window_range in self._places(key, timestamp):
            self._put(facet, raw, (key, window_range), value)
            found = True
        return found

    def _del_windowed(self, key: Any, timestamp: float) -> None:
        """Delete a key from every window of a moment; raises KeyError if it is in none."""
        found = False
        for facet, raw, window_range in self._places_there(key, timestamp):
            if facet.has(raw):
                found = True
                self._delete(facet, raw, (key, window_range))
        if not found:
            raise KeyError(key)

    def _places_there(self, key: Any, timestamp: float) -> Iterator[tuple[Facet, bytes, Any]]:
        """Return where a key may have something at a moment; nothing is made there."""
        if not isinstance(self.window, SessionWindow):
            yield from self._places(key, timestamp)
            return
        facet, part = self._to_write(b""), self._part(key)
        for session in facet.expiry.near(part, timestamp):
            yield facet, self.coding.windowed(part, key, session), session

    # -- reading -----------------------------------------------------------------------

    def _range_at(
        self, key: Any, window_range: WindowRange, facet: Facet | None = None
    ) -> WindowRange:
        """Return the range that a key has where a moment has this one: of sessions its own."""
        if isinstance(self.window, SessionWindow):
            part = self._part(key)
            for one in self._to_read(b"") if facet is None else (facet,):
                sessions = one.expiry.near(part, window_range[0])
                if sessions:
                    return sessions[-1]  # type: ignore[no-any-return]
        return window_range

    def _items_in(self, window_range: WindowRange, keys: Any) -> Iterator[tuple[Any, Any]]:
        """Iterate over keys that are given with their partitions, and their values in a window."""
        by_key = self.use_partitioner or self.is_global
        moment = window_range
        for partition, key in keys:
            facet = None if by_key else self._facet_of(partition)
            if facet is not None:
                window_range = self._range_at(key, moment, facet)
            raw = self.coding.windowed(self._part(key), key, window_range)
            if facet is None:
                facet = self._facet_of(self._partition_of(raw))
            value = self._value_of(facet, raw)
            if value is MISSING:
                try:
                    value = self.__missing__((key, window_range))
                except KeyError:
                    continue  # it is in other windows
            yield key, value

    def _windowed_timestamp(self, key: Any, timestamp: float) -> Any:
        return self._get_key((key, self._range_at(key, self._range_of.current(timestamp))))

    def _windowed_contains(self, key: Any, timestamp: float) -> bool:
        return self._has_key((key, self._range_at(key, self._range_of.current(timestamp))))

    def _windowed_now(self, key: Any) -> Any:
        window_range = self._range_of.earliest(self._relative_now())
        return self._get_key((key, self._range_at(key, window_range)))

    def _windowed_delta(self, key: Any, d: Any, event: Any = None) -> Any:
        moment = self._relative_event(event)
        return self._get_key((key, self._range_at(key, self._range_of.delta(moment, d))))

    # -- what time it is -----------------------------------------------------------------

    def _relative_now(self, event: Any = None) -> float:
        """Return the time of day."""
        return now_ms() / 1000

    def _relative_event(self, event: Any = None) -> float:
        """Return the time of an event, of the one in hand by default."""
        message = message_in_hand() if event is None else event.message
        if message is None:
            raise OutsideStream(
                f"table {self.name}: operation outside of stream iteration, where there is no "
                "event whose time is meant: give one, or use relative_to_now()"
            )
        return message.timestamp / 1000  # type: ignore[no-any-return]

    def _relative_field(self, field: Any) -> Callable[[Any], Any]:
        """Return what tells the time in a field of an event's value."""

        def time_in(event: Any = None) -> Any:
            if event is None:
                raise OutsideStream(
                    f"table {self.name}: operation outside of stream iteration, where there is "
                    f"no event that has {field!r}"
                )
            return field.getattr(event.value)

        return time_in

    def _relative_timestamp(self, timestamp: float) -> Callable[[Any], float]:
        """Return what tells one time, always."""

        def time_of(event: Any = None) -> float:
            return timestamp

        return time_of
