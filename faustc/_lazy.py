"""The one upward door: what lower modules reach above themselves, by name, when asked.

test_layers knows this table and allows no other dynamic import of ours.
"""

from __future__ import annotations

from typing import Any

from faustc.imports import symbol_by_name

__all__ = ["DOORS", "door"]

DOORS = {
    "main": "faustc.cli.base:main",  # app.main()
    "command": "faustc.cli.command:command_of",  # @app.command()
    "Worker": "faustc.worker:Worker",  # app.Worker()
    "embedded": "faustc.broker.launcher:attach",  # broker="embedded://"
    "test_app": "faustc.testing.harness:AppTest",  # app.test_context()
    "test_agent": "faustc.testing.agent:wrap",  # agent.test_context()
}


def door(name: str) -> Any:
    """Import what the table names."""
    return symbol_by_name(DOORS[name])
