"""Codecs: what goes in comes out, what others write is read, and nothing outgrows its bound."""

import functools
import gzip
import random
import struct
import threading
import time
import tracemalloc
import zlib
from collections.abc import Iterator

import cramjam
import lz4.block
import lz4.frame
import pytest
import xxhash
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from faustc._native.compression import (
    codec_id,
    codec_name,
    compress,
    decompress,
    register,
    unregister,
)
from faustc.exceptions import CorruptFrame, UnsupportedCodec
from tests.reference import codecs

GZIP, SNAPPY, LZ4, ZSTD = CODECS = (1, 2, 3, 4)
MIB = 1 << 20
# Text-like, longer than any block: 32 KiB snappy, 64 KiB lz4, 128 KiB zstd.
WORDS = [random.Random(n).randbytes(n % 9 + 2).hex().encode() for n in range(300)]
LONG = b" ".join(random.Random(5).choices(WORDS, k=40_000))[:300_000]
NOISE = random.Random(6).randbytes(100_000)


@pytest.fixture
def registry() -> Iterator[None]:
    """Free the codec id that a test took."""
    yield
    unregister(7)


def frame_of(blocks: list[bytes], flags: int = 0x60, size: int = 0x40) -> bytes:
    """Build an LZ4 frame around blocks that already have their length words."""
    descriptor = bytes([flags, size])
    check = xxhash.xxh32_intdigest(descriptor) >> 8 & 0xFF
    return struct.pack("<I", 0x184D2204) + descriptor + bytes([check]) + b"".join(blocks)


# --- names and ids ---------------------------------------------------------------------------


def test_names_and_ids_are_kafkas() -> None:
    known = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
    assert {name: codec_id(name) for name in known} == known
    assert {codec_name(n): n for n in range(5)} == known
    assert codec_id(None) == 0


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UnsupportedCodec, match=r"brotli.*none, gzip, snappy, lz4, zstd"):
        codec_id("brotli")


@pytest.mark.parametrize("number", [5, 6, 7, 8, -1])
def test_unknown_ids_are_refused_by_every_call(number: int) -> None:
    for call in (
        lambda: codec_name(number),
        lambda: compress(number, b"x"),
        lambda: decompress(number, b"x", 10),
    ):
        with pytest.raises(UnsupportedCodec):
            call()


def test_a_registered_codec_serves_its_id(registry: None) -> None:
    register(7, "reverse", lambda data, level: bytes(data)[::-1], lambda data, n: bytes(data)[::-1])
    assert codec_id("reverse") == 7
    assert codec_name(7) == "reverse"
    assert decompress(7, compress(7, b"abc"), 3) == b"abc"


def test_a_registered_codec_is_held_to_the_bound_and_to_its_errors(registry: None) -> None:
    register(7, "liar", lambda data, level: b"", lambda data, n: b"x" * (n + 1))
    with pytest.raises(CorruptFrame, match="liar decompresses to more than 9 bytes"):
        decompress(7, b"", 9)
    register(7, "broken", lambda data, level: b"", lambda data, n: {}["gone"])
    with pytest.raises(CorruptFrame, match="broken data does not decompress") as caught:
        decompress(7, b"", 9)
    assert isinstance(caught.value.__cause__, KeyError)


def test_registering_a_taken_name_or_a_bad_id_is_refused() -> None:
    with pytest.raises(ValueError, match="taken by id 1"):
        register(7, "gzip", lambda data, level: b"", lambda data, n: b"")
    for bad in (0, 8, -1):
        with pytest.raises(ValueError, match="1 to 7"):
            register(bad, "mine", lambda data, level: b"", lambda data, n: b"")
        with pytest.raises(ValueError, match="1 to 7"):
            unregister(bad)


def test_a_codec_can_be_given_up(registry: None) -> None:
    register(7, "mine", lambda data, level: b"", lambda data, n: b"")
    for _ in range(2):
        unregister(7)
        with pytest.raises(UnsupportedCodec):
            codec_id("mine")


