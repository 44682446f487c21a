"""Talks to a broker in single requests of any version, by kafka-python's structs."""

from __future__ import annotations

import socket
import struct
from types import TracebackType
from typing import Any

from faustc.broker.wire import message


class Raw:
    """One blocking connection. `ask` sends a request and returns the answer's struct."""

    def __init__(self, bootstrap: str, timeout_s: float = 20.0) -> None:
        host, _, port = bootstrap.rpartition(":")
        self._address = (host, int(port))
        self._timeout_s = timeout_s
        self._socket = socket.create_connection(self._address, timeout_s)
        self._next_id = 0

    def reconnect(self) -> None:
        """Drop the connection, with what waits on it, and make another one."""
        self._socket.close()
        self._socket = socket.create_connection(self._address, self._timeout_s)

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Raw:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def send(self, name: str, version: int, **fields: Any) -> int:
        """Send without waiting; return the correlation id."""
        cls = message(name, "Request")
        request = _build(cls, version, fields)
        self._next_id += 1
        request.with_header(self._next_id, client_id="raw")
        self._socket.sendall(request.encode(version=version, header=True, framed=True))
        return self._next_id

    def receive(self, name: str, version: int) -> Any:
        """Wait for the next answer, which must be to a request of this name and version."""
        (size,) = struct.unpack(">i", self._take(4))
        return message(name, "Response").decode(self._take(size), version=version, header=True)

    def ask(self, name: str, version: int, **fields: Any) -> Any:
        self.send(name, version, **fields)
        return self.receive(name, version)

    def versions(self, key: int) -> tuple[int, int]:
        """Return the versions of an API that the broker says it has."""
        found = {row.api_key: row for row in self.ask("ApiVersions", 0).api_keys}
        return found[key].min_version, found[key].max_version

    def exchange(self, frame: bytes) -> bytes:
        """Send a whole frame; return the next answer without its length."""
        self._socket.sendall(frame)
        (size,) = struct.unpack(">i", self._take(4))
        return self._take(size)

    def _take(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self._socket.recv(size - len(data))
            if not more:
                raise ConnectionError("the broker hung up")
            data += more
        return data


def _build(cls: Any, version: int, fields: dict[str, Any]) -> Any:
    """Make a struct of nested dicts, leaving out what the version does not have."""
    made = cls(version=version)
    for name, value in fields.items():
        schema = cls._struct.fields[name]
        if not schema.for_version_q(version):
            continue
        if isinstance(value, list) and value and isinstance(value[0], dict):
            value = [_build(schema.data_class, version, item) for item in value]
        setattr(made, name, value)
    return made
