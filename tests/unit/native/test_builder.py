"""Batches as built, read back by the slow reference, by kafka-python and by faustc."""

from __future__ import annotations

import gc
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faustc._native import compression
from faustc._native.batch import decode
from faustc._native.builder import BatchBuilder, stamp
from faustc.exceptions import UnsupportedCodec
from tests.reference.batches import Record, decode_batches, encode_batch
from tests.reference.kafka_python import DefaultRecordBatch, DefaultRecordBatchBuilder

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
HEADER_SIZE = 61
NOW = 1_700_000_000_000
MAX_TIMESTAMP = 2**63 - 2

Headers = tuple[tuple[str, bytes | None], ...]
Row = tuple[bytes | None, bytes | None, int, Headers]

data = st.none() | st.binary(max_size=300)
timestamps = st.integers(NOW - 100_000, NOW + 100_000) | st.integers(-1, MAX_TIMESTAMP)
rows = st.lists(
    st.tuples(
        data, data, timestamps, st.lists(st.tuples(st.text(max_size=20), data), max_size=3)
    ).map(lambda row: (*row[:3], tuple(row[3]))),
    min_size=1,
    max_size=30,
)


@pytest.fixture
def registry() -> Iterator[None]:
    """Take back what a test registers."""
    yield
    for spare in (6, 7):
        compression.unregister(spare)


def build(messages: Sequence[Row], compression: str | None = None, **options: Any) -> bytes:
    builder = BatchBuilder(compression, **options)
    for index, (key, value, timestamp, headers) in enumerate(messages):
        assert builder.append(key, value, timestamp, headers) == index
    return builder.seal()


def as_kafka_python_reads(sealed: bytes) -> list[Row]:
    batch = DefaultRecordBatch(sealed)
    assert batch.validate_crc()
    return [(r.key, r.value, r.timestamp, tuple(r.headers)) for r in batch]


def as_the_reference_reads(sealed: bytes) -> list[Row]:
    (batch,) = decode_batches(sealed)
    assert [r.offset for r in batch.records] == list(range(len(batch.records)))
    return [(r.key, r.value, r.timestamp, r.headers) for r in batch.records]


def as_faustc_reads(sealed: bytes) -> list[Row]:
    (batch,) = decode(sealed)
    return [(m.key, m.value, m.timestamp, m.headers) for m in batch]


@settings(deadline=None)
@given(messages=rows, codec=st.sampled_from(CODECS))
def test_three_readers_find_what_was_appended(messages: list[Row], codec: str) -> None:
    sealed = build(messages, codec)
    assert as_the_reference_reads(sealed) == messages
    assert as_faustc_reads(sealed) == messages
    if codec != "snappy":  # kafka-python brings no snappy of its own
        assert as_kafka_python_reads(sealed) == messages


@settings(deadline=None)
@given(messages=rows)
def test_uncompressed_batches_are_the_bytes_that_others_write(messages: list[Row]) -> None:
    sealed = build(messages, producer_id=7, producer_epoch=3, base_sequence=11)
    base = messages[0][2]
    assert sealed == encode_batch(
        [
            Record(key=key, value=value, headers=headers, timestamp_delta=timestamp - base)
            for key, value, timestamp, headers in messages
        ],
        leader_epoch=-1,
        base_timestamp=base,
        max_timestamp=max(timestamp for _, _, timestamp, _ in messages),
        producer_id=7,
        producer_epoch=3,
        base_sequence=11,
    )
    theirs = DefaultRecordBatchBuilder(2, 0, False, 7, 3, 11, 1 << 20)
    for offset, (key, value, timestamp, headers) in enumerate(messages):
        theirs.append(offset, timestamp, key, value, list(headers))
    # kafka-python leaves the leader's epoch at 0; the CRC does not cover it
    assert sealed[:12] + bytes(4) + sealed[16:] == bytes(theirs.build())


