"""Every model by its namespace: the only classes that data may name."""

from __future__ import annotations

from typing import Any

#: Where data says which model it is: {"__faust": {"ns": "module.Class"}}.
BLESSED_KEY = "__faust"

#: namespace -> model; a class is added when it is defined.
registry: dict[str, Any] = {}


def named_model(data: Any) -> Any | None:
    """Return the model that data names, or None if it names none that we have."""
    # Most data names none, so no exception may be raised on the way to saying so.
    blessed = data.get(BLESSED_KEY) if isinstance(data, dict) else None
    namespace = blessed.get("ns") if isinstance(blessed, dict) else None
    return registry.get(namespace) if isinstance(namespace, str) else None


def maybe_model(arg: Any) -> Any:
    """Make a model of a mapping that names one; hand anything else back as it is."""
    model = named_model(arg)
    return arg if model is None else model.from_data(arg)
