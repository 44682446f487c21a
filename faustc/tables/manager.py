"""TableManager: the tables of an app, by name, and what is done for all of them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, MutableMapping
from contextlib import nullcontext
from functools import cached_property
from typing import Any

from faustc.exceptions import ImproperlyConfigured
from faustc.stores.folder import DataFolder
from faustc.tables.base import Collection
from faustc.timers import itertimer

__all__ = ["TableManager"]

logger = logging.getLogger(__name__)


class TableManager(MutableMapping[str, Collection]):
    """The tables of an app by name: `app.tables`; of the class that the setting names."""

    def __init__(self, app: Any, **options: Any) -> None:
        self.app = app
        self.data: dict[str, Any] = {}
        self._tests = 0  # of single agents, just now

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {', '.join(self.data) or 'no tables'}>"

    __hash__ = object.__hash__

    def __getitem__(self, name: str) -> Any:
        return self.data[name]

    def __setitem__(self, name: str, table: Collection) -> None:
        self.data[name] = table

    def __delitem__(self, name: str) -> None:
        del self.data[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.data)

    def __len__(self) -> int:
        return len(self.data)

    def add(self, table: Any) -> Any:
        """Let a table be one of the app, and return it.

        Raises ImproperlyConfigured for a name that is taken, and once the app has started.
        """
        if table.name in self.data:
            raise ImproperlyConfigured(f"there is a table {table.name} already")
        if self.app.started:
            raise ImproperlyConfigured(
                f"too late to add table {table.name}: define tables before the app starts"
            )
        self[table.name] = table
        return table

    @property
    def changelog_topics(self) -> set[str]:
        """The names of the changelogs of all tables."""
        return {table.changelog_topic_name for table in self.data.values()}

    @property
    def actives_ready(self) -> bool:
        """Whether all that was assigned to this worker is whole."""
        return bool(self.app.started) and not self.app.runner.in_recovery

    # -- with the app --------------------------------------------------------------------

    @cached_property
    def folder(self) -> DataFolder:
        """Where durable stores are."""
        return DataFolder(self.app.conf.tabledir)

    async def prepare(self) -> None:
        """Take the folder if some table needs it, before the app starts."""
        for table in self.data.values():
            if table.standing_alone:
                self._empty(table)
                table.standing_alone = False
        if any(table.stores_durably for table in self.data.values()):
            await self.folder.lock()

    def leave(self) -> None:
        """Leave the folder to others, once every store is closed."""
        folder = self.__dict__.pop("folder", None)
        if folder is not None:
            folder.unlock()

    @property
    def expiring(self) -> bool:
        """Whether some table has windows that expire."""
        return any(table.window and table.window.expires for table in self.data.values())

    async def sweep(self) -> None:
        """Close windows that have expired, every table_cleanup_interval; it does not return."""
        interval = self.app.conf.table_cleanup_interval
        async for _ in itertimer(interval, name="table cleanup"):
            for table in list(self.data.values()):
                await self.clean(table)

    async def clean(self, table: Any) -> None:
        """Close the windows of one table that have expired."""
        if table.is_global and not self._leads():
            return  # every worker has it, and one of them is enough
        gate = self.app.runner.gate
        for facet in table._all():
            if facet.expiry is not None:
                # What a window sends when it closes, and that it is closed, belong together.
                async with gate.working() if gate is not None else nullcontext():
                    await facet.expiry.sweep(behind=self._behind(facet.shard.partition))

    def _leads(self) -> bool:
        return self.app.runner.generation < 0 or bool(self.app.is_leader())

    def _behind(self, partition: int) -> bool:
        """Say whether there is more to read of the topics that a partition goes with."""
        lag = self.app.monitor.lag
        return any(n > 0 for tp, n in list(lag.items()) if tp.partition == partition)

    # -- tests of one agent ----------------------------------------------------------------

    def stand_alone(self) -> None:
        """Let tables be written to without a broker: empty, in memory, until the app is started."""
        if self.app.started:
            return
        self._tests += 1
        for table in self.data.values():
            if self._tests == 1:
                self._empty(table)
            table.standing_alone = True

    def stood_alone(self) -> None:
        """Note the end of a test of one agent; what it wrote may still be read."""
        self._tests = max(0, self._tests - 1)

    def _empty(self, table: Any) -> None:
        for shard in list(table.shards.values()):
            table.on_shard_closed(shard)
        table.shards.clear()
        table._facets.clear()
