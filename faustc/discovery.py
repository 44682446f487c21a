"""Finding an app's decorators: importing the packages they are in."""

from __future__ import annotations

import importlib
import logging
import pkgutil
from collections.abc import Callable, Iterable, Iterator

from faustc.exceptions import ImproperlyConfigured

__all__ = ["IGNORED", "import_all"]

logger = logging.getLogger(__name__)

#: Modules that are left alone: they run something, or are no part of the app.
IGNORED: tuple[Callable[[str], bool], ...] = (
    lambda name: name.rpartition(".")[2] in ("__main__", "setup", "conftest"),
    lambda name: "tests" in name.split("."),
)


def import_all(
    packages: Iterable[str], *, ignore: Iterable[Callable[[str], bool]] = IGNORED
) -> list[str]:
    """Import packages and every module below them; return their names.

    Decorators register when their module is imported, so that is all there is
    to it. Raises ImproperlyConfigured for a package that does not exist; what a
    module raises comes through.
    """
    ignored = tuple(ignore)
    names = []
    for package in packages:
        for name in _modules(package):
            if name != package and any(skip(name) for skip in ignored):
                continue
            importlib.import_module(name)
            names.append(name)
    logger.debug("Discovered modules: %s", ", ".join(names))
    return names


def _modules(package: str) -> Iterator[str]:
    try:
        root = importlib.import_module(package)
    except ModuleNotFoundError as exc:
        if exc.name is not None and f"{package}.".startswith(f"{exc.name}."):
            raise ImproperlyConfigured(f"autodiscover: there is no package {package!r}") from exc
        raise
    yield package
    path = getattr(root, "__path__", None)
    if path is not None:
        for info in pkgutil.walk_packages(path, prefix=f"{package}."):
            yield info.name
