"""The command line: `faustc`, and what custom commands are made with."""

from faustc.cli.base import argument, call_command, main, option
from faustc.cli.command import AppCommand, Command

__all__ = ["AppCommand", "Command", "argument", "call_command", "main", "option"]
