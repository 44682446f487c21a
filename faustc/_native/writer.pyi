from typing_extensions import disjoint_base

@disjoint_base
class Writer:
    """A growable buffer owned by one encoder at a time."""

    def __new__(cls, capacity: int = 512) -> Writer: ...
    def getvalue(self) -> bytes: ...