# --- round trips -----------------------------------------------------------------------------


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(
    "data",
    [b"", b"x", LONG, NOISE, bytes(MIB), LONG[:32768], LONG[:65536], NOISE[:65537]],
    ids=lambda data: f"{len(data)}",
)
def test_what_goes_in_comes_out(codec: int, data: bytes) -> None:
    packed = compress(codec, data)
    assert decompress(codec, packed, len(data)) == data
    if len(data) <= 65536:  # the oracle is slow
        assert codecs.decompress(codec, packed, len(data)) == data
    for kind in (bytearray, memoryview):
        assert decompress(codec, kind(packed), len(data)) == data
        assert compress(codec, kind(data)) == packed


@pytest.mark.parametrize("codec", CODECS)
@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=3000))
def test_reads_the_reference_and_is_read_by_it(codec: int, data: bytes) -> None:
    assert decompress(codec, codecs.compress(codec, data), len(data)) == data
    assert codecs.decompress(codec, compress(codec, data), len(data)) == data


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("level", [1, 3, 9])
def test_levels(codec: int, level: int) -> None:
    assert decompress(codec, compress(codec, LONG, level), len(LONG)) == LONG


@pytest.mark.parametrize(("codec", "high"), [(GZIP, 9), (LZ4, 9), (ZSTD, 19)])
def test_a_higher_level_packs_tighter(codec: int, high: int) -> None:
    assert len(compress(codec, LONG, high)) < len(compress(codec, LONG, 1))


@pytest.mark.parametrize("codec", CODECS)
def test_one_byte_above_the_bound_is_refused(codec: int) -> None:
    packed = compress(codec, LONG)
    assert decompress(codec, packed, len(LONG)) == LONG
    with pytest.raises(CorruptFrame):
        decompress(codec, packed, len(LONG) - 1)
    with pytest.raises(CorruptFrame):
        decompress(codec, packed, 0)


@pytest.mark.parametrize("codec", CODECS)
def test_every_truncation_is_refused(codec: int) -> None:
    packed = compress(codec, LONG[:400] + NOISE[:30])
    for cut in range(len(packed)):
        if codec == SNAPPY and cut == 16:
            continue  # a header with no block behind it: empty, and whole
        with pytest.raises(CorruptFrame):
            decompress(codec, packed[:cut], MIB)


@pytest.mark.parametrize("codec", [GZIP, LZ4, ZSTD])
def test_bytes_after_the_end_are_refused(codec: int) -> None:
    with pytest.raises(CorruptFrame):
        decompress(codec, compress(codec, LONG) + b"\0\0\0", MIB)


@pytest.mark.parametrize("codec", CODECS)
def test_threads_share_a_codec(codec: int) -> None:
    """Contexts are reused, so two threads must never hold the same one."""
    wrong: list[bytes] = []

    def work(seed: int) -> None:
        data = random.Random(seed).randbytes(2000) * 20
        for _ in range(15):
            if decompress(codec, compress(codec, data), len(data)) != data:
                wrong.append(data)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not wrong
    assert not any(thread.is_alive() for thread in threads)


# --- framings that others write --------------------------------------------------------------


def test_snappy_raw_block_as_librdkafka_writes_it() -> None:
    assert decompress(SNAPPY, bytes(cramjam.snappy.compress_raw(LONG)), MIB) == LONG


def test_snappy_is_written_in_javas_framing_of_32_kib_blocks() -> None:
    packed = compress(SNAPPY, LONG[:40_000])
    assert packed[:16] == b"\x82SNAPPY\0" + b"\0\0\0\1" * 2
    (size,) = struct.unpack_from(">i", packed, 16)
    first = bytes(cramjam.snappy.decompress_raw(packed[20 : 20 + size]))
    assert first == LONG[:32768]


