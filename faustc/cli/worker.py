"""`faustc worker`: run the app."""

from __future__ import annotations

import sys
from typing import Any

import click

from faustc.cli.base import Invocation, broker_option, log_options


@click.command(help="Run the app until SIGINT or SIGTERM.")
@broker_option
@log_options
@click.pass_context
def worker(
    ctx: click.Context, /, loglevel: str | None, logfile: str | None, broker: str | None
) -> None:
    """Run the app."""
    invocation: Invocation = ctx.obj
    invocation.broker = broker or invocation.broker
    app = invocation.app
    if app.conf.autodiscover:
        app.discover()
    made: Any = app.Worker(
        loglevel=loglevel or invocation.loglevel or "warn",
        logfile=logfile or invocation.logfile,
        quiet=invocation.quiet,
        loop=invocation.loop,
    )
    sys.exit(made.run())
