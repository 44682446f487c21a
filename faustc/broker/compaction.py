"""placeholder"""

from __future__ import annotations

from faustc.broker.partition import Partition


def wants_compaction(partition: Partition, now_ms: int) -> bool:
    return False


async def compact_partition(partition: Partition, now_ms: int, *, threaded: bool) -> None:
    return None
