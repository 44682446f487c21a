from typing import Any, final

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
