"""A worker whose windowed table closes windows all the time, until it is told to stop."""

from __future__ import annotations

import asyncio
import signal

from measure import table_arguments

import faustc as faust

args = table_arguments("windows")
app = faust.App(
    f"windows-{args.store.partition(':')[0]}",
    broker=f"kafka://{args.bootstrap}",
    store=args.store,
    topic_partitions=1,
    datadir=args.datadir,
    web_enabled=False,
    table_cleanup_interval=5,
)
words = app.topic(args.topic, key_type=str, partitions=1)
closed = 0


async def count_closed(key: object, value: object) -> None:
    global closed
    closed += 1


counts = app.Table("counts", default=int, on_window_close=count_closed).tumbling(10, expires=20)


@app.agent(words)
async def count(stream):
    async for document in stream:
        counts[document["word"]] += 1


async def main() -> None:
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    await app.start()
    await told.wait()
    await app.stop()
    print(closed)


asyncio.run(main())
