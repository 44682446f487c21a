"""Answers of real brokers, oldest and newest, keep decoding to the messages that were written."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from faustc._native.fetch import decode_fetch
from faustc._native.produce import decode_produce
from faustc.exceptions import CorruptFrame
from tests.golden.messages import CODECS, MESSAGES, TIMESTAMP

GOLDEN = Path(__file__).parent.parent.parent / "golden"
FETCHES = sorted(GOLDEN.glob("fetch-*.bin"))
PRODUCES = sorted(GOLDEN.glob("produce-*.bin"))


def opened(path: Path, decode: Callable[..., Any]) -> tuple[bytes, Callable[[bytes], Any]]:
    """Return a golden frame and its decoder, set to the version and names it was captured with."""
    _, version, _, release = path.stem.split("-", 3)
    captured = json.loads((GOLDEN / f"kafka-{release}.json").read_text(encoding="utf-8"))
    names = {bytes.fromhex(captured["topic_id"]): captured["topic"]}
    return path.read_bytes(), partial(decode, version=int(version[1:]), topic_names=names)


def test_every_version_we_speak_was_captured() -> None:
    assert {int(p.stem.split("-")[1][1:]) for p in FETCHES} == set(range(11, 19))
    assert {int(p.stem.split("-")[1][1:]) for p in PRODUCES} == set(range(8, 14))


@pytest.mark.parametrize("path", FETCHES, ids=lambda p: p.stem)
def test_a_captured_fetch_answer_gives_what_was_written(path: Path) -> None:
    frame, decode = opened(path, decode_fetch)

    (part,) = decode(frame).partitions

    assert (part.topic, part.partition, part.error, part.corrupt) == ("golden", 0, 0, None)
    plain = [b for b in part.batches if not b.is_transactional]
    assert [b.compression for b in plain] == list(range(len(CODECS)))
    messages = [m for b in plain for m in b.messages()]
    assert [(m.key, m.value, list(m.headers)) for m in messages] == MESSAGES * len(CODECS)
    assert [m.offset for m in messages] == list(range(len(messages)))
    assert [m.timestamp - TIMESTAMP for m in messages] == [*range(len(MESSAGES))] * len(CODECS)

    committed, commit, aborted, abort = (b for b in part.batches if b.is_transactional)
    assert [m.value for m in committed] == [b"committed"]
    assert [m.value for m in aborted] == [b"aborted"]
    assert (commit.control_type, abort.control_type) == (1, 0)
    assert part.aborted == [(aborted.producer_id, aborted.base_offset)]
    assert part.last_stable_offset == part.highwater == abort.last_offset + 1


@pytest.mark.parametrize("path", PRODUCES, ids=lambda p: p.stem)
def test_a_captured_produce_answer_gives_the_offset(path: Path) -> None:
    frame, decode = opened(path, decode_produce)
    (ack,) = decode(frame).partitions
    assert (ack.topic, ack.partition, ack.error) == ("golden", 0, 0)
    assert ack.base_offset >= len(MESSAGES) * len(CODECS)
    assert ack.log_append_time == -1


@pytest.mark.parametrize("path", FETCHES + PRODUCES, ids=lambda p: p.stem)
def test_every_truncation_of_a_captured_answer_is_told(path: Path) -> None:
    kind = decode_fetch if path in FETCHES else decode_produce
    frame, decode = opened(path, kind)
    for size in range(len(frame)):
        with pytest.raises(CorruptFrame):
            decode(frame[:size])
