"""Record batches: decoded as the reference does, lazily, and without pinning what is not theirs."""

import gc
import pickle
import random
import struct
import sys
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faustc._native import compression
from faustc._native.batch import Batch, Message, decode
from faustc.exceptions import CorruptFrame, UnsupportedCodec
from faustc.types import TopicPartition
from tests.reference import batches, codecs
from tests.reference.batches import Record, encode_batch
from tests.reference.kafka_python import DefaultRecordBatchBuilder, MemoryRecords

CODECS = (0, 1, 2, 3, 4)
CONTROL, TRANSACTIONAL, APPENDED, DELETE_HORIZON = 0x20, 0x10, 0x08, 0x40

# Written down field by field: the layout cannot drift along with the reference encoder.
GOLDEN = bytes.fromhex(
    "0000000000000065"  # base offset 101
    "00000049"  # 73 bytes follow
    "00000007"  # leader epoch
    "02"  # magic
    "5389bf9d"  # CRC of all that follows
    "0010"  # transactional
    "00000002"  # last offset delta
    "0000018bcfe56800"  # base timestamp 1_700_000_000_000
    "0000018bcfe56805"  # max timestamp
    "0000000000000fa0"  # producer id 4000
    "0003"  # producer epoch
    "00000009"  # base sequence
    "00000002"  # two records
    "20"  # 16 bytes
    "00 00 00"  # attributes, timestamp delta 0, offset delta 0
    "04 6b65"  # key "ke"
    "00"  # empty value
    "04"  # two headers
    "02 78 02 79"  # "x": "y"
    "04 c3a9 01"  # "é": null
    "0c"  # 6 bytes
    "00 0a 04"  # 5 ms and 2 offsets on
    "01 01 00"  # null key, null value, no headers
)


def plain(batch: Batch, start: int = -1) -> tuple[batches.Decoded, ...]:
    """Look at everything in a batch, in the reference's terms."""
    return tuple(
        batches.Decoded(m.offset, m.timestamp, m.timestamp_type, m.key, m.value, m.headers)
        for m in batch.messages(start)
    )


def fields(batch: Batch) -> batches.DecodedBatch:
    return batches.DecodedBatch(
        batch.base_offset,
        batch.last_offset,
        batch.leader_epoch,
        batch.attributes,
        batch.base_timestamp,
        batch.max_timestamp,
        batch.producer_id,
        batch.producer_epoch,
        batch.base_sequence,
        plain(batch),
    )


nullable = st.none() | st.binary(max_size=40)
headers = st.lists(st.tuples(st.text(max_size=8), nullable), max_size=3).map(tuple)
records = st.builds(
    Record,
    key=nullable,
    value=nullable | st.binary(min_size=60, max_size=200),
    headers=headers,
    timestamp_delta=st.integers(-(2**40), 2**40),
)


# --- what is in a batch ----------------------------------------------------------------------


def test_golden_batch() -> None:
    (batch,) = decode(GOLDEN, topic="orders", partition=3)
    assert (batch.base_offset, batch.last_offset, len(batch)) == (101, 103, 2)
    assert (batch.leader_epoch, batch.producer_id, batch.producer_epoch) == (7, 4000, 3)
    assert (batch.base_sequence, batch.compression, batch.timestamp_type) == (9, 0, 0)
    assert (batch.base_timestamp, batch.max_timestamp) == (1_700_000_000_000, 1_700_000_000_005)
    assert batch.is_transactional
    assert not batch.is_control
    assert batch.control_type == -1
    assert batch.size_bytes == len(GOLDEN)
    first, second = batch
    assert (first.topic, first.partition, first.offset) == ("orders", 3, 101)
    assert first.tp == TopicPartition("orders", 3)
    assert (first.key, first.value) == (b"ke", b"")
    assert first.headers == (("x", b"y"), ("é", None))
    assert (first.serialized_key_size, first.serialized_value_size) == (2, 0)
    assert (second.offset, second.timestamp) == (103, 1_700_000_000_005)
    assert (second.key, second.value, second.headers) == (None, None, ())
    assert (second.serialized_key_size, second.serialized_value_size) == (-1, -1)
    assert repr(first) == "<Message orders/3@101 key=2 value=0 bytes>"


