"""Compression codecs by Kafka's id, each bounded by what its caller allows.

A frame of 100 bytes can claim 4 GiB. So no codec allocates what compressed
bytes claim before it was checked twice: against the caller's max_size, and
against what that many bytes can expand to at best. Output that grows past
max_size is refused, whether it was claimed or not.
"""

import zlib

from libc.stdint cimport int64_t

from faustc._native.room cimport fail_size

from faustc._native import lz4frame, snappy, zstdframe
from faustc.exceptions import CorruptFrame, FaustError, UnsupportedCodec

DEFAULT_MAX_DECOMPRESSED = 128 * 1024 * 1024

cdef enum:
    LAST_ID = 7                     # three attribute bits
    GZIP_WBITS = 31                 # zlib: a gzip header, the largest window
    GZIP_MEMBERS = 64               # zlib copies what is left once a member; clients write one

cdef list names = ["none"] + [None] * LAST_ID
cdef list compressors = [None] * (LAST_ID + 1)
cdef list decompressors = [None] * (LAST_ID + 1)


def register(int codec_id, str name not None, compress not None, decompress not None) -> None:
    """Serve a codec id (1 to 7), in place of whoever served it before.

    compress(data, level) and decompress(data, max_size) return bytes; they may
    be called from any thread. decompress must not make more than max_size
    bytes: it is the one who knows what its input claims.
    """
    if not 1 <= codec_id <= LAST_ID:
        raise ValueError(f"codec id {codec_id}: Kafka has room for 1 to {LAST_ID}")
    if name in names and names.index(name) != codec_id:
        raise ValueError(f"codec name {name!r} is taken by id {names.index(name)}")
    names[codec_id] = name
    compressors[codec_id] = compress
    decompressors[codec_id] = decompress


def unregister(int codec_id) -> None:
    """Make a codec id (1 to 7) free; nothing happens when it is."""
    if not 1 <= codec_id <= LAST_ID:
        raise ValueError(f"codec id {codec_id}: Kafka has room for 1 to {LAST_ID}")
    names[codec_id] = compressors[codec_id] = decompressors[codec_id] = None


def codec_id(str name) -> int:
    """Return the id of a codec's name; None means "none". Raises UnsupportedCodec."""
    if name is None:
        return 0
    if name not in names:
        known = ", ".join(n for n in names if n is not None)
        raise UnsupportedCodec(f"no codec is named {name!r}; known are {known}")
    return names.index(name)


def codec_name(int codec_id) -> str:
    """Return the name of a codec id. Raises UnsupportedCodec."""
    if not 0 <= codec_id <= LAST_ID or names[codec_id] is None:
        raise UnsupportedCodec(f"no codec is registered for id {codec_id}")
    return names[codec_id]


def compress(int codec_id, data, level: int | None = None) -> bytes:
    """Return data compressed; level None is the codec's default. Raises UnsupportedCodec."""
    if codec_id == 0:
        return bytes(memoryview(data))
    codec_name(codec_id)
    return compressors[codec_id](data, level)


def decompress(int codec_id, data, int64_t max_size) -> bytes:
    """Return data decompressed, at most max_size bytes of it.

    Raises CorruptFrame for bytes that do not decompress, or to more than
    max_size, and UnsupportedCodec.
    """
    cdef bytes out
    if codec_id == 0:
        if len(data) > max_size:
            fail_size("data", max_size)
        return bytes(memoryview(data))
    codec_name(codec_id)
    try:
        out = decompressors[codec_id](data, max_size)
    except (FaustError, MemoryError):
        raise
    except Exception as exc:
        # Libraries have an error type each, some of them several; what they all
        # mean is that these bytes are no output of their codec.
        raise CorruptFrame(f"{names[codec_id]} data does not decompress: {exc}") from exc
    if len(out) > max_size:
        fail_size(names[codec_id], max_size)
    return out


def _gzip_compress(data, level):
    return zlib.compress(data, -1 if level is None else level, GZIP_WBITS)


def _gzip_decompress(data, int64_t max_size):
    """Inflate every member in data (RFC 1952 lets them follow each other)."""
    cdef list parts = []
    cdef int64_t room = max_size
    cdef object rest = data
    while len(parts) < GZIP_MEMBERS:
        member = zlib.decompressobj(GZIP_WBITS)
        part = member.decompress(rest, room + 1)    # 0 would mean no bound at all
        room -= len(part)
        if room < 0:
            fail_size("gzip", max_size)
        if not member.eof:
            raise CorruptFrame("gzip data ends early")
        parts.append(part)
        rest = member.unused_data
        if not rest:
            return parts[0] if len(parts) == 1 else b"".join(parts)
    raise CorruptFrame(f"gzip data has more than {GZIP_MEMBERS} members")


register(1, "gzip", _gzip_compress, _gzip_decompress)
register(2, "snappy", snappy.compress, snappy.decompress)
register(3, "lz4", lz4frame.compress, lz4frame.decompress)
register(4, "zstd", zstdframe.compress, zstdframe.decompress)