def test_gzip_members_follow_each_other() -> None:
    packed = gzip.compress(b"first ") + gzip.compress(b"") + gzip.compress(b"second")
    assert decompress(GZIP, packed, 12) == b"first second"
    with pytest.raises(CorruptFrame, match="more than 11"):
        decompress(GZIP, packed, 11)


def test_gzip_members_without_end_are_refused() -> None:
    """Each costs a copy of all that is left: a frame of 100,000 would take minutes."""
    started = time.perf_counter()
    with pytest.raises(CorruptFrame, match="more than 64 members"):
        decompress(GZIP, gzip.compress(b"") * 100_000, MIB)
    assert time.perf_counter() - started < 30


@pytest.mark.parametrize(
    ("codec", "packed"),
    [
        (SNAPPY, b"\x82SNAPPY\0" + b"\0\0\0\1" * 2 + b"\0\0\0\1\0" * 200_000),
        (LZ4, frame_of([b"\1\0\0\x80x"] * 200_000 + [bytes(4)])),
        (ZSTD, zstandard.compress(b"") * 20_000),
    ],
    ids=["snappy", "lz4", "zstd"],
)
def test_many_tiny_blocks_cost_no_memory_of_their_own(codec: int, packed: bytes) -> None:
    tracemalloc.start()
    try:
        assert len(decompress(codec, packed, MIB)) in (0, 200_000)
        assert tracemalloc.get_traced_memory()[1] < 600_000
    finally:
        tracemalloc.stop()


def test_lz4_blocks_of_nothing_are_refused() -> None:
    with pytest.raises(CorruptFrame, match="without a byte"):
        decompress(LZ4, frame_of([b"\0\0\0\x80", bytes(4)]), MIB)


@pytest.mark.parametrize("wrong", [None, "text", 12, [1, 2]])
@pytest.mark.parametrize("codec", [0, *CODECS])
def test_data_must_be_bytes(codec: int, wrong: object) -> None:
    for call in (lambda: compress(codec, wrong), lambda: decompress(codec, wrong, 10)):  # type: ignore[arg-type]
        with pytest.raises((TypeError, CorruptFrame)):
            call()


@pytest.mark.parametrize("distance", [0, 1, 4])
def test_an_lz4_match_of_distance_0_is_refused(distance: int) -> None:
    """Symptom: the library copies what was never written: messages held our own old memory."""
    block = b"\x44abcd" + struct.pack("<H", distance) + b"\x50efghi"
    packed = frame_of([struct.pack("<I", len(block)), block, bytes(4)])
    if distance:
        assert decompress(LZ4, packed, MIB) == codecs.decompress(LZ4, packed, MIB)
    else:
        with pytest.raises(CorruptFrame, match="distance 0"):
            decompress(LZ4, packed, MIB)


def test_zstd_frames_follow_each_other_with_and_without_their_size() -> None:
    sized = zstandard.ZstdCompressor(write_content_size=True).compress(LONG)
    unsized = codecs.zstd(NOISE)
    assert decompress(ZSTD, sized + unsized + sized, 3 * MIB) == LONG + NOISE + LONG


def test_zstd_frame_of_several_mib_without_its_size() -> None:
    data = LONG * 12 + bytes(5 * MIB)
    packed = codecs.zstd(data)
    assert decompress(ZSTD, packed, len(data)) == data
    with pytest.raises(CorruptFrame):
        decompress(ZSTD, packed, len(data) - 1)


@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize("block_size", [4, 5, 6, 7])
@pytest.mark.parametrize("checks", [False, True])
def test_lz4_frames_of_every_shape(linked: bool, block_size: int, checks: bool) -> None:
    packed = lz4.frame.compress(
        LONG,
        block_linked=linked,
        block_size=block_size,
        content_checksum=checks,
        block_checksum=checks,
        store_size=checks,
    )
    assert decompress(LZ4, packed, len(LONG)) == LONG
    with pytest.raises(CorruptFrame):
        decompress(LZ4, packed, len(LONG) - 1)
    with pytest.raises(CorruptFrame):
        decompress(LZ4, packed[:-1], len(LONG))
    with pytest.raises(CorruptFrame):
        decompress(LZ4, packed + b"x", len(LONG))


