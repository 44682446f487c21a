"""`faustc worker`: run the app."""

from __future__ import annotations

import sys
from typing import Any

import click

from faustc.cli.base import Invocation, broker_option, log_options

__all__ = ["worker"]


# -h is the host, as in Faust.
@click.command(
    help="Run the app until SIGINT or SIGTERM.",
    context_settings={"help_option_names": ["--help"]},
)
@click.option("--with-web/--without-web", default=None, help="Run the web server, or do not.")
@click.option("-p", "--web-port", type=click.IntRange(0, 65535), help="Its port; 6066. 0 is any.")
@click.option("-b", "--web-bind", help="The address it listens at; 127.0.0.1. 0.0.0.0 is all.")
@click.option("-h", "--web-host", help="The name of this node, for others.")
@click.option("--web-transport", metavar="URL", help="tcp://, or unix:///path of a socket.")
@broker_option
@log_options
@click.pass_context
def worker(
    ctx: click.Context,
    /,
    loglevel: str | None,
    logfile: str | None,
    broker: str | None,
    with_web: bool | None,
    **web: Any,
) -> None:
    """Run the app."""
    invocation: Invocation = ctx.obj
    invocation.broker = broker or invocation.broker
    app = invocation.app
    for name, value in {"web_enabled": with_web, **web}.items():
        if value is not None:
            setattr(app.conf, name, value)
    made: Any = app.Worker(
        loglevel=loglevel or invocation.loglevel or "warn",
        logfile=logfile or invocation.logfile,
        quiet=invocation.quiet,
        loop=invocation.loop,
    )
    sys.exit(made.run())
