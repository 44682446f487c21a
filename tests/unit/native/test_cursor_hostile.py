"""Bytes nobody should send: mutants of batches and answers, thousands of them, always the same.

Whatever the bytes, the outcome is messages or CorruptFrame (UnsupportedCodec
where a mutation made up a codec), and it is the reference's outcome.
"""

import random
import struct
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faustc._native.batch import decode
from faustc._native.fetch import decode_fetch
from faustc.exceptions import CorruptFrame, UnsupportedCodec
from tests.reference import batches
from tests.reference.batches import Record, encode_batch
from tests.unit.native.test_batch import fields
from tests.unit.native.test_fetch import TOPIC_ID, answer

MUTANTS = 20_000
BOUND = 50_000  # bytes a mutant may decompress to
EDGES = [0, 1, 2, 0x7F, 0x80, 0xFE, 0xFF]
NUMBERS = [0, 1, -1, 7, 48, 49, 2**31 - 1, -(2**31), 2**30, 0x01FFFFFF]

RECORDS = [
    Record(b"key", b"value" * 3, (("h", b"x"), ("é", None))),
    Record(None, b"", timestamp_delta=-3),
    Record(b"", None, offset_delta=4, timestamp_delta=2**40),
]
SEEDS = [
    *(encode_batch(RECORDS, codec=codec, base_offset=100) for codec in range(5)),
    encode_batch(RECORDS[:1]) + encode_batch(RECORDS[1:], base_offset=50),
    encode_batch([], last_offset_delta=5),
    encode_batch([Record(b"\0\0\0\1", b"\0" * 6)], attributes=0x30, producer_id=9),
    encode_batch(RECORDS, attributes=0x48, max_timestamp=5),
]


def mutate(chance: random.Random, data: bytes) -> bytes:
    """Change a few things the way a bug or an attacker would."""
    out = bytearray(data)
    for _ in range(chance.choice([1, 1, 1, 2, 4])):
        at = chance.randrange(len(out))
        match chance.randrange(8):
            case 0 | 1:
                out[at] ^= 1 << chance.randrange(8)
            case 2 | 3:
                out[at] = chance.choice(EDGES)
            case 4:
                del out[at : at + chance.choice([1, 2, 8])]
            case 5:
                out[at:at] = chance.randbytes(chance.choice([1, 2, 8]))
            case 6:
                out[at : at + 4] = struct.pack(">i", chance.choice(NUMBERS))
            case 7:
                end = at + chance.randrange(20)
                out[at:at] = out[at:end]
        if not out:
            return b"\0"
    return bytes(out)


def reseal(data: bytes) -> bytes:
    """Give a mutant the length and CRC that its other bytes call for."""
    out = bytearray(data)
    if len(out) >= 61:
        out[8:12] = struct.pack(">i", len(out) - 12)
        out[17:21] = struct.pack(">I", batches.crc32c(bytes(out[21:])))
    return bytes(out)


def mutants(seed: int, count: int) -> Iterator[bytes]:
    chance = random.Random(seed)
    for n in range(count):
        mutant = mutate(chance, SEEDS[n % len(SEEDS)])
        yield reseal(mutant) if chance.random() < 0.5 else mutant


def outcome(data: bytes, check_crc: bool) -> list[batches.DecodedBatch] | str:
    try:
        decoded = decode(data, check_crc=check_crc, max_decompressed=BOUND)
        result = [fields(batch) for batch in decoded]
    except (CorruptFrame, UnsupportedCodec) as exc:
        return type(exc).__name__
    for batch in decoded:
        try:
            assert batch.control_type in (-1, 0, 1)
        except CorruptFrame:
            assert batch.is_control
    return result


def expected(data: bytes, check_crc: bool) -> list[batches.DecodedBatch] | str:
    try:
        return batches.decode_batches(data, check_crc=check_crc, max_decompressed=BOUND)
    except (CorruptFrame, UnsupportedCodec) as exc:
        return type(exc).__name__


@pytest.mark.parametrize("check_crc", [True, False])
def test_mutants_have_the_references_outcome(check_crc: bool) -> None:
    survived = 0
    for mutant in mutants(20 + check_crc, MUTANTS):
        ours = outcome(mutant, check_crc)
        theirs = expected(mutant, check_crc)
        if isinstance(ours, str) and isinstance(theirs, str):
            continue  # which complaint comes first is nobody's promise
        assert ours == theirs, mutant.hex()
        survived += 1
    assert survived > MUTANTS // 50  # or the storm proves nothing


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_as_records(noise: bytes, log_append: bool) -> None:
    """Bytes that nobody made, behind a header that is right."""
    data = batches.seal(noise, count=3, last_offset_delta=9, attributes=8 * log_append)
    assert outcome(data, True) == expected(data, True)


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_as_batches(noise: bytes, partial: bool) -> None:
    try:
        decoded = decode(noise, allow_partial=partial, check_crc=False, max_decompressed=BOUND)
    except CorruptFrame:
        return
    assert all(batch.size_bytes >= 61 for batch in decoded)


@pytest.mark.parametrize("version", range(11, 19))
def test_mutants_of_fetch_answers(version: int) -> None:
    chance = random.Random(version)
    body = answer(version, [SEEDS[0], SEEDS[3], SEEDS[5]])
    survived = 0
    for _ in range(2_500):
        mutant = mutate(chance, body)
        try:
            decoded = decode_fetch(
                mutant, version, topic_names={TOPIC_ID: "orders"}, max_decompressed=BOUND
            )
        except CorruptFrame:
            continue
        survived += 1
        for part in decoded.partitions:
            for batch in part.batches:
                try:
                    list(batch)
                except (CorruptFrame, UnsupportedCodec):
                    assert batch.compression or not batch.is_control
    assert survived > 100


@pytest.mark.parametrize("version", range(11, 19))
def test_truncations_of_fetch_answers(version: int) -> None:
    body = answer(version, [SEEDS[0], b"", SEEDS[2]])
    decode_fetch(body, version)
    for cut in range(len(body)):
        with pytest.raises(CorruptFrame):
            decode_fetch(body[:cut], version)
    with pytest.raises(CorruptFrame, match="1 bytes after"):
        decode_fetch(body + b"\0", version)
