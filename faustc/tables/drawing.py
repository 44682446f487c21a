"""Tables as people see them."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["drawn"]

WIDTH = 200


def drawn(
    pairs: Iterable[tuple[Any, Any]],
    title: str,
    headers: tuple[str, str],
    sortkey: Callable[[Any], Any] | None,
    target: Any,
) -> str:
    """Return pairs as a table of two columns; with colours if target, or stdout, is a terminal."""
    from rich.console import Console
    from rich.table import Table as Drawing

    target = sys.stdout if target is None else target
    rows = list(pairs) if sortkey is None else sorted(pairs, key=sortkey)
    drawing = Drawing(*headers, title=title)
    for key, value in rows:
        drawing.add_row(_plain(key), _plain(value))
    out = io.StringIO()
    is_terminal = bool(getattr(target, "isatty", lambda: False)())
    Console(file=out, width=WIDTH, force_terminal=is_terminal).print(drawing)
    return out.getvalue().rstrip("\n")


def _plain(cell: Any) -> Any:
    from rich.text import Text

    return Text(str(cell))
