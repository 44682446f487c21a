"""Reading the body of a model's class: its annotations, its defaults, its name."""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar

from .coerce import is_optional
from .fields import FieldDescriptor, field_for_type

_NOTHING: Any = object()


def namespace_of(cls: Any) -> str:
    """Return module.Class: what data calls the model.

    In a program run as a script it is the name under which others import it, so
    that a worker started with `-A` knows what the script wrote.
    """
    module = cls.__module__
    if module == "__main__":
        module = _name_of_main()
    return f"{module}.{cls.__qualname__}"


def _name_of_main() -> str:
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return str(spec.name)
    path = Path(getattr(main, "__file__", None) or "__main__.py")
    parts = [path.stem]
    folder = path.absolute().parent
    while (folder / "__init__.py").exists():
        parts.insert(0, folder.name)
        folder = folder.parent
    return ".".join(parts)


def names_around(frame: FrameType | None) -> dict[str, Any]:
    """Return the local names where a class is being defined, if that is in a function."""
    while frame is not None and frame.f_code.co_name in ("__init_subclass__", "__new__"):
        frame = frame.f_back
    names: dict[str, Any] = {}
    while frame is not None and frame.f_locals is not frame.f_globals:
        names = {**frame.f_locals, **names}
        if frame.f_code.co_flags & inspect.CO_OPTIMIZED:
            break  # a function; the frames below it are its callers, not its surroundings
        frame = frame.f_back
    return names


def own_annotations(cls: Any, local: Mapping[str, Any]) -> dict[str, Any]:
    """Return the types of the fields declared in the class itself; NameError if one is unknown."""
    # A class, since ClassVar is refused elsewhere; not cls, whose bases have theirs.
    shim = type(cls.__name__, (), {"__annotations__": inspect.get_annotations(cls)})
    module = vars(sys.modules[cls.__module__]) if cls.__module__ in sys.modules else {}
    hints = typing.get_type_hints(shim, module, dict(local), include_extras=True)
    return {
        name: typ
        for name, typ in hints.items()
        if typ is not ClassVar and typing.get_origin(typ) is not ClassVar
    }


def check_order(cls: Any, own: Mapping[str, Any]) -> None:
    """Refuse a required field after one with a default, as dataclasses do."""
    before = ""
    for name in own:
        value = vars(cls).get(name, _NOTHING)
        needed = value.required if isinstance(value, FieldDescriptor) else value is _NOTHING
        if needed and before:
            raise TypeError(
                f"{cls.__name__}: field {name!r} without a default follows {before!r} with one"
            )
        if not needed:
            before = name


def described(cls: Any, name: str, typ: Any) -> FieldDescriptor[Any]:
    """Return the descriptor of one field: the user's own, or the one for its type."""
    value = vars(cls).get(name, _NOTHING)
    if isinstance(value, FieldDescriptor):
        required = value.required and not is_optional(typ)
        return value.attached(cls, name, typ, required=required, default=value.default)
    required = value is _NOTHING and not is_optional(typ)
    default = None if value is _NOTHING else value
    kind, tag = field_for_type(typ)
    return kind(tag=tag).attached(cls, name, typ, required=required, default=default)
