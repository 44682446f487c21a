"""Apps in FastAPI programs: what faustc.contrib.asgi has, by the name that Faust gave it."""

from __future__ import annotations

from faustc.contrib.asgi import (
    AsgiService,
    FaustLifespanMiddleware,
    LoopMismatch,
    bind_to_running_loop,
    faust_app_running,
    faust_lifespan,
    serve_asgi,
)

__all__ = [
    "AsgiService",
    "FaustLifespanMiddleware",
    "LoopMismatch",
    "bind_to_running_loop",
    "faust_app_running",
    "faust_lifespan",
    "serve_asgi",
]
