"""`faustc completion`: what makes a shell complete the command line."""

from __future__ import annotations

import os
from pathlib import Path

from click.shell_completion import get_completion_class

from faustc.cli.base import CommandLineError, argument, cli
from faustc.cli.command import AppCommand

__all__ = ["completion"]

SHELLS = ("bash", "zsh", "fish")


class Completion(AppCommand):
    """Print what the shell is to evaluate: eval "$(faustc completion)"."""

    require_app = False
    options = (argument("shell", required=False),)

    async def run(self, *, shell: str | None) -> None:
        name = shell or Path(os.environ.get("SHELL", "")).stem
        made = get_completion_class(name) if name in SHELLS else None
        if made is None:
            raise CommandLineError(
                f"completion: for {', '.join(SHELLS)}, not {name or 'an unknown shell'}; "
                "name yours: faustc completion bash"
            )
        self.say(made(cli, {}, "faustc", "_FAUSTC_COMPLETE").source())


completion = Completion.as_click()