@pytest.mark.parametrize("codec", CODECS)
@settings(max_examples=60, deadline=None)
@given(
    batch=st.lists(records, max_size=12),
    base_offset=st.integers(0, 2**62),
    attributes=st.sampled_from([0, APPENDED, TRANSACTIONAL, DELETE_HORIZON, APPENDED | 0x40]),
    producer=st.integers(-1, 2**62),
)
def test_decodes_what_the_reference_encodes(
    codec: int, batch: list[Record], base_offset: int, attributes: int, producer: int
) -> None:
    data = encode_batch(
        batch,
        codec=codec,
        base_offset=base_offset,
        attributes=attributes,
        producer_id=producer,
        max_timestamp=1_800_000_000_000,
    )
    ours = [fields(b) for b in decode(data)]
    assert ours == batches.decode_batches(data)
    # The same through our own compressor, which the reference must be able to read.
    data = encode_batch(batch, codec=codec, compress=lambda raw: compression.compress(codec, raw))
    assert [fields(b) for b in decode(data)] == batches.decode_batches(data)


@pytest.mark.parametrize("codec", [0, 1, 3, 4])  # its snappy wants one more library
def test_decodes_what_kafka_python_encodes(codec: int) -> None:
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=codec,
        is_transactional=1,
        producer_id=77,
        producer_epoch=2,
        base_sequence=5,
        batch_size=1 << 20,
    )
    sent = [
        (5000 + n, None if n % 5 == 0 else b"k%d" % n, None if n % 7 == 0 else b"value " * n)
        for n in range(200)
    ]
    for n, (timestamp, key, value) in enumerate(sent):
        extra = [("trace", b"%d" % n), ("none", None)] if n % 3 == 0 else []
        assert builder.append(n, timestamp=timestamp, key=key, value=value, headers=extra)
    (batch,) = decode(bytes(builder.build()))
    assert (batch.producer_id, batch.producer_epoch, batch.base_sequence) == (77, 2, 5)
    assert batch.is_transactional
    assert batch.compression == codec
    got = [(m.timestamp, m.key, m.value) for m in batch]
    assert got == sent
    assert batch.messages()[3].headers == (("trace", b"3"), ("none", None))


@settings(max_examples=40, deadline=None)
@given(batch=st.lists(records, max_size=8))
def test_kafka_python_reads_the_reference_as_we_do(batch: list[Record]) -> None:
    data = encode_batch(batch)
    theirs = [
        (m.offset, m.timestamp, m.key, m.value, tuple(m.headers))
        for b in iter(MemoryRecords(data).next_batch, None)
        for m in b
    ]
    ours = [(m.offset, m.timestamp, m.key, m.value, m.headers) for b in decode(data) for m in b]
    assert ours == theirs


def test_batches_follow_each_other() -> None:
    data = b"".join(
        encode_batch([Record(value=b"%d" % n)] * 3, base_offset=n * 10, codec=n) for n in CODECS
    )
    decoded = decode(data, topic="t", partition=1)
    assert [b.base_offset for b in decoded] == [0, 10, 20, 30, 40]
    assert [m.value for b in decoded for m in b] == [b"%d" % n for n in CODECS for _ in range(3)]
    assert decode(b"") == []


@pytest.mark.parametrize("codec", CODECS)
def test_starts_inside_a_batch(codec: int) -> None:
    """A batch begins before the offset that was asked for whenever that is in its middle."""
    sparse = [Record(value=b"%d" % n, offset_delta=n * 2) for n in range(50)]
    (batch,) = decode(encode_batch(sparse, codec=codec, base_offset=1000))
    assert [m.offset for m in batch.messages(1051)] == list(range(1052, 1100, 2))
    assert [m.offset for m in batch.messages(1098)] == [1098]
    assert batch.messages(1099) == []
    assert batch.messages(2**63 - 1) == []
    assert len(batch.messages(0)) == len(batch.messages()) == len(batch) == 50


def test_batch_emptied_by_compaction_keeps_its_offsets() -> None:
    (batch,) = decode(encode_batch([], base_offset=40, last_offset_delta=9, producer_id=8))
    assert (len(batch), batch.base_offset, batch.last_offset) == (0, 40, 49)
    assert list(batch) == []


def test_log_append_time_is_the_brokers_for_all() -> None:
    data = encode_batch(
        [Record(timestamp_delta=5), Record(timestamp_delta=2**62)],
        attributes=APPENDED,
        max_timestamp=1_900_000_000_123,
    )
    (batch,) = decode(data)
    assert batch.timestamp_type == 1
    assert {(m.timestamp, m.timestamp_type) for m in batch} == {(1_900_000_000_123, 1)}


def test_null_and_empty_differ() -> None:
    (batch,) = decode(encode_batch([Record(None, b""), Record(b"", None)]))
    assert [(m.key, m.value) for m in batch] == [(None, b""), (b"", None)]
    sizes = [(m.serialized_key_size, m.serialized_value_size) for m in batch]
    assert sizes == [(-1, 0), (0, -1)]


