"""Which of Faust's tests are about its insides, told by what they name.

A test is, if it (or a function of its file that it calls) looks at a private attribute,
puts a mock in place of something, takes a fixture that does, or imports a name that
`absent/tests_absent.py` lists: none of these is what an application may rest on.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator
from pathlib import Path

Function = ast.FunctionDef | ast.AsyncFunctionDef
MOCKS = {"Mock", "MagicMock", "AsyncMock", "ContextMock", "FutureMock", "patch"}
FIXTURES = {"patching", "mocker", "monkeypatch", "mock_http_client"}


def absent_names(plugin: Path) -> set[str]:
    """Return the names that our plugin has to make up."""
    for node in ast.parse(plugin.read_text()).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "NAMES":
            return {
                leaf.value
                for leaf in ast.walk(node.value)
                if isinstance(leaf, ast.Constant) and "." not in str(leaf.value)
            }
    raise LookupError(f"{plugin} has no NAMES")


def internals(path: Path, absent: Collection[str]) -> dict[str, str]:
    """Return, by the name of each test that is about insides, what it names of them."""
    tree = ast.parse(path.read_text())
    # Functions and methods that tests call; two methods of one name are taken for one.
    functions = {node.name: node for node in ast.walk(tree) if isinstance(node, Function)}
    found = {}
    for name, node in _tests(tree.body):
        what = _names_of(node, functions, absent, frozenset())
        if what is not None:
            found[name] = what
    return found


def _tests(body: Collection[ast.stmt], prefix: str = "") -> Iterator[tuple[str, Function]]:
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield from _tests(node.body, f"{node.name}::")
        elif isinstance(node, Function) and node.name.startswith("test"):
            yield prefix + node.name, node


def _names_of(
    node: Function, functions: dict[str, Function], absent: Collection[str], seen: frozenset[str]
) -> str | None:
    for part in ast.walk(node):
        called = None
        if isinstance(part, ast.Attribute):
            if part.attr.startswith("_") and not part.attr.startswith("__"):
                return part.attr
            if isinstance(part.value, ast.Name) and part.value.id == "self":
                called = part.attr
        elif isinstance(part, ast.Name):
            if part.id in MOCKS or part.id in absent:
                return part.id
            called = part.id
        if called in functions and called not in seen and functions[called] is not node:
            deeper = _names_of(functions[called], functions, absent, seen | {called})
            if deeper is not None:
                return f"{called}(), {deeper}"
        if isinstance(part, ast.arg) and part.arg in FIXTURES:
            return part.arg
    return None