@settings(deadline=None)
@given(
    values=st.lists(data, max_size=60),
    keys=st.none() | st.lists(data, min_size=60, max_size=60),
    max_bytes=st.integers(1, 4000),
    start=st.integers(0, 60),
    headers=st.none() | st.lists(st.tuples(st.text(max_size=4), data), max_size=3),
)
def test_many_at_once_is_the_same_as_one_by_one(
    values: list[bytes | None],
    keys: list[bytes | None] | None,
    max_bytes: int,
    start: int,
    headers: list[tuple[str, bytes | None]] | None,
) -> None:
    start = min(start, len(values))
    keys = keys if keys is None else keys[: len(values)]
    one_by_one = BatchBuilder(max_bytes=max_bytes)
    taken = 0
    for i in range(start, len(values)):
        if one_by_one.append(keys[i] if keys else None, values[i], NOW, headers) < 0:
            break
        taken += 1
    at_once = BatchBuilder(max_bytes=max_bytes)
    assert at_once.append_many(values, keys, NOW, start, headers) == taken
    assert at_once.count == one_by_one.count == taken
    assert at_once.size_bytes == one_by_one.size_bytes
    if taken:
        assert at_once.seal() == one_by_one.seal()


@pytest.mark.parametrize("codec", CODECS)
def test_large_batches_survive_growth_and_the_gils_release(codec: str) -> None:
    messages: list[Row] = [(b"%d" % i, bytes([i % 251]) * 5000, NOW + i, ()) for i in range(200)]
    sealed = build(messages, codec, max_bytes=4 << 20)
    assert as_faustc_reads(sealed) == messages
    if codec != "snappy":
        assert as_kafka_python_reads(sealed) == messages


def test_a_batch_that_compression_makes_larger_stays_compressed() -> None:
    sealed = build([(None, b"x", NOW, ())], "gzip")
    assert len(sealed) > len(build([(None, b"x", NOW, ())]))
    assert DefaultRecordBatch(sealed).compression_type == 1
    assert as_faustc_reads(sealed) == [(None, b"x", NOW, ())]


def test_header_fields_say_what_was_asked_for() -> None:
    builder = BatchBuilder("zstd", transactional=True)
    builder.append(None, b"a", NOW + 5)
    builder.append(None, b"b", NOW)
    builder.append(None, b"c", NOW + 9)
    builder.set_producer_state(2**62, 2**15 - 1, 2**31 - 1)
    (batch,) = decode_batches(builder.seal())
    assert (batch.base_offset, batch.last_offset, batch.leader_epoch) == (0, 2, -1)
    assert (batch.base_timestamp, batch.max_timestamp) == (NOW + 5, NOW + 9)
    assert (batch.producer_id, batch.producer_epoch) == (2**62, 2**15 - 1)
    assert batch.base_sequence == 2**31 - 1
    assert batch.attributes == 4 | 0x10


def test_control_bit_makes_a_marker_of_the_batch() -> None:
    builder = BatchBuilder(transactional=True, control=True, producer_id=1, producer_epoch=0)
    builder.append(b"\0\0\0\1", b"\0\0\0\0\0\0", NOW)
    (batch,) = decode(builder.seal())
    assert batch.is_control
    assert batch.is_transactional
    assert batch.control_type == 1


def test_the_sender_of_none_has_no_producer_id() -> None:
    (batch,) = decode_batches(build([(None, None, -1, ())]))
    assert (batch.producer_id, batch.producer_epoch, batch.base_sequence) == (-1, -1, -1)
    assert (batch.base_timestamp, batch.max_timestamp) == (-1, -1)


def test_size_bytes_is_the_size_of_the_uncompressed_batch() -> None:
    builder = BatchBuilder()
    assert builder.size_bytes == HEADER_SIZE
    builder.append(b"key", b"value", NOW, {"name": b"x"})
    size = builder.size_bytes
    assert size == len(builder.seal())


# --- what fits ---


def test_a_full_batch_takes_no_more_and_keeps_within_its_bound() -> None:
    builder = BatchBuilder(max_bytes=1000)
    while builder.append(b"key", b"x" * 90, NOW) >= 0:
        pass
    assert builder.count == 9
    assert 900 < builder.size_bytes <= 1000
    # a smaller message may still fit
    assert builder.append(None, b"", NOW) == 9
    sealed = builder.seal()
    assert len(sealed) <= 1000
    assert len(as_the_reference_reads(sealed)) == 10


