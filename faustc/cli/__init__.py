"""The command line: `faustc`, and what custom commands are made with."""

from faustc.cli.base import AppCommand, Command, argument, main, option

__all__ = ["AppCommand", "Command", "argument", "main", "option"]
