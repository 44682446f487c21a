"""Tables as people see them."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable
from operator import itemgetter
from typing import Any

__all__ = ["drawn"]

WIDTH = 200


def drawn(
    pairs: Iterable[tuple[Any, Any]],
    title: str,
    key: str = "Key",
    value: str = "Value",
    sort: bool = False,
    sortkey: Callable[[Any], Any] = itemgetter(0),
    target: Any = None,
) -> str:
    """Return pairs as a table of two columns; with colours if target, or stdout, is a terminal."""
    from rich.console import Console
    from rich.table import Table as Drawing

    target = sys.stdout if target is None else target
    drawing = Drawing(key, value, title=title)
    for row in sorted(pairs, key=sortkey) if sort else pairs:
        drawing.add_row(*map(_plain, row))
    out = io.StringIO()
    is_terminal = bool(getattr(target, "isatty", lambda: False)())
    Console(file=out, width=WIDTH, force_terminal=is_terminal).print(drawing)
    return out.getvalue().rstrip("\n")


def _plain(cell: Any) -> Any:
    from rich.text import Text

    return Text(str(cell))
