"""`/router`: which worker has what."""

from __future__ import annotations

from typing import Any

from faustc.exceptions import Unrouted
from faustc.web.blueprints import Blueprint
from faustc.web.views import View

__all__ = ["TableDetail", "TableKeyDetail", "TableList", "TopicList", "blueprint"]

blueprint = Blueprint("router")


@blueprint.route("/", name="list")
class TableList(View):
    """What each worker has of all tables."""

    async def get(self, request: Any) -> Any:
        return self.json(self.app.router.tables_metadata())


@blueprint.route("/topics", name="topics")
class TopicList(View):
    """What each worker reads."""

    async def get(self, request: Any) -> Any:
        return self.json(self.app.router.external_topics_metadata())


@blueprint.route("/{name}/", name="detail")
class TableDetail(View):
    """What each worker has of one table."""

    async def get(self, request: Any, name: str) -> Any:
        self._check(name)
        return self.json(self.app.router.table_metadata(name))

    def _check(self, name: str) -> None:
        if name not in self.app.tables:
            raise self.NotFound(f"There is no table {name}.")


@blueprint.route("/{name}/{key}/", name="key-detail")
class TableKeyDetail(TableDetail):
    """The address of the worker that has a key of a table."""

    async def get(self, request: Any, name: str, key: str) -> Any:  # type: ignore[override]
        self._check(name)
        try:
            return self.json(str(self.app.router.key_store(name, key)))
        except Unrouted as exc:
            raise self.ServiceUnavailable(str(exc)) from exc
