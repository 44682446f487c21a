"""quixstreams counts words, its state on RocksDB; it has no other."""

from __future__ import annotations

import logging

from measure import table_arguments, timed
from quixstreams import Application

args = table_arguments("words")
app = Application(
    broker_address=args.bootstrap,
    consumer_group=args.id,
    auto_offset_reset="earliest",
    state_dir=args.datadir,
    commit_interval=2.8,
    loglevel=logging.ERROR,
)
measuring = None


def count(document, state):
    global measuring
    if measuring is None:
        measuring = timed(args.count)
        measuring.__enter__()
    state.set("count", state.get("count", 0) + 1)
    return document


stream = app.dataframe(app.topic(args.topic, key_deserializer="str", value_deserializer="json"))
stream.apply(count, stateful=True)
# It ends with a checkpoint, which waits for the changelog.
app.run(count=args.count)
measuring.__exit__(None, None, None)
