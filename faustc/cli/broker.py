"""`faustc broker`: run the embedded broker in the foreground."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path
from typing import Literal

import click

from faustc.cli.base import CommandLineError, Invocation
from faustc.exceptions import FaustError
from faustc.urls import DEFAULT_PORT, EMBEDDED_FOLDER
from faustc.worker import FORMAT, LEVELS

__all__ = ["broker"]


@click.command(help="Run the embedded broker, for development and tests, until SIGINT or SIGTERM.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=DEFAULT_PORT,
    show_default=True,
    help="The port; 0 is any that is free.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="A loopback address.")
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=EMBEDDED_FOLDER,
    show_default=True,
    help="The folder of its data; apps with embedded:// find it there.",
)
@click.option("--memory", is_flag=True, help="Keep everything in memory, and no folder.")
@click.option(
    "--flush",
    type=click.Choice(["interval", "every"]),
    default="interval",
    show_default=True,
    help="Bring writes to the disk every 50 ms, or each before it is answered.",
)
@click.pass_context
def broker(
    ctx: click.Context,
    /,
    port: int,
    host: str,
    data: Path,
    memory: bool,
    flush: Literal["interval", "every"],
) -> None:
    """Run the broker."""
    from faustc.broker.process import Tenure, run  # slow to import
    from faustc.broker.server import check_loopback

    invocation: Invocation = ctx.obj
    logging.basicConfig(
        level=LEVELS[(invocation.loglevel or "warn").lower()],
        format=FORMAT,
        filename=invocation.logfile,
    )
    check_loopback(host)
    tenure = None if memory else Tenure.take(data)

    def say(host: str, port: int) -> None:
        where = "memory" if tenure is None else str(tenure.folder.path)
        if not invocation.quiet:
            click.echo(f"faustc broker: kafka://{host}:{port}, data in {where}")
            sys.stdout.flush()

    try:
        asyncio.run(run(host=host, port=port, tenure=tenure, flush=flush, on_ready=say))
    except OSError as exc:
        if isinstance(exc, FaustError):
            raise
        raise CommandLineError(f"broker: {host}:{port}: {exc.strerror or exc}") from exc
    finally:
        if tenure is not None:
            tenure.release()
