from collections.abc import Mapping, Sequence
from typing import final

from typing_extensions import Buffer

from faustc._native.batch import Batch
from faustc._native.compression import DEFAULT_MAX_DECOMPRESSED as DEFAULT_MAX_DECOMPRESSED
from faustc.exceptions import CorruptFrame

MIN_VERSION: int
MAX_VERSION: int

@final
class PartitionFetch:
    topic: str
    topic_id: bytes
    partition: int
    error: int
    highwater: int
    last_stable_offset: int
    log_start_offset: int
    preferred_replica: int
    size_bytes: int
    aborted: list[tuple[int, int]]
    diverging: tuple[int, int] | None
    current_leader: tuple[int, int] | None
    batches: list[Batch]
    corrupt: CorruptFrame | None

@final
class FetchResponse:
    correlation_id: int
    throttle_ms: int
    error: int
    session_id: int
    partitions: list[PartitionFetch]
    endpoints: list[tuple[int, str, int, str | None]]

def encode_fetch(
    version: int,
    correlation_id: int,
    client_id: str | None,
    *,
    max_wait_ms: int,
    min_bytes: int,
    max_bytes: int,
    isolation_level: int = 0,
    session_id: int = 0,
    session_epoch: int = -1,
    topics: Sequence[tuple[str, bytes, Sequence[tuple[int, int, int, int]]]],
    forgotten: Sequence[tuple[str, bytes, Sequence[int]]] = (),
    rack_id: str = "",
) -> bytes: ...
def decode_fetch(
    body: Buffer,
    version: int,
    *,
    topic_names: Mapping[bytes, str] | None = None,
    check_crc: bool = True,
    max_decompressed: int = 134217728,
) -> FetchResponse: ...
