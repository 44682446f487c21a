"""Sending on a raw descriptor."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

import pytest

from faustc._native.socket import send
from faustc.exceptions import ConnectionLost

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        yield ours, theirs


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_bytes_like_is_sent_from_where_it_is_told(pair: Pair, kind: type) -> None:
    ours, theirs = pair
    assert send(ours.fileno(), kind(b"hello")) == 5
    assert send(ours.fileno(), kind(b"hello"), 3) == 2
    assert theirs.recv(100) == b"hellolo"


def test_nothing_to_send_takes_nothing(pair: Pair) -> None:
    ours, _ = pair
    assert send(ours.fileno(), b"") == 0
    assert send(ours.fileno(), b"abc", 3) == 0


def test_a_full_socket_takes_nothing_and_then_the_rest(pair: Pair) -> None:
    # given more than the socket holds, on a descriptor left in blocking mode
    ours, theirs = pair
    ours.setblocking(True)
    data = bytes(range(256)) * 16_384
    # when it is sent until nothing is taken
    sent = 0
    while n := send(ours.fileno(), data, sent):
        sent += n
    # then the call did not wait, and goes on once the other side has read
    assert 0 < sent < len(data)
    received = bytearray()
    while len(received) < len(data):
        received += theirs.recv(1 << 20)
        sent += send(ours.fileno(), data, sent)
    assert received == data


def test_a_closed_peer_is_an_error_with_its_errno_and_no_signal(pair: Pair) -> None:
    ours, theirs = pair
    theirs.close()
    with pytest.raises(ConnectionLost, match="EPIPE") as caught:
        send(ours.fileno(), b"x")
    assert caught.value.errno == errno.EPIPE


def test_a_descriptor_that_is_none_is_an_error() -> None:
    with pytest.raises(ConnectionLost, match="EBADF"):
        send(-1, b"x")


@pytest.mark.parametrize("start", [-1, 4])
def test_a_start_outside_the_data_is_refused(pair: Pair, start: int) -> None:
    with pytest.raises(ValueError, match=f"start {start} is outside the 3 bytes"):
        send(pair[0].fileno(), b"abc", start)


def test_text_is_refused(pair: Pair) -> None:
    with pytest.raises(TypeError, match="str"):
        send(pair[0].fileno(), "text")  # type: ignore[arg-type]