def test_highest_offset_there_can_be() -> None:
    (batch,) = decode(encode_batch([Record(), Record()], base_offset=2**63 - 2))
    assert [m.offset for m in batch] == [2**63 - 2, 2**63 - 1]


@pytest.mark.parametrize(
    ("kind", "said"), [(0, 0), (1, 1), (2, -1), (300, -1)], ids=["abort", "commit", "leader", "new"]
)
def test_control_markers(kind: int, said: int) -> None:
    marker = Record(struct.pack(">hh", 0, kind), b"\0\0\0\0\0\0")
    (batch,) = decode(encode_batch([marker], attributes=CONTROL | TRANSACTIONAL))
    assert batch.is_control
    assert batch.control_type == said


@pytest.mark.parametrize("key", [None, b"", b"\0\0\0", b"\xff\xff\0\1"])
def test_control_marker_that_cannot_be_read(key: bytes | None) -> None:
    (batch,) = decode(encode_batch([Record(key)], attributes=CONTROL))
    with pytest.raises(CorruptFrame):
        _ = batch.control_type


def test_control_batch_emptied_by_compaction_is_no_marker() -> None:
    (batch,) = decode(encode_batch([], attributes=CONTROL))
    assert batch.control_type == -1


# --- memory ----------------------------------------------------------------------------------


def test_key_value_and_headers_are_made_once() -> None:
    (batch,) = decode(encode_batch([Record(b"key", b"value", (("h", b"1"),))]))
    (message,) = batch
    assert message.key is message.key
    assert message.value is message.value
    assert message.headers is message.headers
    bare = decode(encode_batch([Record(), Record()]))[0].messages()
    assert bare[0].headers is bare[1].headers


@pytest.mark.parametrize("codec", CODECS)
def test_opening_a_batch_lets_go_of_its_frame(codec: int) -> None:
    frame = bytes(encode_batch([Record(b"k", b"v" * 100)] * 5, codec=codec) + b"")
    before = sys.getrefcount(frame)
    (batch,) = decode(frame)
    assert sys.getrefcount(frame) == before + 1
    messages = batch.messages()
    assert sys.getrefcount(frame) == before
    assert plain(batch) == plain(batch)  # opened, it still gives messages, any number of times
    del batch
    assert [m.value for m in messages] == [b"v" * 100] * 5


def test_frame_in_any_buffer_is_copied_once_and_free() -> None:
    frame = bytearray(encode_batch([Record(b"k", b"v")]))
    (batch,) = decode(memoryview(frame))
    frame.clear()  # would raise BufferError if anybody still held it
    assert [m.value for m in batch] == [b"v"]


def test_messages_cost_what_they_should() -> None:
    (batch,) = decode(encode_batch([Record(b"k" * 8, b"v" * 92)] * 500))
    gc.collect()
    tracemalloc.start()
    messages = batch.messages()
    per_message = tracemalloc.get_traced_memory()[0] / len(messages)
    tracemalloc.stop()
    # The message, its slot in the list, and its share of the batch's own bytes.
    assert per_message < 96 + 9 + 112
    assert not gc.is_tracked(messages[0])


def test_messages_and_batches_are_read_only() -> None:
    (batch,) = decode(encode_batch([Record(b"k", b"v")]))
    for owner in (batch, batch.messages()[0]):
        for name in ("offset", "key", "base_offset", "anything"):
            with pytest.raises((AttributeError, TypeError)):
                setattr(owner, name, 1)
    with pytest.raises(TypeError):
        Batch()
    with pytest.raises(TypeError):
        type("Mine", (Message,), {})


def test_message_made_by_hand_and_pickled() -> None:
    message = Message("t", 2, 7, 1000, 1, b"k", None, (("h", None),))
    again = pickle.loads(pickle.dumps(message))
    for m in (message, again):
        assert (m.tp, m.offset, m.timestamp, m.timestamp_type) == (("t", 2), 7, 1000, 1)
        assert (m.key, m.value, m.headers) == (b"k", None, (("h", None),))
        assert (m.serialized_key_size, m.serialized_value_size) == (1, -1)
    blank = Message()
    assert (blank.topic, blank.partition, blank.offset, blank.timestamp) == (None, -1, -1, -1)
    assert (blank.key, blank.value, blank.headers) == (None, None, ())
    (decoded,) = decode(encode_batch([Record(b"a", b"b")]), topic="t", partition=0)[0]
    assert pickle.loads(pickle.dumps(decoded)).value == b"b"
    with pytest.raises(TypeError):
        pickle.dumps(decode(encode_batch([Record()]))[0])


