"""Async iterators of anything, and what itertools has for the others."""

from __future__ import annotations

import builtins
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from itertools import islice
from typing import Any, TypeVar

__all__ = ["aenumerate", "aiter", "alist", "anext", "arange", "aslice", "chunks"]

T = TypeVar("T")
anext = builtins.anext


def aiter(it: AsyncIterable[T] | Iterable[T]) -> AsyncIterator[T]:
    """Return an async iterator of an async iterable, or of a plain one."""
    if isinstance(it, AsyncIterable):
        return it.__aiter__()
    if isinstance(it, Iterable):
        return _wrapped(it)
    raise TypeError(f"{type(it).__name__} object is not an iterable")


async def _wrapped(it: Iterable[T]) -> AsyncIterator[T]:
    for value in it:
        yield value


async def aenumerate(it: AsyncIterable[T], start: int = 0) -> AsyncIterator[tuple[int, T]]:
    """Number what comes, from start."""
    n = start
    async for value in it:
        yield n, value
        n += 1


async def alist(it: AsyncIterable[T]) -> list[T]:
    """Collect it all."""
    return [value async for value in it]


class arange:  # noqa: N801 - mode's name
    """range, to iterate over with `async for`."""

    def __init__(self, *slice_args: int) -> None:
        self._range = range(*slice_args)

    def __contains__(self, n: int) -> bool:
        return n in self._range

    def count(self, n: int) -> int:
        """Say how often a number is in it."""
        return self._range.count(n)

    def index(self, n: int) -> int:
        """Say where a number is; ValueError if it is not."""
        return self._range.index(n)

    def __aiter__(self) -> AsyncIterator[int]:
        return _wrapped(self._range)


async def aslice(it: AsyncIterable[T], *slice_args: Any) -> AsyncIterator[T]:
    """Yield what islice would; reads no further than it has to."""
    bounds = slice(*slice_args)
    wanted = islice(range(bounds.stop if bounds.stop is not None else 2**63), *slice_args)
    place = next(wanted, None)
    if place is None:
        return
    async for n, value in aenumerate(it):
        if n == place:
            yield value
            place = next(wanted, None)
            if place is None:
                return


async def chunks(it: AsyncIterable[T], n: int) -> AsyncIterator[list[T]]:
    """Yield lists of n, the last with what is left."""
    chunk: list[T] = []
    async for value in it:
        chunk.append(value)
        if len(chunk) == n:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
