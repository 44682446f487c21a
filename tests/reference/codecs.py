"""Compression as Kafka frames it, written to be read.

Snappy and LZ4 are decoded by hand, gzip and Zstandard by Python's own module
and the streaming decoder of the library: not the calls that faustc makes.
Every decoder raises CorruptFrame when its output would pass max_size.
"""

import gzip
import io
import struct
import zlib

import xxhash
import zstandard

from faustc.exceptions import CorruptFrame, UnsupportedCodec

XERIAL = b"\x82SNAPPY\x00"
LZ4_MAGIC = 0x184D2204


def need(condition: bool, reason: str) -> None:
    if not condition:
        raise CorruptFrame(reason)


def decompress(codec: int, data: bytes, max_size: int) -> bytes:
    decoders = {1: gunzip, 2: unsnappy, 3: unlz4, 4: unzstd}
    if codec not in decoders:
        raise UnsupportedCodec(f"codec {codec}")
    out = decoders[codec](data, max_size)
    need(len(out) <= max_size, "too much output")
    return out


def compress(codec: int, data: bytes) -> bytes:
    return {1: gzip.compress, 2: snappy, 3: lz4, 4: zstd}[codec](data)


def gunzip(data: bytes, max_size: int) -> bytes:
    # The module overlooks the reserved flags and the header's checksum.
    need(len(data) > 3 and not data[3] & 0xE2, "gzip flags")
    try:
        out = gzip.GzipFile(fileobj=io.BytesIO(data)).read(max_size + 1)
    except (OSError, EOFError, zlib.error) as exc:
        raise CorruptFrame(str(exc)) from exc
    # The module takes an empty file, and zeros after a member, for a valid stream.
    need(data[-4:] == struct.pack("<I", len(out)), "gzip size")
    return out


def unzstd(data: bytes, max_size: int) -> bytes:
    out = b""
    need(bool(data), "empty")
    while data:
        decoder = zstandard.ZstdDecompressor().decompressobj()
        try:
            out += decoder.decompress(data)
        except zstandard.ZstdError as exc:
            raise CorruptFrame(str(exc)) from exc
        need(decoder.eof, "zstd ends early")
        data = decoder.unused_data
    return out


def zstd(data: bytes) -> bytes:
    """Write a frame that does not say its size, as Java's stream does."""
    encoder = zstandard.ZstdCompressor(write_content_size=False).compressobj()
    return encoder.compress(data) + encoder.flush()


def copy_match(out: bytearray, distance: int, length: int) -> None:
    need(0 < distance <= len(out), "a match from before the beginning")
    for _ in range(length):
        out.append(out[-distance])


def unsnappy_raw(data: bytes, max_size: int) -> bytes:
    claim = shift = at = 0
    while True:
        need(at < len(data) and shift < 35, "snappy length")
        claim |= (data[at] & 0x7F) << shift
        at += 1
        shift += 7
        if data[at - 1] < 0x80:
            break
    need(claim <= max_size, "too much output")
    out = bytearray()
    while at < len(data):
        tag = data[at]
        at += 1
        kind, length = tag & 3, tag >> 2
        if kind == 0:
            if length >= 60:
                extra = length - 59
                need(at + extra <= len(data), "snappy literal length")
                length = int.from_bytes(data[at : at + extra], "little")
                at += extra
            length += 1
            need(at + length <= len(data), "snappy literal")
            out += data[at : at + length]
            at += length
        else:
            extra = {1: 1, 2: 2, 3: 4}[kind]
            need(at + extra <= len(data), "snappy copy")
            distance = int.from_bytes(data[at : at + extra], "little")
            at += extra
            if kind == 1:
                distance |= tag >> 5 << 8
                length = (length & 7) + 4
            else:
                length += 1
            need(len(out) + length <= claim, "more than snappy claims")
            copy_match(out, distance, length)
        need(len(out) <= claim, "more than snappy claims")
    need(len(out) == claim, "less than snappy claims")
    return bytes(out)


def unsnappy(data: bytes, max_size: int) -> bytes:
    if not data.startswith(XERIAL):
        return unsnappy_raw(data, max_size)
    need(len(data) >= 16, "xerial header")
    out, at = b"", 16
    while at < len(data):
        need(at + 4 <= len(data), "xerial length")
        (size,) = struct.unpack_from(">i", data, at)
        at += 4
        need(0 <= size <= len(data) - at, "xerial block")
        out += unsnappy_raw(data[at : at + size], max_size - len(out))
        at += size
    return out


