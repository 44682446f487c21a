"""The framer: whole frames, whatever the pieces they arrive in, by either feed."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faustc._native.framer import DEFAULT_MAX_FRAME_BYTES, Framer
from faustc.exceptions import ConnectionLost, CorruptFrame

# Around the stage's size and around the length from which a remainder is read directly.
SIZES = [0, 1, 3, 4, 5, 100, 16_379, 16_384, 65_531, 65_532, 65_533, 65_536, 70_000, 200_000]

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Two ends of a stream: ours, non-blocking, and the broker's."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        yield ours, theirs


def framed(frames: list[bytes]) -> bytes:
    return b"".join(struct.pack(">i", len(frame)) + frame for frame in frames)


def bodies(sizes: list[int], seed: int = 7) -> list[bytes]:
    rng = random.Random(seed)
    return [rng.randbytes(size) for size in sizes]


def through_socket(framer: Framer, pair: Pair, data: bytes, cuts: list[int]) -> list[bytes]:
    ours, theirs = pair
    got: list[bytes] = []
    for piece in cut(data, cuts):
        theirs.setblocking(False)
        view = memoryview(piece)
        while view:
            view = view[theirs.send(view) :]
            got += framer.receive(ours.fileno())
    return got


def through_buffer(framer: Framer, data: bytes, cuts: list[int]) -> list[bytes]:
    got: list[bytes] = []
    for piece in cut(data, cuts):
        at = 0
        while at < len(piece):
            n = min(len(framer), len(piece) - at)
            with memoryview(framer) as buffer:
                buffer[:n] = piece[at : at + n]
            got += framer.buffer_updated(n)
            at += n
    return got


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(c % (len(data) + 1) for c in cuts), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


@settings(deadline=None, max_examples=60)
@given(
    sizes=st.lists(st.sampled_from(SIZES) | st.integers(0, 300), max_size=12),
    cuts=st.lists(st.integers(0, 1 << 30), max_size=20),
    stage_bytes=st.sampled_from([16, 64, 65_536]),
)
def test_frames_arrive_whole_however_they_are_cut(
    sizes: list[int], cuts: list[int], stage_bytes: int
) -> None:
    frames = bodies(sizes)
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        by_socket = Framer(stage_bytes=stage_bytes)
        assert through_socket(by_socket, (ours, theirs), framed(frames), cuts) == frames
    by_buffer = Framer(stage_bytes=stage_bytes)
    assert through_buffer(by_buffer, framed(frames), cuts) == frames
    assert not by_socket.pending
    assert not by_buffer.pending


def test_every_split_of_a_short_stream_gives_the_same_frames(pair: Pair) -> None:
    frames = [b"", b"a", b"four", b"hello world"]
    data = framed(frames)
    for at in range(len(data) + 1):
        assert through_socket(Framer(), pair, data, [at]) == frames
        assert through_buffer(Framer(), data, [at]) == frames


def test_both_feeds_may_take_turns_in_the_middle_of_a_frame(pair: Pair) -> None:
    frames = bodies([100_000, 10])
    data = framed(frames)
    framer = Framer()
    got = through_socket(framer, pair, data[:30_000], [])
    got += through_buffer(framer, data[30_000:60_000], [])
    got += through_socket(framer, pair, data[60_000:], [])
    assert got == frames


def test_nothing_to_receive_returns_at_once_even_on_a_blocking_descriptor(pair: Pair) -> None:
    ours, _ = pair
    ours.setblocking(True)
    assert Framer().receive(ours.fileno()) == []


def test_pending_says_whether_a_frame_is_cut_short(pair: Pair) -> None:
    ours, theirs = pair
    framer = Framer()
    for piece, pending in ((b"\0\0", True), (b"\0\2", True), (b"a", True), (b"b", False)):
        theirs.send(piece)
        framer.receive(ours.fileno())
        assert framer.pending is pending


def test_frames_before_the_end_come_first_then_every_call_raises(pair: Pair) -> None:
    ours, theirs = pair
    framer = Framer()
    theirs.send(framed([b"one", b"two"]) + b"\0\0\0\5cut")
    theirs.close()
    assert framer.receive(ours.fileno()) == [b"one", b"two"]
    for _ in range(2):
        with pytest.raises(ConnectionLost, match="closed the connection"):
            framer.receive(ours.fileno())


def test_frames_before_the_end_come_first_when_the_end_is_seen_in_the_same_call(pair: Pair) -> None:
    # given a frame that fills the buffer offered for it, so that receive asks once more
    ours, theirs = pair
    framer = Framer(stage_bytes=16)
    theirs.send(framed([b"x" * 12]))
    theirs.close()
    assert framer.receive(ours.fileno()) == [b"x" * 12]
    with pytest.raises(ConnectionLost, match="closed the connection"):
        framer.receive(ours.fileno())


def test_a_reset_is_told_with_its_errno() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        theirs, _ = server.accept()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        theirs.close()
        with ours:
            ours.setblocking(False)
            with pytest.raises(ConnectionLost, match="ECONNRESET") as caught:
                Framer().receive(ours.fileno())
    assert caught.value.errno is not None


def test_a_descriptor_that_is_none_is_told_with_its_errno() -> None:
    with pytest.raises(ConnectionLost, match="EBADF"):
        Framer().receive(-1)


@pytest.mark.parametrize("length", [-1, -(2**31), 1001, 2**31 - 1])
def test_absurd_length_is_refused_by_either_feed_and_for_good(pair: Pair, length: int) -> None:
    ours, theirs = pair
    data = struct.pack(">i", length) + b"more"
    framer = Framer(max_frame_bytes=1000)
    theirs.send(data)
    for _ in range(2):
        with pytest.raises(CorruptFrame, match=f"claims {length} bytes"):
            framer.receive(ours.fileno())
    with pytest.raises(CorruptFrame, match=f"claims {length} bytes"):
        through_buffer(Framer(max_frame_bytes=1000), data, [])


def test_a_frame_of_exactly_the_limit_is_taken(pair: Pair) -> None:
    framer = Framer(max_frame_bytes=1000)
    assert through_socket(framer, pair, framed([b"x" * 1000]), []) == [b"x" * 1000]


def test_the_default_limit_holds_the_largest_fetch_answer_a_user_can_ask_for(pair: Pair) -> None:
    ours, theirs = pair
    assert DEFAULT_MAX_FRAME_BYTES > 128 << 20
    theirs.send(struct.pack(">i", DEFAULT_MAX_FRAME_BYTES))
    framer = Framer()
    assert framer.receive(ours.fileno()) == []
    assert framer.pending


def test_receive_stops_at_its_budget_and_goes_on_from_there(pair: Pair) -> None:
    ours, theirs = pair
    frames = bodies([96] * 100)
    theirs.send(framed(frames))
    framer = Framer()
    got = framer.receive(ours.fileno(), 1000)
    assert got == frames[:10]
    got += framer.receive(ours.fileno(), 4)
    assert got == frames[:10]
    while len(got) < 100:
        more = framer.receive(ours.fileno(), 1000)
        assert len(more) <= 11
        got += more
    assert got == frames


@pytest.mark.parametrize("max_frame_bytes", [-1, 2**31])
def test_a_limit_that_no_length_can_have_is_refused(max_frame_bytes: int) -> None:
    with pytest.raises(ValueError, match="31 bits"):
        Framer(max_frame_bytes)


# --- as a buffer ---


def test_more_than_the_buffer_holds_is_refused_and_leaves_it_usable() -> None:
    framer = Framer()
    for n in (-1, len(framer) + 1):
        with pytest.raises(ValueError, match="written into a buffer"):
            framer.buffer_updated(n)
    assert through_buffer(framer, framed([b"ok"]), []) == [b"ok"]


def test_a_slice_of_the_framer_is_writable_memory_as_asyncios_tls_needs() -> None:
    framer = Framer()
    data = framed([b"hello", b"world"])
    memoryview(framer)[:9] = data[:9]
    framer[9:][:9] = data[9:]
    assert framer.buffer_updated(18) == [b"hello", b"world"]


def test_a_long_remainder_is_offered_whole_and_a_short_one_is_not() -> None:
    framer = Framer()
    through_buffer(framer, struct.pack(">i", 1 << 20), [])
    assert len(framer) == 1 << 20
    framer = Framer()
    through_buffer(framer, struct.pack(">i", 100), [])
    assert len(framer) > 100


def test_a_frame_does_not_change_under_a_buffer_that_is_still_held() -> None:
    # given a buffer over a begun frame, held while the frame is completed
    framer = Framer()
    body = b"a" * 50_000
    through_buffer(framer, struct.pack(">i", len(body)), [])
    held = memoryview(framer)
    held[:] = body
    (frame,) = framer.buffer_updated(len(body))
    # when its holder writes once more
    held[:] = b"z" * len(held)
    # then the frame is as it arrived, and the memory was still there to write to
    assert frame == body
    held.release()
    assert through_buffer(framer, framed([b"next"]), []) == [b"next"]


def test_a_buffer_outlives_its_framer() -> None:
    framer = Framer()
    view = memoryview(framer)
    del framer
    view[:] = b"x" * len(view)
    assert view[-1:] == b"x"


async def test_frames_arrive_over_an_asyncio_transport() -> None:
    frames = bodies([10, 70_000, 0, 16_384, 300_000, 5])
    got: list[bytes] = []
    lost = asyncio.get_running_loop().create_future()

    class Receiver(asyncio.BufferedProtocol):
        framer = Framer()

        def get_buffer(self, sizehint: int) -> Framer:  # type: ignore[override]
            return self.framer

        def buffer_updated(self, nbytes: int) -> None:
            got.extend(self.framer.buffer_updated(nbytes))

        def connection_lost(self, exc: Exception | None) -> None:
            lost.set_result(exc)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(framed(frames))
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        await asyncio.get_running_loop().create_connection(
            Receiver, *server.sockets[0].getsockname()
        )
        assert await asyncio.wait_for(lost, 10) is None
    assert got == frames
