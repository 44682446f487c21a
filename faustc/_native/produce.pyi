from collections.abc import Mapping, Sequence
from typing import final

from typing_extensions import Buffer

MIN_VERSION: int
MAX_VERSION: int

@final
class PartitionAck:
    topic: str
    topic_id: bytes
    partition: int
    error: int
    base_offset: int
    log_append_time: int
    log_start_offset: int
    error_message: str | None
    record_errors: list[tuple[int, str | None]]
    current_leader: tuple[int, int] | None

@final
class ProduceResponse:
    correlation_id: int
    throttle_ms: int
    partitions: list[PartitionAck]
    endpoints: list[tuple[int, str, int, str | None]]

def encode_produce(
    version: int,
    correlation_id: int,
    client_id: str | None,
    *,
    acks: int,
    timeout_ms: int,
    topics: Sequence[tuple[str, bytes, Sequence[tuple[int, bytes]]]],
    transactional_id: str | None = None,
) -> bytes: ...
def decode_produce(
    body: Buffer, version: int, *, topic_names: Mapping[bytes, str] | None = None
) -> ProduceResponse: ...
