"""`faustc tables --verify`: the stores of this machine, compared with their changelogs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from faustc.cli.base import CommandLineError
from faustc.cli.command import AppCommand
from faustc.exceptions import DataFolderInUse, DecodeError
from faustc.tables.verifying import Verdict, compare
from faustc.types import TopicPartition

__all__ = ["verify_stores"]

HEADERS = ("table", "partition", "keys", "stored to", "changelog ends", "")
# So many keys that differ are named; there may be a million of them.
NAMED = 10


class StoresDiffer(CommandLineError):
    """What was found is not good; nothing was wrong with the command."""

    exit_code = 1


async def verify_stores(command: AppCommand, app: Any) -> None:
    """Compare every store in the app's data folder, and print a line for each.

    Raises CommandLineError if a worker has the folder, and, with exit code 1, if some differ.
    """
    folder = app.tables.folder
    if not folder.path.is_dir():
        command.say(f"No tables are stored here: there is no folder {folder.path}")
        return
    try:
        folder.lock_now()
    except DataFolderInUse as exc:
        raise CommandLineError(str(exc)) from exc
    try:
        rows, faults = await _verdicts(command, app)
    finally:
        app.tables.leave()
    if not rows:
        command.say(f"No tables of this app are stored in {folder.path}")
        return
    command.say(command.tabulate(rows, headers=HEADERS, title="Stores and changelogs"))
    if faults:
        raise StoresDiffer(
            f"{faults} of {len(rows)} stores differ from their changelogs; "
            f"'{command.prog_name} reset' has them all filled anew"
        )


async def _verdicts(command: AppCommand, app: Any) -> tuple[list[list[str]], int]:
    rows, faults = [], 0
    consumer: Any = None
    try:
        for table, tp in _stored(app):
            if consumer is None:
                consumer = await app.runner.engine.open_changelogs()
            store = table.open_store(tp)
            try:
                verdict = await compare(store, consumer)
            finally:
                store.close()
            faults += not verdict.equal
            numbers = (tp.partition, verdict.keys, verdict.position, verdict.end)
            rows.append([table.name, *map(str, numbers), _said(table, verdict)])
            command.carp(f"{table.name}/{tp.partition}: {rows[-1][-1]}")
    finally:
        if consumer is not None:
            await consumer.stop()
    return rows, faults


def _stored(app: Any) -> Iterator[tuple[Any, TopicPartition]]:
    """Find the stores that are there, of tables that the app has."""
    for name, table in sorted(app.tables.items()):
        if table.stores_durably:
            for number in app.tables.folder.partitions_of(name):
                yield table, TopicPartition(table.changelog_topic_name, number)


def _said(table: Any, verdict: Verdict) -> str:
    if verdict.fault:
        return verdict.fault
    if not verdict.differing:
        return "equal"
    named = ", ".join(sorted(_named(table, raw) for raw in verdict.differing[:NAMED]))
    more = len(verdict.differing) - NAMED
    rest = f", and {more} more" if more > 0 else ""
    return f"{len(verdict.differing)} keys differ: {named}{rest}"


def _named(table: Any, raw: bytes) -> str:
    try:
        return repr(table.coding.decode_key(raw))
    except DecodeError:
        return repr(raw)
