"""CRC32C and murmur2 against slow twins and published figures."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faustc._native.checksum import crc32c, hardware_crc, murmur2
from tests.reference import batches


def slow_murmur2(data: bytes) -> int:
    """Compute Kafka's murmur2 as its definition reads."""
    mask, m = 0xFFFFFFFF, 0x5BD1E995
    h = 0x9747B28C ^ len(data)
    whole = len(data) - len(data) % 4
    for at in range(0, whole, 4):
        k = int.from_bytes(data[at : at + 4], "little") * m & mask
        k = (k ^ k >> 24) * m & mask
        h = h * m & mask ^ k
    if data[whole:]:
        h = (h ^ int.from_bytes(data[whole:], "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return h ^ h >> 15


@pytest.mark.parametrize(
    ("data", "crc"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),  # the check value of CRC-32C
        (bytes(32), 0x8A9136AA),  # RFC 3720, B.4: zeros, ones, counting up and down
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_crc_of_published_vectors(data: bytes, crc: int) -> None:
    assert crc32c(data) == crc


@given(st.binary(max_size=400), st.integers(0, 400))
def test_crc_goes_on_from_any_cut(data: bytes, cut: int) -> None:
    assert crc32c(data[cut:], crc32c(data[:cut])) == crc32c(data) == batches.crc32c(data)


# 1024 and 3072 are the strides of the three chains in hardware; 8192 lets go of the GIL.
@pytest.mark.parametrize("edge", [8, 1024, 3072, 6144, 8192])
def test_crc_at_the_edges_of_its_strides(edge: int) -> None:
    noise = random.Random(edge).randbytes(edge + 32)
    for size in range(edge - 9, edge + 10):
        for start in (0, 1, 7):
            piece = memoryview(noise)[start : start + size]
            assert crc32c(piece) == batches.crc32c(bytes(piece))


def test_says_where_it_runs() -> None:
    assert hardware_crc() in (True, False)


# From Apache Kafka's UtilsTest: what decides where a key's messages are.
@pytest.mark.parametrize(
    ("key", "signed"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_murmur2_puts_keys_where_java_does(key: bytes, signed: int) -> None:
    assert murmur2(key) == signed & 0xFFFFFFFF


@given(st.binary(max_size=100))
def test_murmur2_is_its_definition(data: bytes) -> None:
    assert murmur2(data) == slow_murmur2(data)


@pytest.mark.parametrize("function", [crc32c, murmur2])
def test_text_and_none_are_refused(function: object) -> None:
    for wrong in ("text", None, 5):
        with pytest.raises((TypeError, BufferError)):
            function(wrong)  # type: ignore[operator]