def test_a_bound_is_reached_to_the_byte() -> None:
    probe = BatchBuilder()
    probe.append(None, b"x" * 50, NOW)
    probe.append(None, b"x" * 50, NOW)
    exact = BatchBuilder(max_bytes=probe.size_bytes)
    assert exact.append_many([b"x" * 50] * 3, None, NOW) == 2
    short = BatchBuilder(max_bytes=probe.size_bytes - 1)
    assert short.append_many([b"x" * 50] * 3, None, NOW) == 1


def test_the_first_message_always_fits() -> None:
    builder = BatchBuilder(max_bytes=1)
    assert builder.append(None, b"x" * 100_000, NOW) == 0
    assert builder.append(None, b"", NOW) == -1
    assert as_the_reference_reads(builder.seal()) == [(None, b"x" * 100_000, NOW, ())]


def test_bound_above_what_a_length_can_say_is_lowered() -> None:
    assert BatchBuilder(max_bytes=2**40).max_bytes == 2**31 - 1


def test_a_bound_that_nothing_fits_is_refused() -> None:
    with pytest.raises(ValueError, match="max_bytes is 0"):
        BatchBuilder(max_bytes=0)


# --- what is taken ---


@pytest.mark.parametrize("kind", [bytearray, memoryview, lambda b: memoryview(b"-" + b)[1:]])
def test_any_bytes_like_is_taken(kind: Any) -> None:
    builder = BatchBuilder()
    builder.append(kind(b"key"), kind(b"value"), NOW, [("h", kind(b"x"))])
    assert builder.append_many([kind(b"v2")], [kind(b"k2")], NOW) == 1
    assert as_the_reference_reads(builder.seal()) == [
        (b"key", b"value", NOW, (("h", b"x"),)),
        (b"k2", b"v2", NOW, ()),
    ]


def test_a_subclass_of_bytes_is_taken() -> None:
    class Name(bytes):
        pass

    builder = BatchBuilder()
    builder.append(Name(b"key"), Name(b""), NOW)
    assert as_the_reference_reads(builder.seal()) == [(b"key", b"", NOW, ())]


@pytest.mark.parametrize(
    "headers",
    [
        {"a": b"1", "b": None},
        OrderedDict(a=b"1", b=None),
        [("a", b"1"), ("b", None)],
        (("a", b"1"), ("b", None)),
        [["a", b"1"], ["b", None]],
    ],
)
def test_headers_come_as_mapping_or_pairs(headers: Any) -> None:
    builder = BatchBuilder()
    builder.append(None, None, NOW, headers)
    assert as_the_reference_reads(builder.seal())[0][3] == (("a", b"1"), ("b", None))


@pytest.mark.parametrize("headers", [None, (), [], {}])
def test_no_headers_in_any_form(headers: Any) -> None:
    assert build([(b"k", b"v", NOW, headers)]) == build([(b"k", b"v", NOW, ())])


def test_a_header_may_come_twice() -> None:
    messages: list[Row] = [(None, None, NOW, (("a", b"1"), ("a", b"2")))]
    assert as_the_reference_reads(build(messages)) == messages


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda b: b.append("key", b"", NOW), "key must be bytes-like or None, not str"),
        (lambda b: b.append(None, 5, NOW), "value must be bytes-like or None, not int"),
        (lambda b: b.append(None, [], NOW), "value must be bytes-like or None, not list"),
        (lambda b: b.append(None, b"", "soon"), "int"),
        (lambda b: b.append(None, b"", None), "int"),
        (lambda b: b.append(None, b"", NOW, "text"), "headers must be a mapping or a sequence"),
        (lambda b: b.append(None, b"", NOW, 5), "headers must be a mapping or a sequence"),
        (lambda b: b.append(None, b"", NOW, ["ab"]), r"headers\[0\] must be a pair"),
        (lambda b: b.append(None, b"", NOW, [("a",)]), r"headers\[0\] must be a pair"),
        (lambda b: b.append(None, b"", NOW, {"a": b"", b"b": b""}), r"headers\[1\] must be str"),
        (lambda b: b.append(None, b"", NOW, {"a": "b"}), "value of header 'a' must be bytes-like"),
        (lambda b: b.append_many([b"", "x"], None, NOW), r"values\[1\] must be bytes-like"),
        (lambda b: b.append_many([b""], None, NOW, 0, [("n", 1)]), "the value of header 'n'"),
        (lambda b: b.append_many([b""], [1], NOW), r"keys\[0\] must be bytes-like"),
        (lambda b: b.append_many(5, None, NOW), "values must be a sequence"),
        (lambda b: b.append_many([], 5, NOW), "keys must be a sequence"),
    ],
)
def test_a_wrong_type_is_named_and_leaves_nothing(call: Any, says: str) -> None:
    builder = BatchBuilder()
    builder.append(b"before", b"", NOW)
    size = builder.size_bytes
    with pytest.raises(TypeError, match=says):
        call(builder)
    assert (builder.count, builder.size_bytes) == (1, size)
    builder.append(b"after", b"", NOW)
    assert [row[0] for row in as_the_reference_reads(builder.seal())] == [b"before", b"after"]


