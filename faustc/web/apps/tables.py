"""`/table`: the tables of the app, and what one has for a key, whichever worker that is at."""

from __future__ import annotations

import json
from collections.abc import Set
from typing import Any

from faustc.exceptions import SameNode, Unrouted
from faustc.web.blueprints import Blueprint
from faustc.web.views import View

__all__ = ["TableDetail", "TableKeyDetail", "TableList", "blueprint"]

blueprint = Blueprint("tables")


class TableView(View):
    """What is shown of a table."""

    def table_json(self, table: Any) -> dict[str, Any]:
        """Return what a table says of itself."""
        return {"name": table.name, "help": table.help}

    def table_or_404(self, name: str) -> Any:
        """Return a table by its name."""
        if name not in self.app.tables:
            raise self.NotFound(f"There is no table {name}.", name=name)
        return self.app.tables[name]


@blueprint.route("/", name="list")
class TableList(TableView):
    """The tables of the app."""

    async def get(self, request: Any) -> Any:
        return self.json([self.table_json(table) for table in self.app.tables.values()])


@blueprint.route("/{name}/", name="detail")
class TableDetail(TableView):
    """One table."""

    async def get(self, request: Any, name: str) -> Any:
        return self.json(self.table_json(self.table_or_404(name)))


@blueprint.route("/{name}/{key}/", name="key-detail")
class TableKeyDetail(TableView):
    """What a table has for a key; the worker that has it is asked.

    A key of a table of numbers, or of a windowed one, is written as JSON.
    """

    async def get(self, request: Any, name: str, key: str) -> Any:
        table = self.table_or_404(name)
        found = _key_of(table, key)
        try:
            return await self.app.router.route_req(name, found, self.web, request)
        except SameNode:
            pass
        except Unrouted as exc:
            raise self.ServiceUnavailable(str(exc)) from exc
        if found not in table:
            raise self.NotFound("key not found", key=key, table=name)
        value = table[found]
        return self.json(sorted(value, key=repr) if isinstance(value, Set) else value)


def _key_of(table: Any, key: str) -> Any:
    """Return the key that a part of a path stands for."""
    if table.key_type is str or (table.key_type is None and table.window is None):
        return key
    if table.key_type is bytes and table.window is None:
        return key.encode()
    try:
        found = json.loads(key)
    except ValueError:
        return key
    return tuple(_tuples(found)) if isinstance(found, list) else found


def _tuples(found: Any) -> Any:
    return tuple(map(_tuples, found)) if isinstance(found, list) else found
