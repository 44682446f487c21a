from collections.abc import Iterable

from typing_extensions import Buffer

def partition_for(key: Buffer, partitions: int) -> int: ...
def scatter(
    values: Iterable[bytes | None], keys: Iterable[bytes | None], partitions: int
) -> list[tuple[list[bytes | None], list[bytes | None]] | None]: ...
