"""The cache of views: what a GET answered with 200 is answered with again for a while."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from functools import wraps
from typing import Any

from faustc.clock import monotonic as loop_now
from faustc.exceptions import ImproperlyConfigured
from faustc.imports import plugin, symbol_by_name
from faustc.timers import seconds

__all__ = ["Cache", "MemoryCache", "backend_of"]

MAX_BYTES = 16 * 1024 * 1024
HEADERS = ("accept", "accept-encoding", "accept-language", "authorization", "cookie", "host")


class MemoryCache:
    """Keeps answers in this worker's memory, at most 16 MiB: those used last stay."""

    def __init__(self, app: Any = None, url: Any = None, max_bytes: int = MAX_BYTES) -> None:
        self.max_bytes = max_bytes
        self._entries: OrderedDict[str, tuple[float | None, bytes]] = OrderedDict()
        self._size = 0

    async def get(self, key: str) -> bytes | None:
        """Return what is kept under a key, None once its time is over."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry[0] is not None and entry[0] <= loop_now():
            await self.delete(key)
            return None
        self._entries.move_to_end(key)
        return entry[1]

    async def set(self, key: str, value: bytes, timeout: Any = None) -> None:
        """Keep a value, for timeout seconds or until there is no room."""
        await self.delete(key)
        if len(value) > self.max_bytes:
            return
        until = None if timeout is None else loop_now() + seconds(timeout)
        self._entries[key] = until, value
        self._size += len(value)
        while self._size > self.max_bytes:
            _, (_, dropped) = self._entries.popitem(last=False)
            self._size -= len(dropped)

    async def delete(self, key: str) -> None:
        """Forget what is kept under a key."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._size -= len(entry[1])


def backend_of(app: Any, given: Any) -> Any:
    """Make the backend that a URL or a class names; raises ImproperlyConfigured."""
    scheme = getattr(given, "scheme", None) or str(given).partition(":")[0]
    if scheme == "memory":
        return MemoryCache(app, given)
    if scheme in ("redis", "rediscluster"):
        raise ImproperlyConfigured(
            f"cache {given}: there is no cache in redis yet; use memory://, or the path of a "
            "class of yours with get, set and delete"
        )
    if not isinstance(given, str):
        return given(app, given)
    backend = plugin("faust.web.cache", scheme) or symbol_by_name(scheme)
    return backend(app, given)


class Cache:
    """Keeps what views answer.

    timeout is in seconds (or a timedelta), None for as long as there is room.
    include_headers: answers differ by what the client accepts, and who it is.
    """

    def __init__(
        self,
        timeout: Any = None,
        include_headers: bool = False,
        key_prefix: str | None = None,
        backend: Any = None,
    ) -> None:
        self.timeout = None if timeout is None else seconds(timeout)
        self.include_headers = include_headers
        self.key_prefix = key_prefix or ""
        self._backend = backend
        self._made: dict[Any, Any] = {}

    def view(
        self,
        timeout: Any = None,
        include_headers: bool | None = None,
        key_prefix: str | None = None,
    ) -> Callable[[Any], Any]:
        """Decorate a view's method: GET and HEAD that answered 200 are answered from the cache."""
        kept_s = self.timeout if timeout is None else seconds(timeout)
        headers = self.include_headers if include_headers is None else include_headers
        prefix = self.key_prefix if key_prefix is None else key_prefix

        def decorate(fun: Any) -> Any:
            @wraps(fun)
            async def cached(view: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
                if request.method not in ("GET", "HEAD"):
                    return await fun(view, request, *args, **kwargs)
                backend = self.backend(view.app)
                key = self.build_key(request, request.method, prefix, headers)
                known = await backend.get(key)
                if known is not None:
                    return view.bytes_to_response(known)
                response = await fun(view, request, *args, **kwargs)
                if self.can_cache_response(request, response):
                    await backend.set(key, view.response_to_bytes(response), kept_s)
                return response

            return cached

        return decorate

    def backend(self, app: Any) -> Any:
        """Return where answers of an app are kept: its `app.cache`, unless another was named."""
        if self._backend is None:
            return app.cache
        if app not in self._made:
            self._made[app] = backend_of(app, self._backend)
        return self._made[app]

    def can_cache_response(self, request: Any, response: Any) -> bool:
        """Say whether an answer may be kept: 200, whole, and without a cookie of somebody's."""
        body = getattr(response, "body", None)
        return (
            response is not None
            and response.status == 200
            and isinstance(body, bytes | None)
            and not response.cookies
        )

    def build_key(self, request: Any, method: str, prefix: str, include_headers: bool) -> str:
        """Return what an answer is kept under."""
        parts = [method, str(request.rel_url)]
        if include_headers:
            parts += [f"{name}={request.headers.get(name, '')}" for name in HEADERS]
        digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()
        return f"{prefix}.{digest}"
