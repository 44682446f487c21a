"""The client of a schema registry that speaks Confluent's REST, over HTTP."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import ssl
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, urlsplit, urlunsplit
from weakref import WeakKeyDictionary

from ..exceptions import ImproperlyConfigured, SchemaRegistryError

__all__ = ["SchemaRegistry", "StoredSchema"]

logger = logging.getLogger(__name__)

CONTENT_TYPE = "application/vnd.schemaregistry.v1+json"
# No schema is as long; who answers with more is no registry.
MAX_ANSWER_BYTES = 16 << 20
# A registry that is away is asked again after the first of these, ever later, up to the last.
RETRY_MIN_S = 0.1
RETRY_MAX_S = 10.0
# An id that the registry does not know may belong to a schema that it gets later.
UNKNOWN_FOR_S = 30.0


class StoredSchema(NamedTuple):
    """A schema as the registry has it: its type (AVRO, JSON, ...), text, and what it refers to."""

    type: str
    text: str
    references: tuple[StoredSchema, ...] = ()


class SchemaRegistry:
    """Asks a schema registry, and remembers its answers: ids and schemas do not change.

    url is http:// or https://, with a user and password if need be; several, divided by
    commas, are asked in turn. auth is a pair of user and password, token a bearer
    token. timeout_s is for each request. One may be shared by any number of schemas,
    apps and event loops. HTTP is spoken on threads, so no event loop waits for it.
    """

    def __init__(
        self,
        url: str,
        *,
        auth: tuple[str, str] | None = None,
        token: str | None = None,
        timeout_s: float = 10.0,
        ssl_context: ssl.SSLContext | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.urls = []
        for one in url.split(","):
            parts = urlsplit(one.strip())
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ImproperlyConfigured(
                    f"a schema registry's URL begins with http:// or https://, unlike {one!r}"
                )
            if parts.username is not None and auth is None:
                auth = unquote(parts.username), unquote(parts.password or "")
            host = parts.netloc.rpartition("@")[2]
            path = parts.path.rstrip("/")
            self.urls.append(urlunsplit((parts.scheme, host, path, "", "")))
        if auth is not None and token is not None:
            raise ImproperlyConfigured("a schema registry takes auth or token, not both")
        self.timeout_s = timeout_s
        self._ssl_context = ssl_context
        self._headers = {"Accept": CONTENT_TYPE, "Content-Type": CONTENT_TYPE, **(headers or {})}
        if auth is not None:
            pair = base64.b64encode(":".join(auth).encode()).decode()
            self._headers["Authorization"] = f"Basic {pair}"
        elif token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        self._schemas: dict[int, StoredSchema] = {}
        self._unknown: dict[int, tuple[SchemaRegistryError, float]] = {}
        self._ids: dict[tuple[str, str, str], int] = {}
        self._locks: WeakKeyDictionary[Any, asyncio.Lock] = WeakKeyDictionary()

    def __repr__(self) -> str:
        return f"<SchemaRegistry {','.join(self.urls)}>"

    def known(self, schema_id: int) -> StoredSchema | None:
        """Return the schema of an id; None if nobody has asked yet.

        Raises SchemaRegistryError, for half a minute, if the registry has none of that id.
        """
        found = self._schemas.get(schema_id)
        if found is None and (refused := self._unknown.get(schema_id)) is not None:
            error, until = refused
            if time.monotonic() < until:
                raise error
            del self._unknown[schema_id]
        return found

    async def schema(self, schema_id: int) -> StoredSchema:
        """Return the schema of an id, asked for once; raises SchemaRegistryError."""
        async with self._lock():
            found = self.known(schema_id)
            if found is None:
                try:
                    found = await self._run(self._fetch, schema_id)
                except SchemaRegistryError as exc:
                    if not exc.retriable:
                        self._unknown[schema_id] = exc, time.monotonic() + UNKNOWN_FOR_S
                    raise
                self._schemas[schema_id] = found
            return found

    async def learn(self, schema_id: int) -> None:
        """Ask for a schema until the registry has answered, however long it is away."""
        pause_s = RETRY_MIN_S
        while True:
            try:
                await self.schema(schema_id)
            except SchemaRegistryError as exc:
                if not exc.retriable:
                    return  # known() raises it
                logger.warning("Schema %d is waited for: %s", schema_id, exc)
            else:
                return
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, RETRY_MAX_S)

    async def register(self, subject: str, schema_type: str, text: str, *, new: bool = True) -> int:
        """Return the id of a schema under a subject, registered if it is new there.

        With new=False it has to be there already. Raises SchemaRegistryError, of status
        409 if it is not compatible with those before it.
        """
        asked = subject, schema_type, text
        async with self._lock():
            found = self._ids.get(asked)
            if found is None:
                found = await self._run(self._register, subject, schema_type, text, new)
                self._ids[asked] = found
                self._schemas.setdefault(found, StoredSchema(schema_type, text))
            return found

    # -- HTTP, on threads ----------------------------------------------------------------

    def _lock(self) -> asyncio.Lock:
        """Return what lets one request of an event loop out at a time: who waits finds it done."""
        return self._locks.setdefault(asyncio.get_running_loop(), asyncio.Lock())

    async def _run(self, work: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.to_thread(work, *args)

    def _fetch(self, schema_id: int) -> StoredSchema:
        return self._stored(self._ask("GET", f"/schemas/ids/{schema_id}"))

    def _stored(self, answer: Any, depth: int = 0) -> StoredSchema:
        try:
            text = answer["schema"]
            references = answer.get("references") or []
            paths = [
                f"/subjects/{quote(one['subject'], safe='')}/versions/{int(one['version'])}"
                for one in references
            ]
        except (KeyError, TypeError, ValueError, AttributeError) as exc:
            raise SchemaRegistryError(
                f"{self.urls[0]}: no schema in the answer: {str(answer)[:200]}", status=200
            ) from exc
        if depth > 32:
            raise SchemaRegistryError(f"{self.urls[0]}: references go round in circles", status=200)
        others = tuple(self._stored(self._ask("GET", path), depth + 1) for path in paths)
        return StoredSchema(str(answer.get("schemaType") or "AVRO"), str(text), others)

    def _register(self, subject: str, schema_type: str, text: str, new: bool) -> int:
        path = f"/subjects/{quote(subject, safe='')}" + ("/versions" if new else "")
        body = {"schema": text}
        if schema_type != "AVRO":  # which older registries have no word for
            body["schemaType"] = schema_type
        answer = self._ask("POST", path, body)
        try:
            return int(answer["id"])
        except (KeyError, TypeError, ValueError) as exc:
            raise SchemaRegistryError(
                f"{self.urls[0]}: no id in the answer: {str(answer)[:200]}", status=200
            ) from exc

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        """Ask one registry after the other until one answers."""
        error: SchemaRegistryError | None = None
        for url in self.urls:
            try:
                return self._ask_one(method, url + path, body)
            except SchemaRegistryError as exc:
                error = exc
                if not exc.retriable:
                    break
        assert error is not None
        raise error

    def _ask_one(self, method: str, url: str, body: Any) -> Any:
        # Slow to import, and needed by few.
        from http.client import HTTPException
        from urllib.error import HTTPError, URLError
        from urllib.request import HTTPSHandler, Request, build_opener

        data = None if body is None else json.dumps(body).encode()
        request = Request(url, data=data, headers=self._headers, method=method)
        try:
            opener = build_opener(HTTPSHandler(context=self._ssl_context), _no_redirects())
            with opener.open(request, timeout=self.timeout_s) as response:
                answer = response.read(MAX_ANSWER_BYTES + 1)
        except HTTPError as exc:
            with exc:
                raise _refused(f"{method} {url}", exc.code, exc.read(4096)) from None
        except (URLError, HTTPException, OSError) as exc:
            why = getattr(exc, "reason", None) or exc
            raise SchemaRegistryError(f"{method} {url}: not reached: {why}") from exc
        if len(answer) > MAX_ANSWER_BYTES:
            raise SchemaRegistryError(f"{method} {url}: the answer is too long", status=200)
        try:
            return json.loads(answer)
        except ValueError as exc:
            raise SchemaRegistryError(
                f"{method} {url}: the answer is no JSON: {answer[:100]!r}", status=200
            ) from exc


def _no_redirects() -> Any:
    """Return what follows no redirect: passwords are for the registry that was named."""
    from urllib.request import HTTPRedirectHandler

    class NoRedirects(HTTPRedirectHandler):
        def redirect_request(self, *args: Any, **kwargs: Any) -> None:
            return None

    return NoRedirects()


def _refused(what: str, status: int, body: bytes) -> SchemaRegistryError:
    code, message = None, body.decode(errors="replace")[:300]
    try:
        said = json.loads(body)
        code, message = said.get("error_code"), str(said.get("message"))
    except (ValueError, AttributeError):
        pass  # no registry's words: whatever it said is the message
    return SchemaRegistryError(f"{what}: {status}, {message}", status=status, error_code=code)
