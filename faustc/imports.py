"""Find a thing by its dotted name, and the name somebody probably meant."""

from __future__ import annotations

import difflib
import importlib
import re
from collections.abc import Iterable
from typing import Any

from .exceptions import ImproperlyConfigured

_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*([.:][^\W\d]\w*(\.[^\W\d]\w*)*)?")


def plugin(group: str, name: str) -> Any:
    """Load what installed packages call by a name in a group of entry points; None if nothing."""
    from importlib.metadata import entry_points  # slow, and seldom needed

    return next((one.load() for one in entry_points(group=group) if one.name == name), None)


def plugin_names(group: str) -> list[str]:
    """Return the names that installed packages have in a group of entry points."""
    from importlib.metadata import entry_points

    return sorted({one.name for one in entry_points(group=group)})


def symbol_by_name(path: Any, *, package: str | None = None) -> Any:
    """Import what `a.b.C` or `a.b:C` names; anything but a string is handed back as it is.

    A leading `faust` means this package, so that Faust's own paths
    ("faust.Stream") work, and mode's supervisors are those of faustc.supervisors.
    A leading dot is relative to package. Raises ImproperlyConfigured when there is
    no such module or attribute; an error inside the module that is imported comes
    through as it is.
    """
    if not isinstance(path, str):
        return path
    module_name, attributes = split_path(path, package=package)
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as exc:
        if not is_part_of(exc.name, module_name):
            raise
        raise ImproperlyConfigured(f"{path!r}: there is no module {exc.name!r}") from exc
    for attribute in attributes.split(".") if attributes else ():
        try:
            found = getattr(found, attribute)
        except AttributeError as exc:
            hint = did_you_mean(attribute, dir(found))
            raise ImproperlyConfigured(
                f"{path!r}: {found.__name__} has no {attribute!r}{hint}"
            ) from exc
    return found


def split_path(path: str, *, package: str | None = None) -> tuple[str, str]:
    """Split a dotted path into module and attribute; raise ImproperlyConfigured if it is none.

    Without a colon the last part is the attribute, and a name without any dot
    is a module.
    """
    relative = package is not None and path.startswith(".")
    name = f"{package}{path}" if relative else path
    if not is_dotted_path(name):
        raise ImproperlyConfigured(f"{path!r} is not a dotted path such as 'a.b.C' or 'a.b:C'")
    module, colon, attribute = name.partition(":")
    if not colon:
        module, _, attribute = name.rpartition(".")
        if not module:
            module, attribute = attribute, ""
    if module == "faust.app.router":
        module = "faustc.web.router"
    elif module == "faust" or module.startswith("faust."):
        module = "faustc" + module.removeprefix("faust")
    elif module in ("mode", "mode.supervisors") and attribute.endswith("Supervisor"):
        module = "faustc.supervisors"  # where Faust's settings look for them
    return module, attribute


def is_dotted_path(path: str) -> bool:
    """Say whether a string could be a path that symbol_by_name takes."""
    return _DOTTED.fullmatch(path) is not None


def is_part_of(missing: str | None, module: str) -> bool:
    """Say whether the module that was not found is the asked one or a package above it."""
    return missing is not None and f"{module}.".startswith(f"{missing}.")


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is spelled most like name, or None if none is close."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return found[0] if found else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Phrase the nearest name as the end of an error message; "" if none is close."""
    found = nearest(name, known)
    return f"; did you mean {found!r}?" if found else ""