# --- what is refused -------------------------------------------------------------------------


def opened(data: bytes, **options: object) -> list[list[Message]]:
    return [list(batch) for batch in decode(data, **options)]  # type: ignore[arg-type]


@pytest.mark.parametrize("codec", CODECS)
def test_every_truncation_is_refused(codec: int) -> None:
    data = encode_batch(
        [Record(b"key", b"value" * 9, (("h", b"x"), ("n", None))), Record(), Record(b"", b"")],
        codec=codec,
    )
    for cut in range(1, len(data)):
        with pytest.raises(CorruptFrame):
            decode(data[:cut])
    # Cut by a liar: length and CRC fit what is left.
    for cut in range(61, len(data)):
        sealed = batches.seal(data[61:cut], count=3, last_offset_delta=2, attributes=codec)
        for check in (True, False):
            with pytest.raises(CorruptFrame):
                opened(sealed, check_crc=check)


def test_cut_batch_behind_others_is_dropped_only_where_allowed() -> None:
    whole = encode_batch([Record(b"k", b"v")])
    after = encode_batch([Record(b"k", b"v")], base_offset=1)
    for cut in range(1, len(after)):
        data = whole + after[:cut]
        assert len(decode(data, allow_partial=True)) == 1
        with pytest.raises(CorruptFrame):
            decode(data)
    for cut in range(1, len(whole)):
        with pytest.raises(CorruptFrame):
            decode(whole[:cut], allow_partial=True)


def test_batches_that_step_back_are_refused_in_a_fetch() -> None:
    """The CRC does not cover the base offset."""
    one = encode_batch([Record(), Record()], base_offset=10)
    for base in (9, 10, 11):
        with pytest.raises(CorruptFrame, match="begins at or before 11"):
            decode(one + encode_batch([Record()], base_offset=base), allow_partial=True)


@pytest.mark.parametrize("at", range(21, 90, 3))
def test_a_flipped_bit_fails_the_crc(at: int) -> None:
    data = bytearray(encode_batch([Record(b"key" * 5, b"value" * 5)]))
    data[at] ^= 0x10
    with pytest.raises(CorruptFrame, match="CRC"):
        decode(data)


def test_large_batches_fail_the_crc_too() -> None:
    """Past 8 KiB the check runs without the GIL."""
    noise = random.Random(1).randbytes(100_000)
    data = bytearray(encode_batch([Record(b"key", noise)]))
    assert decode(data)[0].messages()[0].value == noise
    data[-5] ^= 1
    with pytest.raises(CorruptFrame, match="CRC"):
        decode(data)


@pytest.mark.parametrize(
    ("magic", "said"),
    [(0, "magic 0.*Kafka 4"), (1, "magic 1.*Kafka 4"), (3, "unknown"), (-1, "-1")],
)
def test_other_magics_are_refused_by_name(magic: int, said: str) -> None:
    with pytest.raises(CorruptFrame, match=said):
        decode(encode_batch([Record()], magic=magic))


