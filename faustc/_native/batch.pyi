from collections.abc import Iterator
from typing import Any, final

from typing_extensions import Buffer

from faustc._native.compression import DEFAULT_MAX_DECOMPRESSED as DEFAULT_MAX_DECOMPRESSED
from faustc.types import TopicPartition

@final
class Message:
    offset: int
    timestamp: int
    def __init__(
        self,
        topic: str | None = None,
        partition: int = -1,
        offset: int = -1,
        timestamp: int = -1,
        timestamp_type: int = 0,
        key: bytes | None = None,
        value: bytes | None = None,
        headers: tuple[tuple[str, bytes | None], ...] = (),
    ) -> None: ...
    @property
    def topic(self) -> str | None: ...
    @property
    def partition(self) -> int: ...
    @property
    def timestamp_type(self) -> int: ...
    @property
    def tp(self) -> TopicPartition: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> tuple[tuple[str, bytes | None], ...]: ...
    @property
    def serialized_key_size(self) -> int: ...
    @property
    def serialized_value_size(self) -> int: ...
    def __reduce__(self) -> tuple[Any, ...]: ...

@final
class Origin: ...

@final
class Batch:
    topic: str | None
    partition: int
    base_offset: int
    last_offset: int
    leader_epoch: int
    attributes: int
    base_timestamp: int
    max_timestamp: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    size_bytes: int
    def __init__(self, *args: Any, **kwargs: Any) -> None: ...
    @property
    def compression(self) -> int: ...
    @property
    def timestamp_type(self) -> int: ...
    @property
    def is_transactional(self) -> bool: ...
    @property
    def is_control(self) -> bool: ...
    @property
    def control_type(self) -> int: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Message]: ...
    def messages(self, start_offset: int = -1) -> list[Message]: ...

def decode(
    data: Buffer,
    *,
    check_crc: bool = True,
    max_decompressed: int = 134217728,
    topic: str | None = None,
    partition: int = -1,
    allow_partial: bool = False,
) -> list[Batch]: ...