def test_lz4_is_read_by_the_lz4_library() -> None:
    for data in (LONG, NOISE, b""):
        assert lz4.frame.decompress(compress(LZ4, data)) == data


@pytest.mark.parametrize("at", [-1, 30])
def test_lz4_checksums_are_checked(at: int) -> None:
    packed = bytearray(
        lz4.frame.compress(NOISE[:100], content_checksum=True, block_checksum=True, store_size=True)
    )
    packed[at] ^= 1
    with pytest.raises(CorruptFrame, match="checksum"):
        decompress(LZ4, packed, MIB)


def test_lz4_size_that_does_not_match_is_refused() -> None:
    packed = bytearray(lz4.frame.compress(LONG[:1000], block_linked=False, store_size=True))
    packed[6:14] = struct.pack("<Q", 999)
    packed[14] = xxhash.xxh32_intdigest(bytes(packed[4:14])) >> 8 & 0xFF
    with pytest.raises(CorruptFrame, match="claims 999 bytes and holds 1000"):
        decompress(LZ4, packed, MIB)


# --- bombs: small frames with huge output, and claims of output that is not there ------------

BOMB = bytes(64 * MIB)


def lz4_bomb() -> bytes:
    block = lz4.block.compress(bytes(4 * MIB), store_size=False)
    return frame_of([struct.pack("<I", len(block)) + block] * 1000 + [bytes(4)], size=0x70)


def zstd_claim(claim: int) -> bytes:
    """A frame that claims any size over a single raw block of one byte."""
    return struct.pack("<IBQ", 0xFD2FB528, 0xE0, claim) + bytes([1 | 1 << 3, 0, 0]) + b"x"


@functools.cache
def bombs() -> dict[str, tuple[int, bytes]]:
    four_gib = b"\xff\xff\xff\xff\x0f"
    xerial = b"\x82SNAPPY\0" + b"\0\0\0\1" * 2
    huge = lz4.frame.compress(b"x", store_size=True, block_linked=False)
    huge = bytearray(huge)
    huge[6:14] = struct.pack("<Q", 1 << 60)
    huge[14] = xxhash.xxh32_intdigest(bytes(huge[4:14])) >> 8 & 0xFF
    rle = bytes([0 | 1 << 1 | (131072 & 31) << 3, 131072 >> 5 & 0xFF, 131072 >> 13]) + b"x"
    endless = struct.pack("<IBB", 0xFD2FB528, 0, 0x60) + rle * 40_000 + bytes([1, 0, 0])
    return {
        "gzip output": (GZIP, gzip.compress(BOMB, 9)),
        "gzip members": (GZIP, gzip.compress(bytes(8 * MIB)) * 9),
        "gzip in gzip": (GZIP, gzip.compress(BOMB) + gzip.compress(gzip.compress(BOMB))),
        "snappy output": (SNAPPY, bytes(cramjam.snappy.compress_raw(BOMB))),
        "snappy claim": (SNAPPY, four_gib + b"\0x"),
        "snappy claim beyond 32 bits": (SNAPPY, b"\xff" * 9 + b"\x01" + b"\0x"),
        "snappy xerial claim": (SNAPPY, xerial + struct.pack(">i", 7) + four_gib + b"\0x"),
        "snappy xerial length": (SNAPPY, xerial + b"\x7f\xff\xff\xff" + b"\0x"),
        "snappy xerial negative": (SNAPPY, xerial + b"\xff\xff\xff\xff" + b"\0x"),
        "lz4 output": (LZ4, lz4_bomb()),
        "lz4 linked output": (LZ4, lz4.frame.compress(BOMB, block_linked=True)),
        "lz4 size": (LZ4, bytes(huge)),
        "lz4 block": (LZ4, frame_of([b"\xff\xff\xff\x7f"])),
        "lz4 stored block": (LZ4, frame_of([b"\xff\xff\xff\xff"])),
        "zstd output": (ZSTD, zstandard.compress(BOMB)),
        "zstd unsized output": (ZSTD, codecs.zstd(BOMB)),
        "zstd claim": (ZSTD, zstd_claim(1 << 32)),
        "zstd claim beyond 63 bits": (ZSTD, zstd_claim(2**64 - 2)),
        "zstd claim within the bound": (ZSTD, zstd_claim(MIB)),
        "zstd runs": (ZSTD, endless),
        "zstd window": (ZSTD, struct.pack("<IBB", 0xFD2FB528, 0, 0xFF) + bytes([1, 0, 0])[:2]),
    }


