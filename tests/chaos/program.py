"""The worker that is put to the test: counts records by key in a table, and tells of each.

    faustc -A tests.chaos.program worker -l info

All of it is set by the environment, see `fleet.Fleet`.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

import faustc as faust
from tests.chaos import breaks

ID = os.environ["CHAOS_ID"]
PARTITIONS = int(os.environ["CHAOS_PARTITIONS"])
GUARANTEE = os.environ.get("CHAOS_GUARANTEE", "at_least_once")
WORKER = os.environ.get("CHAOS_WORKER", "")
SESSION_S = float(os.environ.get("CHAOS_SESSION_S", "6"))
# The record at which the worker halts for good; a test then knows what is in hand.
HOLD = os.environ.get("CHAOS_HOLD", "")

options: dict[str, Any] = {}
if GUARANTEE == "at_least_once":
    options["commit_interval"] = 0.5
if "CHAOS_LINGER_S" in os.environ:
    options["producer_linger"] = float(os.environ["CHAOS_LINGER_S"])

app = faust.App(
    ID,
    broker="kafka://" + os.environ["CHAOS_BROKERS"].replace(",", ";"),
    datadir=os.environ["CHAOS_DATA"],
    store=os.environ.get("CHAOS_STORE", "memory://"),
    processing_guarantee=GUARANTEE,
    topic_partitions=PARTITIONS,
    topic_replication_factor=int(os.environ.get("CHAOS_REPLICAS", "3")),
    broker_session_timeout=SESSION_S,
    broker_heartbeat_interval=SESSION_S / 4,
    **options,
)
source = app.topic(f"{ID}-in", key_type=str, key_serializer="raw", value_serializer="json")
target = app.topic(f"{ID}-out", key_type=str, key_serializer="raw", value_serializer="json")
counts = app.Table("counts", default=int, partitions=PARTITIONS)


@app.agent(source)
async def count(stream: Any) -> None:
    """Count, and send on how far the count is and what it was counted for."""
    async for event in stream.events():
        key, number = event.value["key"], event.value["n"]
        if HOLD and key == HOLD:
            print(f"HOLDING {key}", flush=True)
            await asyncio.sleep(3600)
        counts[key] += 1
        message = event.message
        told = {
            "key": key,
            "n": number,
            "count": counts[key],
            "from": [message.partition, message.offset],
            "worker": WORKER,
        }
        await target.send(key=key, value=told)


breaks.apply(os.environ.get("CHAOS_BREAK", ""))

if __name__ == "__main__":
    app.main()
