"""`/router`: which worker has what."""

from __future__ import annotations

from collections.abc import Callable
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
        return self.json(self._found(self.app.router.table_metadata, name))

    def _found(self, look: Callable[..., Any], *about: Any) -> Any:
        """Look something up; raise what answers 503 while nobody has it, 404 if it is not there."""
        try:
            return look(*about)
        except Unrouted as exc:
            raise self.ServiceUnavailable(str(exc)) from exc
        except LookupError as exc:
            raise self.NotFound(str(exc)) from exc


@blueprint.route("/{name}/{key}/", name="key-detail")
class TableKeyDetail(TableDetail):
    """The address of the worker that has a key of a table."""

    async def get(self, request: Any, name: str, key: str) -> Any:  # type: ignore[override]
        return self.json(str(self._found(self.app.router.key_store, name, key)))