LIES = {
    "no record where one is claimed": {"section": b"", "count": 1},
    "two billion records": {"count": 2**31 - 1, "last_offset_delta": 2**31 - 1},
    "negative count": {"count": -1},
    "more records than offsets": {"section": bytes.fromhex("0c000000010100") * 3, "count": 3},
    "negative last delta": {"last_offset_delta": -1, "count": 0, "section": b""},
    "offsets past 63 bits": {"base_offset": 2**63 - 1, "last_offset_delta": 1},
    "negative base offset": {"base_offset": -1},
    "bytes after the last record": {"section": bytes.fromhex("0c000000010100") + b"\0"},
    "bytes inside a record": {"section": bytes.fromhex("0e00000001010000")},
    "record longer than its batch": {"section": bytes.fromhex("0e000000010100")},
    "record of negative length": {"section": bytes.fromhex("01000000010100")},
    "record of no length": {"section": bytes.fromhex("00000000010100")},
    "key of length -2": {"section": bytes.fromhex("0c000000030100")},
    "key past its record": {"section": bytes.fromhex("0c000000100100")},
    "key of two GiB": {"section": bytes.fromhex("14000000feffffff0f0100")},
    "value past its record": {"section": bytes.fromhex("0c000000010400")},
    "offset delta past the last": {"section": bytes.fromhex("0c000004010100")},
    "negative offset delta": {"section": bytes.fromhex("0c000001010100")},
    "offset twice": {"section": bytes.fromhex("0c000000010100") * 2, "count": 2},
    "timestamp past 64 bits": {
        "section": bytes.fromhex("1e00feffffffffffffffff01000101 00".replace(" ", "")),
        "base_timestamp": 2,
    },
    "varint of eleven bytes": {"section": bytes.fromhex("2000" + "80" * 10 + "0000010100")},
    "length of more than 32 bits": {"section": bytes.fromhex("14000000808080808010010100"[:22])},
    "negative header count": {"section": bytes.fromhex("0c000000010101")},
    "more headers than bytes": {"section": bytes.fromhex("0c000000010102")},
    "two billion headers": {"section": bytes.fromhex("140000000101feffffff0f")},
    "header without a name": {"section": bytes.fromhex("10000000010102" + "0101")},
    "header name that is not UTF-8": {"section": bytes.fromhex("12000000010102" + "02ff01")},
    "header past its record": {"section": bytes.fromhex("10000000010102" + "0002")},
}


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("lie", LIES)
def test_lies_are_refused_before_they_cost_memory(lie: str, codec: int) -> None:
    """The CRC of each is right: whoever sent it meant it."""
    section = LIES[lie].get("section", bytes.fromhex("0c000000010100"))
    header = {"count": 1, "last_offset_delta": 1, "base_offset": 100}
    header |= {k: v for k, v in LIES[lie].items() if k != "section"}
    if codec:
        section = codecs.compress(codec, section)
    data = batches.seal(section, attributes=codec, **header)
    tracemalloc.start()
    try:
        with pytest.raises(CorruptFrame, match="orders/3") as caught:
            opened(data, topic="orders", partition=3)
        assert tracemalloc.get_traced_memory()[1] < 300_000
    finally:
        tracemalloc.stop()
    assert (caught.value.topic, caught.value.partition) == ("orders", 3)
    if header["base_offset"] >= 0:
        assert caught.value.offset == header["base_offset"]


def test_says_which_record_of_which_batch() -> None:
    section = batches.encode_record(Record(b"k", b"v"), 0) + b"\x7e" + bytes(20)
    data = batches.seal(section, count=2, last_offset_delta=14, base_offset=5)
    (batch,) = decode(data, topic="orders", partition=0)
    said = r"offsets 5 to 19: record 2 of 2 needs 63 bytes .*20 left \(orders/0 offset 5\)"
    with pytest.raises(CorruptFrame, match=said):
        batch.messages()


def test_refused_batch_stays_refused_and_the_one_before_stays_good() -> None:
    good = encode_batch([Record(b"k", b"v")])
    bad = batches.seal(b"\x01" * 7, count=1, last_offset_delta=0, base_offset=1)
    first, second = decode(good + bad)
    for _ in range(2):
        with pytest.raises(CorruptFrame):
            second.messages()
    assert first.messages()[0].value == b"v"


@pytest.mark.parametrize("codec", [5, 6, 7])
def test_codec_that_nobody_registered(codec: int) -> None:
    data = batches.seal(b"?" * 20, count=1, last_offset_delta=0, attributes=codec)
    (batch,) = decode(data)
    with pytest.raises(UnsupportedCodec, match=f"id {codec}"):
        batch.messages()


@pytest.mark.parametrize("codec", [1, 2, 3, 4])
def test_batch_that_decompresses_past_the_bound(codec: int) -> None:
    packed = [Record(b"k", bytes(10_000)) for _ in range(20)]
    data = encode_batch(
        packed, codec=codec, compress=lambda raw: compression.compress(codec, raw), base_offset=9
    )
    size = len(batches.encode_records(packed)[0])
    assert len(decode(data, max_decompressed=size)[0].messages()) == 20
    (batch,) = decode(data, max_decompressed=size - 1, topic="t", partition=1)
    with pytest.raises(CorruptFrame, match=r"t/1 offset 9"):
        batch.messages()


@pytest.mark.parametrize("wrong", [None, "text", 12, [b"x"]])
def test_decode_wants_bytes(wrong: object) -> None:
    with pytest.raises(TypeError):
        decode(wrong)  # type: ignore[arg-type]


def test_objects_made_around_their_makers_raise_and_do_not_crash() -> None:
    message, batch = Message.__new__(Message), Batch.__new__(Batch)
    for name in ("topic", "partition", "timestamp_type", "tp", "key", "value"):
        with pytest.raises((AttributeError, TypeError)):
            getattr(message, name)
    with pytest.raises((AttributeError, TypeError)):
        repr(message)
    with pytest.raises(TypeError):
        batch.messages()
