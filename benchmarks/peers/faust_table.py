"""faust-streaming counts words, in memory."""

from __future__ import annotations

import os
import sys

import faust
from measure import table_arguments, timed

args = table_arguments("words")
app = faust.App(
    args.id,
    broker=f"kafka://{args.bootstrap}",
    store=args.store,
    topic_partitions=1,
    datadir=args.datadir,
    web_enabled=False,
)
topic = app.topic(args.topic, key_type=str, partitions=1)
counts = app.Table("counts", default=int, partitions=1)


@app.agent(topic)
async def count(stream):
    seen, measuring = 0, None
    async for document in stream:
        if measuring is None:
            measuring = timed(args.count)
            measuring.__enter__()
        counts[document["word"]] += 1
        seen += 1
        if seen == args.count:
            await app.commit(None)
            sys.stdout = sys.__stdout__  # the worker made it a log
            measuring.__exit__(None, None, None)
            sys.stdout.flush()
            os._exit(0)  # no peer is measured by how it ends


sys.argv[1:] = ["worker", "-l", "error"]
app.main()
