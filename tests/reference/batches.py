"""Record batches of magic 2 (KIP-98), decoded and encoded one field at a time."""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from faustc.exceptions import CorruptFrame
from tests.reference import codecs

Headers = tuple[tuple[str, bytes | None], ...]
MAX_INT64 = 2**63 - 1


@dataclass(frozen=True)
class Record:
    """One message; deltas count from the batch's base offset and base timestamp."""

    key: bytes | None = None
    value: bytes | None = None
    headers: Headers = ()
    offset_delta: int | None = None  # None: one more than the record before
    timestamp_delta: int = 0


@dataclass(frozen=True)
class Decoded:
    """One message as a consumer sees it."""

    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: Headers


@dataclass(frozen=True)
class DecodedBatch:
    base_offset: int
    last_offset: int
    leader_epoch: int
    attributes: int
    base_timestamp: int
    max_timestamp: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    records: tuple[Decoded, ...]


CRC_TABLE: list[int] = []
for _byte in range(256):
    _crc = _byte
    for _ in range(8):
        _crc = _crc >> 1 ^ (0x82F63B78 if _crc & 1 else 0)
    CRC_TABLE.append(_crc)


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ CRC_TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def uvarint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def varint(value: int) -> bytes:
    return uvarint(value << 1 if value >= 0 else (-value << 1) - 1)


def nullable(value: bytes | None) -> bytes:
    return varint(-1) if value is None else varint(len(value)) + value


def encode_record(record: Record, offset_delta: int) -> bytes:
    body = b"\0" + varint(record.timestamp_delta) + varint(offset_delta)
    body += nullable(record.key) + nullable(record.value) + varint(len(record.headers))
    for name, value in record.headers:
        body += nullable(name.encode()) + nullable(value)
    return varint(len(body)) + body


def encode_records(records: Sequence[Record]) -> tuple[bytes, int]:
    """Return the records section and the last offset delta."""
    out, delta = b"", -1
    for record in records:
        delta = delta + 1 if record.offset_delta is None else record.offset_delta
        out += encode_record(record, delta)
    return out, max(delta, 0)


def seal(
    section: bytes,
    *,
    count: int,
    last_offset_delta: int,
    base_offset: int = 0,
    leader_epoch: int = 0,
    attributes: int = 0,
    base_timestamp: int = 1_700_000_000_000,
    max_timestamp: int | None = None,
    producer_id: int = -1,
    producer_epoch: int = -1,
    base_sequence: int = -1,
    magic: int = 2,
) -> bytes:
    """Put a header with the right length and CRC in front of any bytes."""
    tail = struct.pack(
        ">hiqqqhii",
        attributes,
        last_offset_delta,
        base_timestamp,
        base_timestamp if max_timestamp is None else max_timestamp,
        producer_id,
        producer_epoch,
        base_sequence,
        count,
    )
    tail += section
    head = struct.pack(">qiib", base_offset, 9 + len(tail), leader_epoch, magic)
    return head + struct.pack(">I", crc32c(tail)) + tail


def encode_batch(
    records: Sequence[Record],
    *,
    codec: int = 0,
    compress: Callable[[bytes], bytes] | None = None,
    attributes: int = 0,
    last_offset_delta: int | None = None,
    **header: int,
) -> bytes:
    """Return a whole batch; compress stands in for this package's own codec."""
    section, delta = encode_records(records)
    if codec:
        section = compress(section) if compress else codecs.compress(codec, section)
    return seal(
        section,
        count=len(records),
        last_offset_delta=delta if last_offset_delta is None else last_offset_delta,
        attributes=attributes | codec,
        **header,
    )


class Reader:
    """Reads big-endian fields and varints; CorruptFrame past the end."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, n: int) -> bytes:
        if n < 0 or n > len(self.data) - self.at:
            raise CorruptFrame(f"needs {n} bytes")
        self.at += n
        return self.data[self.at - n : self.at]

    def number(self, n: int, signed: bool = True) -> int:
        return int.from_bytes(self.take(n), "big", signed=signed)

    def varint(self, bits: int = 32) -> int:
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
            if shift >= 70:
                raise CorruptFrame("varint too long")
        if value >= 1 << bits:
            raise CorruptFrame("varint too large")
        return value >> 1 if value & 1 == 0 else -(value >> 1) - 1

    def nullable(self) -> bytes | None:
        size = self.varint()
        return None if size == -1 else self.take(size)

    def finished(self) -> None:
        if self.at != len(self.data):
            raise CorruptFrame("bytes left over")


def decode_batches(
    data: bytes, *, check_crc: bool = True, max_decompressed: int = 1 << 27
) -> list[DecodedBatch]:
    reader = Reader(data)
    out = []
    while reader.at < len(data):
        out.append(decode_batch(reader, check_crc, max_decompressed))
    return out


def decode_batch(reader: Reader, check_crc: bool, max_decompressed: int) -> DecodedBatch:
    base_offset = reader.number(8)
    body = Reader(reader.take(reader.number(4)))
    leader_epoch = body.number(4)
    if body.number(1) != 2:
        raise CorruptFrame("magic")
    crc = body.number(4, signed=False)
    if check_crc and crc != crc32c(body.data[body.at :]):
        raise CorruptFrame("crc")
    attributes, last_delta = body.number(2), body.number(4)
    base_timestamp, max_timestamp = body.number(8), body.number(8)
    producer_id, producer_epoch, base_sequence = body.number(8), body.number(2), body.number(4)
    count = body.number(4)
    if base_offset < 0 or last_delta < 0 or base_offset + last_delta > MAX_INT64:
        raise CorruptFrame("offsets")
    if count < 0 or count > last_delta + 1:
        raise CorruptFrame("count")
    section = body.take(len(body.data) - body.at)
    if attributes & 7:
        section = codecs.decompress(attributes & 7, section, max_decompressed)
    inner = Reader(section)
    appended = bool(attributes & 8)
    records: list[Decoded] = []
    previous = -1
    for _ in range(count):
        record, delta, timestamp_delta = decode_record(Reader(inner.take(inner.varint())))
        if not previous < delta <= last_delta:
            raise CorruptFrame("offset delta")
        previous = delta
        timestamp = max_timestamp if appended else base_timestamp + timestamp_delta
        # -2**63 is nobody's sum: left out, so that no bound overflows when negated.
        if timestamp_delta and not appended and not -MAX_INT64 <= timestamp <= MAX_INT64:
            raise CorruptFrame("timestamp")
        records.append(Decoded(base_offset + delta, timestamp, int(appended), *record))
    inner.finished()
    return DecodedBatch(
        base_offset,
        base_offset + last_delta,
        leader_epoch,
        attributes,
        base_timestamp,
        max_timestamp,
        producer_id,
        producer_epoch,
        base_sequence,
        tuple(records),
    )


def decode_record(
    reader: Reader,
) -> tuple[tuple[bytes | None, bytes | None, Headers], int, int]:
    reader.take(1)
    timestamp_delta, offset_delta = reader.varint(64), reader.varint()
    key, value = reader.nullable(), reader.nullable()
    headers = []
    count = reader.varint()
    if count < 0 or count * 2 > len(reader.data):
        raise CorruptFrame("header count")
    for _ in range(count):
        name = reader.nullable()
        if name is None:
            raise CorruptFrame("header without a name")
        try:
            headers.append((name.decode(), reader.nullable()))
        except UnicodeDecodeError as exc:
            raise CorruptFrame("header name") from exc
    reader.finished()
    return (key, value, tuple(headers)), offset_delta, timestamp_delta