@pytest.mark.parametrize("name", bombs())
def test_a_bomb_is_refused_without_its_memory(name: str) -> None:
    codec, packed = bombs()[name]
    tracemalloc.start()
    try:
        with pytest.raises(CorruptFrame):
            decompress(codec, packed, 4 * MIB)
        assert tracemalloc.get_traced_memory()[1] < 4 * MIB * 3 + len(packed)
    finally:
        tracemalloc.stop()


def test_lz4_room_is_bounded_by_what_the_bytes_can_make() -> None:
    """Blocks of 4 MiB are claimed by the header; two bytes cannot make them."""
    packed = frame_of([struct.pack("<I", 2) + b"\x10x"] * 20 + [bytes(4)], size=0x70)
    tracemalloc.start()
    try:
        assert decompress(LZ4, packed, 1 << 30) == b"x" * 20
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("codec", "packed"),
    [
        *((codec, b"") for codec in CODECS),
        *((codec, b"not compressed at all") for codec in CODECS),
        (LZ4, frame_of([bytes(4)], flags=0x61)),  # a dictionary
        (LZ4, frame_of([bytes(4)], flags=0xA0)),  # version 2
        (LZ4, frame_of([bytes(4)], size=0x30)),  # a block size nobody has
        (LZ4, frame_of([struct.pack("<I", 4) + b"\x0fa\x00\x00", bytes(4)])),
        (ZSTD, struct.pack("<IB", 0xFD2FB528, 0x21) + b"\x01\x01" + bytes([1, 0, 0])),  # dictionary
        (ZSTD, struct.pack("<IB", 0xFD2FB528, 0x28) + b"\x00" + bytes([1, 0, 0])),  # reserved bit
        (ZSTD, struct.pack("<IB", 0xFD2FB528, 0x20) + b"\x00" + bytes([7, 0, 0])),  # block type 3
        (GZIP, zlib.compress(b"a zlib stream is no gzip member")),
    ],
)
def test_bad_data_is_refused(codec: int, packed: bytes) -> None:
    with pytest.raises(CorruptFrame):
        decompress(codec, packed, MIB)


@pytest.mark.parametrize("codec", CODECS)
def test_mutants_decompress_or_are_refused(codec: int) -> None:
    chance = random.Random(codec)
    seeds = [compress(codec, LONG[:500]), codecs.compress(codec, NOISE[:50] * 3)]
    for _ in range(1500):
        packed = bytearray(chance.choice(seeds))
        for _ in range(chance.choice([1, 1, 2, 5])):
            packed[chance.randrange(len(packed))] = chance.choice(
                [0, 1, 127, 255, chance.randrange(256)]
            )
        try:
            ours = decompress(codec, packed, 10_000)
        except CorruptFrame:
            ours = None
        try:
            theirs = codecs.decompress(codec, bytes(packed), 10_000)
        except CorruptFrame:
            continue
        assert ours == theirs, packed.hex()
