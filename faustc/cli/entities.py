"""What the words of a command line stand for: topics, agents, types."""

from __future__ import annotations

import sys
from typing import Any

from faustc.app import App
from faustc.cli.base import CommandLineError
from faustc.exceptions import FaustError
from faustc.imports import did_you_mean, symbol_by_name
from faustc.topics import Topic

__all__ = ["find_topic", "find_type", "symbol_of_app"]

PLAIN_TYPES = {"bytes": bytes, "str": str, "int": int, "float": float, "bool": bool}


def find_topic(app: App, entity: str) -> Topic:
    """Return the topic that an ENTITY names, as the app's agents describe it if one reads it."""
    if entity.startswith("@"):
        return _topic_of_agent(app, entity[1:])
    if not entity:
        raise CommandLineError("ENTITY is the name of a topic, or @ and that of an agent")
    for topic in app.runner.topics():
        if entity in topic.topics:
            return topic.derive_topic(topics=[entity])
    return app.topic(entity)


def _topic_of_agent(app: App, name: str) -> Topic:
    found = [agent for full, agent in app.agents.items() if full == name] or [
        agent for full, agent in app.agents.items() if full.rpartition(".")[2] == name
    ]
    if len(found) != 1:
        known = ", ".join(sorted(app.agents)) or "none"
        short = [full.rpartition(".")[2] for full in app.agents]
        fault = "several agents are called" if found else "there is no agent"
        hint = "" if found else did_you_mean(name, [*app.agents, *short])
        raise CommandLineError(f"{fault} {name!r}{hint} (the app's agents: {known})")
    channel = found[0].channel
    if not isinstance(channel, Topic):
        raise CommandLineError(
            f"agent {found[0].name} reads {channel!r}, which is in the worker's memory; "
            "only topics can be sent to from here"
        )
    return channel


def find_type(app: App, path: str | None) -> Any:
    """Return the type that a path names, from the app's own module or from the root."""
    if path is None:
        return None
    if path in PLAIN_TYPES:
        return PLAIN_TYPES[path]
    origin = (app.conf.origin or "").partition(":")[0]
    if path.isidentifier():
        module = sys.modules.get(origin) or sys.modules["__main__"]  # a script that calls main()
        if hasattr(module, path):
            return _checked_type(path, getattr(module, path))
    try:
        return _checked_type(path, symbol_by_name(path))
    except FaustError as exc:
        raise CommandLineError(
            f"there is no type {path!r}: name a model of the app, its whole path, or one "
            f"of {', '.join(PLAIN_TYPES)}"
        ) from exc


def _checked_type(path: str, found: Any) -> Any:
    if not isinstance(found, type):
        raise CommandLineError(f"{path} is no type, it is {found!r}")
    return found


def symbol_of_app(app: App, path: str) -> Any:
    """Import what a path names, from the root or from the app's module or its models."""
    origin = (app.conf.origin or "").partition(":")[0]
    tries = [path, f"{origin}.models.{path}", f"{origin}.{path}"] if origin else [path]
    if path.isidentifier():
        tries = tries[1:]  # a bare name would be a module
        main = sys.modules["__main__"]
        if hasattr(main, path):
            return getattr(main, path)
    for one in tries:
        try:
            return symbol_by_name(one)
        except FaustError:
            continue
    raise CommandLineError(f"there is no {path!r}, neither by itself nor in {origin or 'the app'}")
