"""Finding an app's decorators: importing the packages they are in."""

from __future__ import annotations

import importlib
import logging
import pkgutil
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from faustc.exceptions import ImproperlyConfigured
from faustc.imports import did_you_mean

__all__ = ["IGNORED", "SCAN_CATEGORIES", "SCAN_IGNORE", "discover", "import_all"]

logger = logging.getLogger(__name__)

#: Kinds of decorators, by Faust's names.
SCAN_CATEGORIES: tuple[str, ...] = (
    "faust.agent",
    "faust.command",
    "faust.page",
    "faust.service",
    "faust.task",
)
#: What `discover` leaves out unless it is told otherwise.
SCAN_IGNORE: tuple[Any, ...] = (re.compile("test_.*").search, ".__main__")
#: Modules that are left alone in any case: they run something, or are no part of the app.
IGNORED: tuple[Callable[[str], bool], ...] = (
    lambda name: name.rpartition(".")[2] in ("__main__", "setup", "conftest"),
    lambda name: "tests" in name.split("."),
)


def discover(
    conf: Any,
    more: Iterable[str] = (),
    *,
    categories: Iterable[str] = SCAN_CATEGORIES,
    ignore: Iterable[Any] = SCAN_IGNORE,
) -> list[str]:
    """Import what the setting `autodiscover` names, and more; return the names of the modules.

    Raises ImproperlyConfigured for what is not there, or if the app's own package is
    wanted and unknown.
    """
    for category in categories:
        if category not in SCAN_CATEGORIES:
            hint = did_you_mean(category, SCAN_CATEGORIES)
            raise ImproperlyConfigured(f"discover: there is no category {category!r}{hint}")
    wanted = conf.autodiscover
    packages = [more] if isinstance(more, str) else list(more)
    if callable(wanted):
        wanted = wanted()
    if wanted is True:
        if conf.origin is None:
            raise ImproperlyConfigured(
                "autodiscover=True needs to know the app's package: run it with -A, or set origin"
            )
        packages.append(conf.origin.partition(":")[0])
    elif isinstance(wanted, str):
        packages.append(wanted)
    elif wanted:
        packages += list(wanted)
    return import_all(packages, ignore=[*IGNORED, *ignore])


def import_all(packages: Iterable[str], *, ignore: Iterable[Any] = IGNORED) -> list[str]:
    """Import packages and every module below them; return their names.

    Decorators register when their module is imported, so that is all there is
    to it. Raises ImproperlyConfigured for a package that does not exist; what a
    module raises comes through.
    """
    ignored = tuple(ignore)
    names = []
    for package in packages:
        for name in _modules(package, ignored):
            importlib.import_module(name)
            names.append(name)
    logger.debug("Discovered modules: %s", ", ".join(names))
    return names


def _modules(package: str, ignored: Iterable[Any]) -> Iterator[str]:
    """Yield a package and what is below it; what is below an ignored one is left out, too."""
    try:
        root = importlib.import_module(package)
    except ModuleNotFoundError as exc:
        if exc.name is not None and f"{package}.".startswith(f"{exc.name}."):
            raise ImproperlyConfigured(f"autodiscover: there is no package {package!r}") from exc
        raise
    yield package
    below: list[tuple[str, Any]] = [(package, getattr(root, "__path__", None))]
    while below:
        above, path = below.pop(0)
        for info in pkgutil.iter_modules(path, prefix=f"{above}.") if path is not None else ():
            if any(_skips(one, info.name, package) for one in ignored):
                continue
            yield info.name
            if info.ispkg:
                module = importlib.import_module(info.name)
                below.append((info.name, getattr(module, "__path__", None)))


def _skips(ignored: Any, name: str, package: str) -> bool:
    if callable(ignored):
        return bool(ignored(name))
    if ignored.startswith("."):
        ignored = package + ignored
    return name == ignored or name.startswith(f"{ignored}.")
