"""A service that stands for another, which is made when it is first needed."""

from __future__ import annotations

from typing import Any

from faustc.service import Service

__all__ = ["ServiceProxy"]

_HANDED_ON = (
    *("add_async_context", "add_context", "add_dependency", "add_future"),
    *("add_runtime_dependency", "crash", "maybe_start", "restart", "service_reset", "set_shutdown"),
    *("start", "stop", "wait_until_stopped"),
)
_SHOWN = ("crashed", "should_stop", "started", "state")


class ServiceProxy(Service):
    """Hands on what a service is asked to `_service`, which a subclass has to give."""

    def __init__(self) -> None:
        # Not Service's own: everything that it would keep is kept by the other.
        pass

    @property
    def _service(self) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no _service")


def _handed_on(name: str) -> property:
    return property(lambda self: getattr(self._service, name))


def _shared(name: str) -> property:
    return property(
        lambda self: getattr(self._service, name),
        lambda self, value: setattr(self._service, name, value),
    )


for _name in (*_HANDED_ON, *_SHOWN):
    setattr(ServiceProxy, _name, _handed_on(_name))
for _name in ("beacon", "crash_reason"):
    setattr(ServiceProxy, _name, _shared(_name))
