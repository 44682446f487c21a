"""What is done beyond a committed offset, written down with it.

A transaction has all that events did. With several actors, or several agents on one topic, some
events are done whose predecessors are not: the offset does not pass those, so whoever goes
on from it has to know of them, or would do them again. Kafka keeps a text with each offset; in
there is, by reader, how many offsets are not done and done in turn, from the committed one on.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from faustc.engine.ledger import Ledger
from faustc.types import OffsetAndMetadata

__all__ = ["MAX_CHARS", "Beyond", "done_beyond", "encode"]

# What brokers take, unless told otherwise (offset.metadata.max.bytes).
MAX_CHARS = 4096
# Of a text that says more than that there is to know, nothing is believed.
MAX_SPAN = 10_000_000

NOTHING: frozenset[int] = frozenset()
#: The runs [first, end) of offsets that are done, by reader.
Runs = list[tuple[int, int]]


class Beyond:
    """What readers are done with of one partition, from an offset on, as somebody left it."""

    def __init__(self, committed: OffsetAndMetadata | None = None) -> None:
        self._runs: dict[str, Runs] = {}
        if committed is not None:
            self._runs = _decoded(committed.offset, committed.metadata)

    def of(self, reader: str) -> Runs:
        """Return the runs that one reader is done with."""
        return self._runs.get(reader, [])


def done_beyond(ledger: Ledger, known: Runs, offset: int) -> Runs:
    """Return what a reader is done with from an offset on: by itself, and before it had this.

    The offset is one that the partition may be committed at, so at most the ledger's position.
    """
    position = max(ledger.position, offset)
    runs = [(offset, position)] if position > offset else []
    runs += [(one, one + 1) for one in ledger.done_beyond if one >= position]
    runs += [(max(first, position), end) for first, end in known if end > position]
    return _joined(runs)


def encode(offset: int, by_reader: Mapping[str, Runs]) -> str:
    """Return the text that goes with an offset; empty if nothing is done beyond it."""
    told: dict[str, list[int]] = {}
    for reader, runs in by_reader.items():
        at, lengths = offset, []
        for first, end in runs:
            lengths += [first - at, end - first]
            at = end
        if lengths:
            told[reader] = lengths
    return json.dumps({"done": told}, separators=(",", ":"), sort_keys=True) if told else ""


def _decoded(offset: int, text: str) -> dict[str, Runs]:
    """Read it; whatever it is not ours to read is nothing."""
    try:
        said: Any = json.loads(text) if text else {}
        found: dict[str, Runs] = {}
        for reader, lengths in said.get("done", {}).items():
            at, runs = offset, []
            for gap, run in zip(lengths[::2], lengths[1::2], strict=True):
                if not (isinstance(gap, int) and isinstance(run, int) and gap >= 0 < run):
                    return {}
                runs.append((at + gap, at + gap + run))
                at += gap + run
            if at - offset > MAX_SPAN:
                return {}
            found[str(reader)] = runs
    except (ValueError, TypeError, AttributeError, RecursionError):
        return {}
    return found


def _joined(runs: Collection[tuple[int, int]]) -> Runs:
    joined: Runs = []
    for first, end in sorted(runs):
        if joined and first <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((first, end))
    return joined