def test_many_refused_leave_timestamps_as_they_were() -> None:
    builder = BatchBuilder()
    with pytest.raises(TypeError, match="values"):
        builder.append_many([b"a", 1], None, NOW + 1000)  # type: ignore[list-item]
    builder.append(None, b"b", NOW)
    (batch,) = decode_batches(builder.seal())
    assert (batch.base_timestamp, batch.max_timestamp) == (NOW, NOW)


@pytest.mark.parametrize("timestamp", [-2, -(2**63), 2**63 - 1])
def test_a_timestamp_that_could_overflow_is_refused(timestamp: int) -> None:
    builder = BatchBuilder()
    with pytest.raises(ValueError, match=f"timestamp_ms is {timestamp}"):
        builder.append(None, b"", timestamp)
    assert builder.count == 0


def test_timestamps_at_both_ends_meet_in_one_batch() -> None:
    messages: list[Row] = [(None, None, t, ()) for t in (MAX_TIMESTAMP, -1, 0, MAX_TIMESTAMP)]
    sealed = build(messages)
    assert as_the_reference_reads(sealed) == messages
    assert as_faustc_reads(sealed) == messages


def test_keys_must_be_as_many_as_values() -> None:
    with pytest.raises(ValueError, match="2 values, 1 keys"):
        BatchBuilder().append_many([b"", b""], [b""], NOW)


@pytest.mark.parametrize("start", [-1, 3])
def test_a_start_outside_the_values_is_refused(start: int) -> None:
    with pytest.raises(ValueError, match=f"start {start} of 2 values"):
        BatchBuilder().append_many([b"", b""], None, NOW, start)


@pytest.mark.parametrize("codec", ["brotli", 6, 99, -1])
def test_an_unknown_codec_is_refused_before_anything_is_appended(codec: str | int) -> None:
    with pytest.raises(UnsupportedCodec):
        BatchBuilder(codec)


def test_codec_by_id_is_the_codec_by_name() -> None:
    assert BatchBuilder(3).compression == BatchBuilder("lz4").compression == 3


# --- sealed ---


def test_sealed_means_that_nothing_more_goes_in() -> None:
    builder = BatchBuilder()
    builder.append(None, b"a", NOW)
    assert not builder.sealed
    builder.seal()
    assert builder.sealed
    for call in (
        lambda: builder.append(None, b"b", NOW),
        lambda: builder.append_many([b"b"], None, NOW),
        lambda: builder.set_producer_state(1, 0, 0),
        builder.seal,
    ):
        with pytest.raises(RuntimeError, match="sealed"):
            call()
    assert builder.count == 1


def test_an_empty_batch_cannot_be_sealed_but_still_be_filled() -> None:
    builder = BatchBuilder()
    with pytest.raises(ValueError, match="without messages"):
        builder.seal()
    assert builder.append(None, b"a", NOW) == 0
    assert len(builder.seal()) > HEADER_SIZE


