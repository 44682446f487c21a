"""A schema registry in this process: as much of Confluent's REST as its serializers use."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote


class SchemaServer:
    """Serves on a loopback port while it is entered; says what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.authorizations: set[str | None] = set()
        self.schemas: dict[int, dict[str, Any]] = {}
        self.subjects: dict[str, list[int]] = {}
        self.failing: list[tuple[int, dict[str, Any]]] = []  # answers to give instead, in turn
        self.incompatible: set[str] = set()
        self._lock = threading.Lock()

    def __enter__(self) -> SchemaServer:
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.reply(*owner.answer("GET", self.path, None, self.headers))

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self.reply(*owner.answer("POST", self.path, body, self.headers))

            def reply(self, status: int, body: Any) -> None:
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", "http://127.0.0.1:1/elsewhere")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def add(self, subject: str, schema: Any, type_: str = "AVRO", **more: Any) -> int:
        """Register a schema by hand, as another producer would."""
        text = schema if isinstance(schema, str) else json.dumps(schema)
        body = {"schema": text, "schemaType": type_, **more}
        with self._lock:
            return self._register(subject, body)

    def _register(self, subject: str, body: dict[str, Any]) -> int:
        ids = self.subjects.setdefault(subject, [])
        for known in ids:
            if self.schemas[known]["schema"] == body["schema"]:
                return known
        schema_id = len(self.schemas) + 1
        self.schemas[schema_id] = body
        ids.append(schema_id)
        return schema_id

    def answer(self, method: str, path: str, body: Any, headers: Any) -> tuple[int, Any]:
        with self._lock:
            self.asked.append((method, path))
            self.authorizations.add(headers.get("Authorization"))
            if self.failing:
                return self.failing.pop(0)
            parts = [unquote(part) for part in path.strip("/").split("/")]
            match method, parts:
                case "GET", ["schemas", "ids", number]:
                    found = self.schemas.get(int(number))
                    if found is None:
                        return 404, {"error_code": 40403, "message": "Schema not found"}
                    # Kafka's registry leaves AVRO out
                    return 200, {k: v for k, v in found.items() if v != "AVRO"}
                case "GET", ["subjects", subject, "versions", version]:
                    schema_id = self.subjects[subject][int(version) - 1]
                    return 200, {**self.schemas[schema_id], "subject": subject, "id": schema_id}
                case "POST", ["subjects", subject, "versions"]:
                    if subject in self.incompatible:
                        return 409, {"error_code": 409, "message": "incompatible with version 1"}
                    return 200, {"id": self._register(subject, body)}
                case "POST", ["subjects", subject]:
                    for known in self.subjects.get(subject, ()):
                        if self.schemas[known]["schema"] == body["schema"]:
                            return 200, {"id": known, "subject": subject, "version": 1}
                    return 404, {"error_code": 40401, "message": f"Subject {subject!r} not found"}
            return 405, {"error_code": 405, "message": "what?"}
