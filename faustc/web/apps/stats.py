"""`/` where statistics are on (debug): a page for people, and the monitor's numbers as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from faustc.types import TopicPartition
from faustc.version import __version__
from faustc.web.apps.health import troubles
from faustc.web.blueprints import Blueprint
from faustc.web.views import View

__all__ = ["Assignment", "Index", "Stats", "blueprint"]

blueprint = Blueprint("monitor")


class Numbers(View):
    """What the sensors of the app know."""

    def numbers(self) -> dict[str, Any]:
        return {f"Sensor{i}": sensor.asdict() for i, sensor in enumerate(self.app.sensors)}


@blueprint.route("/", name="index")
class Index(Numbers):
    """A page for browsers, JSON for everybody else; the status is 503 if something is wrong."""

    async def get(self, request: Any) -> Any:
        found = troubles(self.app)
        status = 503 if found else 200
        if "text/html" in request.headers.get("Accept", ""):
            return self.html(page(self.app, self.web, found), status=status)
        return self.json(self.numbers(), status=status)


@blueprint.route("/stats/", name="stats")
class Stats(Numbers):
    """The same numbers, always as JSON."""

    async def get(self, request: Any) -> Any:
        return self.json(self.numbers())


@blueprint.route("/assignment/", name="assignment")
class Assignment(View):
    """The partitions that this worker reads, by topic; and those whose tables it follows."""

    async def get(self, request: Any) -> Any:
        engine = self.app.runner.engine
        found: dict[str, dict[str, list[int]]] = {"actives": {}, "standbys": {}}
        for kind, some in (
            ("actives", engine.assignment.partitions),
            ("standbys", engine.sharing.standbys),
        ):
            for topic, partition in sorted(some):
                found[kind].setdefault(topic, []).append(partition)
        return self.json(found)


# -- the page ----------------------------------------------------------------------------

STYLE = """
:root { color-scheme: light dark; --line: #8884; --good: #1a7f37; --bad: #cf222e; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.05rem; margin: 1.8rem 0 .4rem; }
.state { display: inline-block; padding: .1rem .7rem; border-radius: 1rem; color: #fff;
  font-size: .9rem; vertical-align: middle; background: var(--good); }
.bad .state { background: var(--bad); } .troubles { color: var(--bad); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .7rem;
  margin-top: 1.2rem; }
.tile { border: 1px solid var(--line); border-radius: .5rem; padding: .5rem .8rem; }
.tile b { display: block; font-size: 1.35rem; font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; } th { text-align: left; font-weight: 600; }
th, td { padding: .25rem .8rem .25rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; overflow-wrap: anywhere; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
footer { margin: 2rem 0; opacity: .7; font-size: .9rem; }
"""


def page(app: Any, web: Any, found: Sequence[str]) -> str:
    """Return the page about an app. What it shows is escaped: topics have any names."""
    monitor = app.monitor
    facts = [(name, value) for name, value in app.runner.facts() if name != "id"]
    name = escape(app.conf.id)
    body = [
        f"<header{' class=bad' if found else ''}><h1>{name} "
        f"<span class=state>{'not well' if found else 'running'}</span></h1></header>",
        "".join(f"<p class=troubles>{escape(one)}</p>" for one in found),
        _tiles(monitor),
        "<h2>Partitions</h2>",
        _table(
            ("topic", "partition", "read up to", "committed", "end", "lag"),
            _partitions(app),
            numbers=(1, 2, 3, 4, 5),
            empty="none are assigned to this worker",
        ),
        "<h2>Agents</h2>",
        _table(
            ("agent", "reads", "events", "errors", ""),
            _agents(app),
            numbers=(2, 3),
            empty="there are none",
        ),
        "<h2>Topics</h2>",
        _table(
            ("topic", "received", "sent", "undecodable"),
            _topics(monitor),
            numbers=(1, 2, 3),
            empty="no messages yet",
        ),
        "<h2>Worker</h2>",
        _table((), facts),
        "<h2>Pages</h2>",
        _table((), _pages(web)),
    ]
    return (
        "<!doctype html><html lang=en><head><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width'><meta http-equiv=refresh content=5>"
        f"<title>{name}</title><style>{STYLE}</style></head><body>{''.join(body)}"
        f"<footer>faustc {__version__}; as of the last second, read again every 5 s. "
        f"As JSON: <a href='{escape(web.url_for('monitor:stats'))}'>"
        f"{escape(web.url_for('monitor:stats'))}</a></footer></body></html>"
    )


def _tiles(monitor: Any) -> str:
    tiles = [
        ("events / s", f"{monitor.events_s:,}"),
        ("events in hand", f"{monitor.events_active:,}"),
        ("events", f"{monitor.events_total:,}"),
        ("messages received", f"{monitor.messages_received_total:,}"),
        ("messages sent", f"{monitor.messages_sent_total:,}"),
        ("lag", f"{monitor.lag_total:,}"),
        ("time per event", _time(monitor.events_runtime_avg)),
        ("commits", f"{monitor.commits_total:,}"),
        ("errors", f"{monitor.agent_errors_total + monitor.decode_errors_total:,}"),
        ("rebalances", f"{monitor.rebalances_total:,}"),
    ]
    inner = "".join(f"<div class=tile><b>{value}</b>{label}</div>" for label, value in tiles)
    return f"<div class=tiles>{inner}</div>"


def _time(value_s: float) -> str:
    if not value_s:
        return "-"
    for factor, unit in ((1, "s"), (1e3, "ms"), (1e6, "µs")):
        if value_s * factor >= 1:
            return f"{value_s * factor:.3g} {unit}"
    return f"{value_s * 1e9:.3g} ns"


def _partitions(app: Any) -> list[Sequence[Any]]:
    monitor = app.monitor

    def shown(offsets: dict[TopicPartition, int], tp: TopicPartition) -> Any:
        return offsets.get(tp, "-")

    return [
        (
            tp.topic,
            tp.partition,
            shown(monitor.tp_read_offsets, tp),
            shown(monitor.committed, tp),
            shown(monitor.tp_end_offsets, tp),
            shown(monitor.lag, tp),
        )
        for tp in sorted(app.runner.engine.assignment.partitions)
    ]


def _agents(app: Any) -> list[Sequence[Any]]:
    monitor = app.monitor
    return [
        (
            name,
            getattr(agent.channel, "label", agent.channel),
            monitor.events_by_stream.get(name, 0),
            monitor.agent_errors_by_agent.get(name, 0),
            (getattr(agent, "help", None) or "").strip().partition("\n")[0],
        )
        for name, agent in sorted(app.agents.items())
    ]


def _topics(monitor: Any) -> list[Sequence[Any]]:
    counts = (
        monitor.messages_received_by_topic,
        monitor.messages_sent_by_topic,
        monitor.decode_errors_by_topic,
    )
    names = sorted({name for one in counts for name in one})
    return [(name, *(one.get(name, 0) for one in counts)) for name in names]


def _pages(web: Any) -> list[Sequence[Any]]:
    return [
        (path, name, (type(web.views[path]).__doc__ or "").strip().partition("\n")[0])
        for name, path in sorted(web.reverse_names.items(), key=lambda item: item[1])
    ]


def _table(
    headers: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    numbers: Sequence[int] = (),
    empty: str = "",
) -> str:
    def cells(tag: str, row: Sequence[Any]) -> str:
        return "".join(
            f"<{tag}{' class=n' if at in numbers else ''}>"
            f"{escape(f'{cell:,}' if isinstance(cell, int) else str(cell))}</{tag}>"
            for at, cell in enumerate(row)
        )

    lines = [f"<tr>{cells('td', row)}</tr>" for row in rows]
    if not lines:
        return f"<p>{escape(empty)}</p>"
    head = f"<tr>{cells('th', headers)}</tr>" if headers else ""
    return f"<div class=scroll><table>{head}{''.join(lines)}</table></div>"