def test_memory_used_again_shows_nothing_of_the_batch_before() -> None:
    # given builders sealed, abandoned and interleaved, on the same pool of memory
    messages: list[list[Row]] = [
        [(b"%d" % n, bytes([65 + n]) * (1 + 7919 * n % 9000), NOW, ())] * (n % 5 + 1)
        for n in range(20)
    ]
    for _ in range(3):
        builders = [BatchBuilder(max_bytes=1 << 20) for _ in messages]
        for builder, batch in zip(builders, messages, strict=True):
            for key, value, timestamp, headers in batch:
                builder.append(key, value, timestamp, headers)
        del builders[::4]
        gc.collect()
        kept = [batch for n, batch in enumerate(messages) if n % 4]
        for builder, batch in zip(builders, kept, strict=True):
            assert as_faustc_reads(builder.seal()) == batch


def test_a_codec_that_keeps_its_input_does_not_see_it_change(registry: None) -> None:
    kept: list[memoryview] = []

    def keep(data: Any, level: int | None) -> bytes:
        kept.append(memoryview(data))
        return bytes(data)

    compression.register(7, "keeps", keep, lambda data, max_size: bytes(data))
    builder = BatchBuilder(7)
    builder.append(None, b"a" * 100, NOW)
    sealed = builder.seal()
    for _ in range(5):
        build([(None, b"b" * 100, NOW, ())])
    assert bytes(kept[0]) == sealed[HEADER_SIZE:]
    assert b"a" * 100 in bytes(kept[0])


def test_a_codec_that_fails_passes_its_error_on(registry: None) -> None:
    def fail(data: Any, level: int | None) -> bytes:
        raise OSError("no room")

    compression.register(6, "fails", fail, lambda data, max_size: bytes(data))
    builder = BatchBuilder("fails")
    builder.append(None, b"a", NOW)
    with pytest.raises(OSError, match="no room"):
        builder.seal()
    assert as_faustc_reads(build([(None, b"b", NOW, ())])) == [(None, b"b", NOW, ())]


def test_a_batch_that_is_being_compressed_takes_nothing_more(registry: None) -> None:
    # given a codec that stands for another thread, running while the GIL is released
    def meddle(data: Any, level: int | None) -> bytes:
        with pytest.raises(RuntimeError, match="sealed"):
            builder.append(None, b"late", NOW)
        with pytest.raises(RuntimeError, match="sealed"):
            builder.seal()
        return bytes(data)

    compression.register(6, "meddles", meddle, lambda data, max_size: bytes(data))
    builder = BatchBuilder("meddles")
    builder.append(None, b"in time", NOW)
    assert as_faustc_reads(builder.seal()) == [(None, b"in time", NOW, ())]


def test_headers_that_append_to_the_same_batch_do_not_mix_with_it() -> None:
    builder = BatchBuilder()

    class Meddling(OrderedDict[str, bytes]):
        def items(self) -> Any:
            builder.append(b"inner", b"", NOW, {"i": b"2"})
            return super().items()

    builder.append(b"outer", b"", NOW, Meddling(o=b"1"))
    assert as_the_reference_reads(builder.seal()) == [
        (b"inner", b"", NOW, (("i", b"2"),)),
        (b"outer", b"", NOW, (("o", b"1"),)),
    ]


# --- stamped ---


@pytest.mark.parametrize("size", [1, 20_000])
@pytest.mark.parametrize("codec", CODECS)
def test_stamped_is_what_would_have_been_sealed(codec: str, size: int) -> None:
    message: Row = (b"k", bytes(range(256)) * (size // 256 + 1), NOW, ())
    first = build([message], codec, producer_id=1, producer_epoch=0, base_sequence=5)
    other = build([message], codec, producer_id=2**40, producer_epoch=9, base_sequence=0)
    before = bytes(bytearray(first))
    assert stamp(first, 2**40, 9, 0) == other
    assert first == before


def test_only_a_whole_batch_can_be_stamped() -> None:
    sealed = build([(None, b"x", NOW, ())])
    old = sealed[:16] + b"\1" + sealed[17:]
    for bad in (b"", sealed[:60], sealed[:-1], sealed + b"x", sealed + sealed, old):
        with pytest.raises(ValueError, match="not one record batch"):
            stamp(bad, 1, 0, 0)
