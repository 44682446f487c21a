"""Receive frames from a local socket: CPU of this process per MB, by frame and stage size.

`python -m benchmarks framer`. Another process sends. Each figure is the CPU
time (user and system, of this process alone) for one MB of frames, in the
stage sizes that were weighed and, beside them, with asyncio's StreamReader.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import select
import socket
import struct
import time
from collections.abc import Callable

import pyperf

from faustc._native.framer import Framer

MB = 1_000_000
FRAMES = {"1 MB": 1_000_000, "16 KB": 16_000, "100 B": 100}
STAGES = {"16 KiB": 16 << 10, "64 KiB": 64 << 10, "256 KiB": 256 << 10}
TOTAL = {"1 MB": 200 * MB, "16 KB": 100 * MB, "100 B": 20 * MB}


def feed(port: int, frame: int) -> None:
    """Send frames until the other side has enough."""
    chunk = (struct.pack(">i", frame) + bytes(frame)) * max(1, (1 << 20) // (frame + 4))
    with socket.create_connection(("127.0.0.1", port)) as out:
        try:
            while True:
                out.sendall(chunk)
        except OSError:
            return


def from_feeder(frame: int, receive: Callable[[socket.socket, int], None], total: int) -> float:
    """Return the CPU seconds that receive() took for total bytes."""
    context = multiprocessing.get_context("fork")
    with socket.create_server(("127.0.0.1", 0)) as server:
        feeder = context.Process(target=feed, args=(server.getsockname()[1], frame), daemon=True)
        feeder.start()
        ours, _ = server.accept()
        with ours:
            ours.setblocking(False)
            started = time.process_time()
            receive(ours, total)
            spent = time.process_time() - started
        feeder.join(10)
    return spent


def with_framer(stage_bytes: int) -> Callable[[socket.socket, int], None]:
    def receive(ours: socket.socket, total: int) -> None:
        framer = Framer(stage_bytes=stage_bytes)
        fd = ours.fileno()
        ready = select.epoll() if hasattr(select, "epoll") else None
        if ready is not None:
            ready.register(fd, select.EPOLLIN)
        got = 0
        while got < total:
            if ready is not None:
                ready.poll()
            else:
                select.select([fd], [], [])
            for frame in framer.receive(fd):
                got += len(frame) + 4

    return receive


def with_stream_reader(ours: socket.socket, total: int) -> None:
    async def read() -> None:
        reader, writer = await asyncio.open_connection(sock=ours, limit=1 << 21)
        got = 0
        while got < total:
            (size,) = struct.unpack(">i", await reader.readexactly(4))
            got += len(await reader.readexactly(size)) + 4
        writer.transport.abort()

    asyncio.run(read())


def timed(rounds: int, name: str, receive: Callable[[socket.socket, int], None]) -> float:
    # One round is a whole run: connecting must not count.
    return sum(from_feeder(FRAMES[name], receive, TOTAL[name]) for _ in range(rounds))


def main() -> None:
    runner = pyperf.Runner(processes=3, values=2, warmups=1, loops=1)
    for name in FRAMES:
        mb = TOTAL[name] // MB
        for stage, stage_bytes in STAGES.items():
            runner.bench_time_func(
                f"{name} frames, stage of {stage}, per MB",
                timed,
                name,
                with_framer(stage_bytes),
                inner_loops=mb,
            )
        runner.bench_time_func(
            f"{name} frames, StreamReader.readexactly, per MB",
            timed,
            name,
            with_stream_reader,
            inner_loops=mb,
        )


if __name__ == "__main__":
    main()
