"""Commands that list what an app has: agents, models, tables."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, ClassVar

from faustc.cli.base import CommandLineError, argument, broker_option, option
from faustc.cli.command import AppCommand
from faustc.cli.verifying import verify_stores
from faustc.imports import did_you_mean
from faustc.models.registry import registry
from faustc.topics import Topic

__all__ = ["agents", "model", "models", "tables"]

NOT_SAID = "<N/A>"


class Listing(AppCommand):
    """A command that lists what the app has once all of it is imported."""

    def discovered(self) -> Any:
        """Return the app, its packages scanned if it wants that."""
        app = self.app
        if app.conf.autodiscover:
            app.discover()
        return app


class Agents(Listing):
    """List the agents, and the topics they read."""

    title = "Agents"
    headers: ClassVar[Sequence[str]] = ("name", "topic", "help")
    options = (option("--local/--no-local", default=False, help="Those that read a channel, too."),)

    async def run(self, *, local: bool) -> None:
        rows = [self.row(agent) for agent in self.agents(local=local)]
        self.say(self.tabulate(rows, headers=self.headers, title=self.title))

    def agents(self, *, local: bool = False) -> list[Any]:
        """Return the agents by name."""
        found = sorted(self.discovered().agents.values(), key=lambda agent: agent.name)
        return [agent for agent in found if local or isinstance(agent.channel, Topic)]

    def row(self, agent: Any) -> list[str]:
        channel = agent.channel
        topic = channel.label if isinstance(channel, Topic) else "<LOCAL>"
        text = inspect.cleandoc(agent.help or NOT_SAID)
        return ["@" + self.abbreviate_fqdn(agent.name), topic, text]


class Models(Listing):
    """List the models that the app's modules define."""

    title = "Models"
    headers: ClassVar[Sequence[str]] = ("name", "help")
    options = (
        option("--builtins/--no-builtins", default=False, help="Those of faustc itself, too."),
    )

    async def run(self, *, builtins: bool) -> None:
        rows = [
            [self.abbreviate_fqdn(name), inspect.cleandoc(one.__doc__ or NOT_SAID)]
            for name, one in self.models(builtins)
        ]
        self.say(self.tabulate(rows, headers=self.headers, title=self.title))

    def models(self, builtins: bool) -> list[tuple[str, Any]]:
        """Return the models by namespace."""
        self.discovered()
        return [
            (name, one)
            for name, one in sorted(registry.items())
            if builtins or not name.startswith(("@", "faustc."))
        ]


class Model(Listing):
    """Show the fields of one model."""

    headers: ClassVar[Sequence[str]] = ("field", "type", "default")
    options = (argument("name"),)

    async def run(self, *, name: str) -> None:
        found = self.find(name)
        rows = [
            [
                field.field,
                field.type.__name__ if inspect.isclass(field.type) else str(field.type),
                "*" if field.required else repr(field.default),
            ]
            for field in (getattr(found, one) for one in found._options.fields)
        ]
        title = self.abbreviate_fqdn(found._options.namespace)
        self.say(self.tabulate(rows, headers=self.headers, title=title))

    def find(self, name: str) -> Any:
        """Return the model of a name, of which the app's module may be left out."""
        origin = (self.discovered().conf.origin or "").partition(":")[0]
        for one in (name, f"{origin}.{name}"):
            if one in registry:
                return registry[one]
        short = {self.abbreviate_fqdn(known) for known in registry}
        raise CommandLineError(
            f"there is no model {name!r}{did_you_mean(name, [*registry, *short])}; "
            f"'{self.prog_name} models' lists them"
        )


class Tables(Listing):
    """List the tables, or compare those that are stored here with their changelogs."""

    title = "Tables"
    headers: ClassVar[Sequence[str]] = ("name", "help")
    options = (
        option(
            "--verify",
            is_flag=True,
            help="Compare each local store with its changelog; stop the worker before.",
        ),
        broker_option,
    )

    async def run(self, *, verify: bool, broker: str | None) -> None:
        self.invocation.broker = broker or self.invocation.broker
        if verify:
            await verify_stores(self, self.discovered())
            return
        known = self.discovered().tables
        rows = [[one.name, one.help or NOT_SAID] for one in known.values()]
        self.say(self.tabulate(rows, headers=self.headers, title=self.title))


agents = Agents.as_click()
models = Models.as_click()
model = Model.as_click()
tables = Tables.as_click()
