"""GlobalTable: a table that every worker has all of."""

from __future__ import annotations

from typing import TypeVar

from faustc.tables.table import Table

__all__ = ["GlobalTable"]

K = TypeVar("K")
V = TypeVar("V")


class GlobalTable(Table[K, V]):
    """A table that every worker has all of, and follows whatever the others change.

    What another worker writes is seen here once it has committed that, and a moment later.
    A key is in the partition that the producer would send it to, so it may be written
    anywhere: in a stream, in a timer, in a view. Of two workers that write one key the last
    wins. Good for what is small and seldom changes: each worker keeps, and reads, all of it.
    """

    global_by_class = True
