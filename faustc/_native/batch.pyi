from collections.abc import Iterator
from typing import Any, final

from typing_extensions import Buffer

from faustc._native.compression import DEFAULT_MAX_DECOMPRESSED as DEFAULT_MAX_DECOMPRESSED
from faustc._native.message import Message as Message

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
    @property
    def opened_bytes(self) -> int: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Message]: ...
    def messages(self, start_offset: int = -1) -> list[Message]: ...
    def apply_to(
        self,
        target: dict[bytes, Any],
        start_offset: int = -1,
        *,
        prefix: bytes = b"",
        keep_deleted: bool = False,
    ) -> int: ...

def decode(
    data: Buffer,
    *,
    check_crc: bool = True,
    max_decompressed: int = 134217728,
    topic: str | None = None,
    partition: int = -1,
    allow_partial: bool = False,
) -> list[Batch]: ...