def snappy_literals(data: bytes) -> bytes:
    """Write a raw block of literals alone."""
    out = bytearray()
    claim = len(data)
    while claim >= 0x80:
        out.append(claim & 0x7F | 0x80)
        claim >>= 7
    out.append(claim)
    for at in range(0, len(data), 60):
        piece = data[at : at + 60]
        out.append((len(piece) - 1) << 2)
        out += piece
    return bytes(out)


def snappy(data: bytes) -> bytes:
    out = XERIAL + struct.pack(">ii", 1, 1)
    for at in range(0, len(data), 32768):
        block = snappy_literals(data[at : at + 32768])
        out += struct.pack(">i", len(block)) + block
    return out


def unlz4_block(data: bytes, out: bytearray, limit: int) -> None:
    """Append one block's output to out, which holds nothing it may refer to."""
    at = 0

    def extended(length: int) -> int:
        nonlocal at
        if length == 15:
            while True:
                need(at < len(data), "lz4 length")
                length += data[at]
                at += 1
                if data[at - 1] != 255:
                    break
        return length

    while True:
        need(at < len(data), "lz4 token")
        token = data[at]
        at += 1
        literals = extended(token >> 4)
        need(at + literals <= len(data), "lz4 literals")
        out += data[at : at + literals]
        at += literals
        need(len(out) <= limit, "lz4 block too large")
        if at == len(data):
            return
        need(at + 2 <= len(data), "lz4 distance")
        distance = int.from_bytes(data[at : at + 2], "little")
        at += 2
        length = extended(token & 15) + 4
        need(len(out) + length <= limit, "lz4 block too large")
        copy_match(out, distance, length)


def unlz4(data: bytes, max_size: int) -> bytes:
    need(len(data) >= 7, "lz4 header")
    magic, flags, block = struct.unpack_from("<IBB", data)
    need(magic == LZ4_MAGIC and flags >> 6 == 1 and not flags & 3, "lz4 header")
    need(not block & 0x8F and block >> 4 >= 4, "lz4 block size")
    need(bool(flags & 0x20), "linked blocks are not for this oracle")
    block_max = 1 << (8 + 2 * (block >> 4))
    at, content_size = 6, None
    if flags & 8:
        need(len(data) >= 15, "lz4 header")
        (content_size,) = struct.unpack_from("<Q", data, 6)
        at = 14
    need(data[at] == xxhash.xxh32_intdigest(data[4:at]) >> 8 & 0xFF, "lz4 header checksum")
    at += 1
    out = b""
    while True:
        need(at + 4 <= len(data), "lz4 block size")
        (word,) = struct.unpack_from("<I", data, at)
        at += 4
        if word == 0:
            break
        size = word & 0x7FFFFFFF
        need(0 < size <= block_max and at + size <= len(data), "lz4 block")
        piece = data[at : at + size]
        at += size
        if flags & 0x10:
            need(at + 4 <= len(data), "lz4 block checksum")
            (stored,) = struct.unpack_from("<I", data, at)
            need(stored == xxhash.xxh32_intdigest(piece), "lz4 block checksum")
            at += 4
        if not word >> 31:
            made = bytearray()
            unlz4_block(piece, made, block_max)
            piece = bytes(made)
        out += piece
        need(len(out) <= max_size, "too much output")
    if flags & 4:
        need(at + 4 <= len(data), "lz4 checksum")
        (stored,) = struct.unpack_from("<I", data, at)
        need(stored == xxhash.xxh32_intdigest(out), "lz4 checksum")
        at += 4
    need(at == len(data), "bytes after the lz4 frame")
    need(content_size is None or content_size == len(out), "lz4 content size")
    return out


def lz4(data: bytes) -> bytes:
    """Write a frame of stored blocks."""
    descriptor = bytes([0x60, 0x40])
    out = struct.pack("<I", LZ4_MAGIC) + descriptor
    out += bytes([xxhash.xxh32_intdigest(descriptor) >> 8 & 0xFF])
    for at in range(0, len(data), 65536):
        piece = data[at : at + 65536]
        out += struct.pack("<I", len(piece) | 0x80000000) + piece
    return out + bytes(4)
