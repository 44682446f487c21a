"""faustc's tables: words counted, and a table that is filled from its changelog."""

from __future__ import annotations

import asyncio
import json
import os
import time

from measure import peak_mib, table_arguments, timed

import faustc as faust

args = table_arguments("words", "recover", "restart")
app = faust.App(
    args.id,
    broker=f"kafka://{args.bootstrap}",
    store=args.store,
    topic_partitions=1,
    datadir=args.datadir,
    web_enabled=False,
)


async def words() -> None:
    """Count words of args.topic, from the first event to the commit after the last."""
    topic = app.topic(args.topic, key_type=str, partitions=1)
    counts = app.Table("counts", default=int, partitions=1)
    begun, done = asyncio.Event(), asyncio.Event()

    @app.agent(topic)
    async def count(stream):
        seen = 0
        async for document in stream:
            if not seen:
                begun.set()
            counts[document["word"]] += 1
            seen += 1
            if seen == args.count:
                done.set()

    await app.start()
    await begun.wait()
    with timed(args.count):
        await done.wait()
        await app.commit()
    if sum(counts.values()) != args.count:
        raise AssertionError("the counts are wrong")
    await app.stop()


async def recover() -> None:
    """Fill a table from args.count records; restart: open it as a stopped worker left it."""
    topic = app.topic(f"{args.id}-in", key_type=str, partitions=1)
    table = app.Table("counts", default=int, partitions=1)
    whole = asyncio.Event()

    @app.agent(topic)
    async def nothing(stream):
        async for _ in stream:
            pass

    @table.on_recover
    async def recovered() -> None:
        whole.set()

    begun = [time.process_time(), time.perf_counter()]

    @app.on_partitions_assigned.connect
    async def assigned(app, assigned, **kwargs) -> None:
        begun[:] = time.process_time(), time.perf_counter()

    await app.start()
    await whole.wait()
    cpu, wall = begun
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    # What went before main(): the interpreter and the imports.
    since_start = time.time() - _started_at()
    if len(table) != args.count:
        raise AssertionError(f"{len(table)} keys instead of {args.count}")
    result = {
        "cpu_us": cpu / args.count * 1e6,
        "rate": args.count / wall,
        "serving_s": since_start,
        "peak_mib": peak_mib(),
    }
    await app.stop()
    print(json.dumps(result))


def _started_at() -> float:
    """Return when this process was started (Linux), in seconds since 1970."""
    with open("/proc/self/stat", "rb") as file:
        ticks = int(file.read().rpartition(b")")[2].split()[19])
    with open("/proc/uptime", "rb") as file:
        up = float(file.read().split()[0])
    return time.time() - up + ticks / os.sysconf("SC_CLK_TCK")


asyncio.run({"words": words, "recover": recover, "restart": recover}[args.work]())
