from collections.abc import Sequence
from typing import Self, final

from typing_extensions import Buffer

from faustc.types import HeadersArg

DEFAULT_MAX_BYTES: int

@final
class BatchBuilder:
    count: int
    size_bytes: int
    max_bytes: int
    compression: int
    base_timestamp: int
    max_timestamp: int
    def __new__(
        cls,
        compression: str | int | None = None,
        *,
        max_bytes: int = ...,
        level: int | None = None,
        producer_id: int = -1,
        producer_epoch: int = -1,
        base_sequence: int = -1,
        transactional: bool = False,
        control: bool = False,
    ) -> Self: ...
    @property
    def sealed(self) -> bool: ...
    def append(
        self,
        key: Buffer | None,
        value: Buffer | None,
        timestamp_ms: int,
        headers: HeadersArg = None,
    ) -> int: ...
    def append_many(
        self,
        values: Sequence[Buffer | None],
        keys: Sequence[Buffer | None] | None,
        timestamp_ms: int,
        start: int = 0,
        headers: HeadersArg = None,
    ) -> int: ...
    def set_producer_state(
        self, producer_id: int, producer_epoch: int, base_sequence: int
    ) -> None: ...
    def set_max_bytes(self, max_bytes: int) -> None: ...
    def seal(self) -> bytes: ...

def stamp(sealed: bytes, producer_id: int, epoch: int, base_sequence: int) -> bytes: ...
