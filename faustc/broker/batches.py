"""Record batches as a log sees them: a header to read, a few fields to rewrite.

The layout is KIP-98's. A batch is stored as it came. What a broker writes into it,
the base offset and the leader epoch, lies before what the CRC covers; only
log-append time changes covered bytes, and then the CRC too.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from faustc._native.batch import decode
from faustc._native.builder import BatchBuilder
from faustc._native.checksum import crc32c
from faustc._native.compression import DEFAULT_MAX_DECOMPRESSED, compress, decompress
from faustc.exceptions import CorruptFrame

_HEADER = struct.Struct(">qiibIhiqqqhii")
HEADER_BYTES = _HEADER.size
# The length field counts what comes after itself.
_LENGTH_END = 12
_CRC_FROM = 21
_COVERED = struct.Struct(">hiqq")  # attributes, last offset delta, base and max timestamp

CODEC_BITS = 0x07
LOG_APPEND_BIT = 0x08
TRANSACTIONAL_BIT = 0x10
CONTROL_BIT = 0x20

MAGIC = 2
ABORT, COMMIT = 0, 1


class Head(NamedTuple):
    """The header of a stored batch, field by field."""

    base_offset: int
    length: int
    leader_epoch: int
    magic: int
    crc: int
    attributes: int
    last_offset_delta: int
    base_timestamp: int
    max_timestamp: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    record_count: int

    @property
    def size(self) -> int:
        """The bytes of the whole batch."""
        return self.length + _LENGTH_END

    @property
    def last_offset(self) -> int:
        return self.base_offset + self.last_offset_delta

    @property
    def is_transactional(self) -> bool:
        return bool(self.attributes & TRANSACTIONAL_BIT)

    @property
    def is_control(self) -> bool:
        return bool(self.attributes & CONTROL_BIT)


def head_at(data: bytes | memoryview, at: int = 0) -> Head:
    """Return the header at `at`; raises CorruptFrame if there is none that can be."""
    if len(data) - at < HEADER_BYTES:
        raise CorruptFrame(f"{len(data) - at} bytes where a batch header should be")
    head = Head._make(_HEADER.unpack_from(data, at))
    if head.magic != MAGIC or head.length < HEADER_BYTES - _LENGTH_END:
        raise CorruptFrame(f"no batch header: magic {head.magic}, length {head.length}")
    if head.base_offset < 0 or head.last_offset_delta < 0 or head.record_count < 0:
        raise CorruptFrame(
            f"no batch header: offset {head.base_offset}, {head.record_count} records"
        )
    return head


def heads(data: bytes | memoryview) -> Iterator[tuple[int, Head]]:
    """Yield position and header of each whole batch, up to the first that is none."""
    at = 0
    while len(data) - at >= HEADER_BYTES:
        try:
            head = head_at(data, at)
        except CorruptFrame:
            return
        if head.size > len(data) - at:
            return
        yield at, head
        at += head.size


def crc_fits(batch: bytes | memoryview, head: Head) -> bool:
    """Return whether the bytes are those that the producer made."""
    return crc32c(memoryview(batch)[_CRC_FROM : head.size]) == head.crc


def placed(batch: bytes, base_offset: int, leader_epoch: int) -> bytes:
    """Return the batch as it is stored: at its offset."""
    return b"".join(
        (
            struct.pack(">q", base_offset),
            batch[8:12],
            struct.pack(">i", leader_epoch),
            memoryview(batch)[16:],
        )
    )


def stamped(batch: bytes, now_ms: int) -> bytes:
    """Return the batch with the time of its append, its CRC made anew."""
    attributes, delta, base, _ = _COVERED.unpack_from(batch, _CRC_FROM)
    out = bytearray(batch)
    _COVERED.pack_into(out, _CRC_FROM, attributes | LOG_APPEND_BIT, delta, base, now_ms)
    struct.pack_into(">I", out, 17, crc32c(memoryview(out)[_CRC_FROM:]))
    return bytes(out)


def repacked(batch: bytes, head: Head, codec: int) -> bytes:
    """Return the batch compressed by another codec, 0 for none; its records are the same."""
    records: bytes | memoryview = memoryview(batch)[HEADER_BYTES:]
    if head.attributes & CODEC_BITS:
        records = decompress(head.attributes & CODEC_BITS, records, DEFAULT_MAX_DECOMPRESSED)
    if codec:
        records = compress(codec, records)
    attributes = head.attributes & ~CODEC_BITS | codec
    return rebuilt(batch, attributes, head.max_timestamp, head.record_count, records)


def rebuilt(
    batch: bytes, attributes: int, newest_ms: int, count: int, records: bytes | memoryview
) -> bytes:
    """Return a batch with other records: offsets, producer and first timestamp are its own."""
    out = bytearray(batch[:HEADER_BYTES])
    struct.pack_into(">i", out, 8, HEADER_BYTES - _LENGTH_END + len(records))
    struct.pack_into(">h", out, _CRC_FROM, attributes)
    struct.pack_into(">q", out, 35, newest_ms)
    struct.pack_into(">i", out, 57, count)
    out += records
    struct.pack_into(">I", out, 17, crc32c(memoryview(out)[_CRC_FROM:]))
    return bytes(out)


def marker(producer_id: int, epoch: int, committed: bool, now_ms: int) -> bytes:
    """Return the control batch that ends a transaction (KIP-98), at offset 0."""
    builder = BatchBuilder(
        producer_id=producer_id, producer_epoch=epoch, transactional=True, control=True
    )
    key = struct.pack(">hh", 0, COMMIT if committed else ABORT)
    builder.append(key, struct.pack(">hi", 0, 0), now_ms)  # version, coordinator epoch
    return builder.seal()


def is_commit(batch: bytes) -> bool:
    """Return whether a control batch is a COMMIT; raises CorruptFrame."""
    return decode(batch, check_crc=False)[0].control_type == COMMIT
