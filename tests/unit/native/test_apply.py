"""A batch put into a dictionary without messages gives what its messages would."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faustc._native.batch import Batch, decode
from faustc.exceptions import CorruptFrame, UnsupportedCodec
from tests.reference.batches import Record, encode_batch

CODECS = (0, 1, 2, 3, 4)
CONTROL, TRANSACTIONAL, APPENDED = 0x20, 0x10, 0x08

keys = st.none() | st.sampled_from([b"", b"a", b"b", b"\0", b"longer key"])
values = st.none() | st.binary(max_size=40)
headers = st.lists(st.tuples(st.text(max_size=4), values), max_size=2).map(tuple)
records = st.builds(
    Record, key=keys, value=values, headers=headers, timestamp_delta=st.integers(-(2**40), 2**40)
)


def by_messages(
    batch: Batch, target: dict[bytes, bytes | None], start: int, prefix: bytes, keep: bool
) -> int:
    """Do the same by messages, which have tests of their own."""
    messages = batch.messages(start)
    for message in messages:
        if message.key is None:
            continue
        if message.value is not None or keep:
            target[prefix + message.key] = message.value
        else:
            target.pop(prefix + message.key, None)
    return len(messages)


@pytest.mark.parametrize("codec", CODECS)
@settings(max_examples=60, deadline=None)
@given(
    batch=st.lists(records, max_size=12),
    before=st.dictionaries(keys.filter(lambda k: k is not None), st.binary(max_size=3)),
    start=st.integers(-1, 1020),
    prefix=st.sampled_from([b"", b"k", b"longer prefix"]),
    keep=st.booleans(),
    attributes=st.sampled_from([0, APPENDED, TRANSACTIONAL]),
)
def test_gives_what_the_messages_would(
    codec: int,
    batch: list[Record],
    before: dict[bytes, bytes],
    start: int,
    prefix: bytes,
    keep: bool,
    attributes: int,
) -> None:
    data = encode_batch(batch, codec=codec, base_offset=1000, attributes=attributes)
    (decoded,) = decode(data)
    ours: dict[bytes, bytes | None] = {prefix + k: v for k, v in before.items()}
    theirs = dict(ours)
    count = decoded.apply_to(ours, start, prefix=prefix, keep_deleted=keep)
    assert count == by_messages(decode(data)[0], theirs, start, prefix, keep)
    assert list(ours.items()) == list(theirs.items())


def test_the_last_of_a_key_wins_and_none_takes_it_away() -> None:
    data = encode_batch(
        [
            Record(b"a", b"1"),
            Record(b"b", b"2"),
            Record(b"a", b"3"),
            Record(b"b", None),
            Record(None, b"4"),
            Record(b"gone", None),
        ]
    )
    target = {b"gone": b"0", b"stays": b"5"}
    assert decode(data)[0].apply_to(target) == 6
    assert target == {b"a": b"3", b"stays": b"5"}
    assert decode(data)[0].apply_to(target, keep_deleted=True) == 6
    assert target == {b"a": b"3", b"stays": b"5", b"b": None, b"gone": None}


def test_markers_of_the_broker_are_no_data() -> None:
    marker = Record(b"\0\0\0\1", b"\0\0\0\0\0\0")
    (batch,) = decode(encode_batch([marker], attributes=CONTROL | TRANSACTIONAL))
    target: dict[bytes, bytes] = {}
    assert batch.apply_to(target) == 0
    assert target == {}


def refusal(work: Callable[[], object]) -> str | None:
    """Return what work says of a corrupt batch."""
    try:
        work()
    except CorruptFrame as exc:
        return str(exc)
    return None


@pytest.mark.parametrize("codec", [0, 4])
def test_whatever_is_cut_or_changed_leaves_the_target_alone(codec: int) -> None:
    """Every record is read before the first is applied, as messages() refuses a batch whole."""
    whole = encode_batch(
        [Record(b"key %d" % n, b"value", (("h", b"1"),), n) for n in range(8)], codec=codec
    )
    refused = 0
    for at in range(61, len(whole)):
        for wrong in (0x00, 0x01, 0x7F, 0x80, 0xFF):
            data = bytearray(whole)
            data[at] = wrong
            (ours,) = decode(bytes(data), check_crc=False)
            (theirs,) = decode(bytes(data), check_crc=False)
            target: dict[bytes, bytes] = {}
            expected = refusal(theirs.messages)
            assert refusal(lambda ours=ours, target=target: ours.apply_to(target)) == expected
            if expected is not None:
                refused += 1
                assert target == {}
    assert refused > 20


def test_offsets_that_do_not_rise_are_refused() -> None:
    data = encode_batch([Record(b"a", b"1", offset_delta=1), Record(b"b", b"2", offset_delta=1)])
    target: dict[bytes, bytes] = {}
    with pytest.raises(CorruptFrame, match="record 2 of 2 has offset delta 1 after 1"):
        decode(data)[0].apply_to(target)
    assert target == {}


def test_a_codec_that_nobody_has_is_named() -> None:
    data = encode_batch([Record(b"a", b"1")], codec=0, attributes=5)
    with pytest.raises(UnsupportedCodec):
        decode(data)[0].apply_to({})


def test_arguments_are_checked() -> None:
    (batch,) = decode(encode_batch([Record(b"a", b"1")]))
    for wrong in (None, [], "a"):
        with pytest.raises(TypeError):
            batch.apply_to(wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        batch.apply_to({}, prefix=None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="decode"):
        Batch.__new__(Batch).apply_to({})


def test_keeps_no_reference_to_what_it_made() -> None:
    data = encode_batch([Record(b"key", b"value"), Record(b"key", b"other")])
    (batch,) = decode(data)
    target: dict[bytes, bytes] = {}
    batch.apply_to(target, prefix=b"k")
    ((key, value),) = target.items()
    target.clear()
    gc.collect()
    assert sys.getrefcount(key) == 2
    assert sys.getrefcount(value) == 2
