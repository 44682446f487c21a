"""`/` in production: for whoever has to know whether this worker is well, and no more."""

from __future__ import annotations

from typing import Any

from faustc.web.apps.health import troubles
from faustc.web.blueprints import Blueprint
from faustc.web.views import View

__all__ = ["Index", "blueprint"]

blueprint = Blueprint("production_index")


@blueprint.route("/", name="index")
class Index(View):
    """Says whether the worker is well: 200, or 503 and what is wrong."""

    async def get(self, request: Any) -> Any:
        found = troubles(self.app)
        if found:
            return self.json({"status": "ERROR", "errors": found}, status=503)
        return self.json({"status": "OK"})
