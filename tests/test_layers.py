"""The layers: imports point down, each outside library has one door, and there is no loop."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "faustc"

# Lowest first. A module belongs to the longest prefix that names it, and may import
# its own layer and those below. What is not listed fails: give it a place.
LAYERS = [
    ["exceptions", "types", "version", "clock"],
    ["_native"],
    ["imports", "urls", "jsonable", "unpickling", "codecs", "auth", "flock"],
    ["_lazy"],
    ["client"],
    ["broker"],
    ["stores"],
    ["engine"],
    ["models"],
    [
        "serializers",
        "setting_defaults",
        "setting_types",
        "setting_table",
        "settings",
        "setting_docs",
        "timers",
        "crontab",
        "waits",
    ],
    [
        "home",
        "instance",
        "fixups",
        "boot",
        "tracing",
        "signals",
        "messages",
        "feeds",
        "shapes",
        "service",
        "discovery",
        "undecodable",
        "sensors",
        "events",
        "flow",
        "reqrep",
        "supervisors",
        "stacks",
        "refs",
        "utils",
        "replies",
        "answering",
    ],
    ["channels", "serialized", "pinning", "shelves", "windows"],
    ["topics"],
    ["asking", "operators", "sources", "takes"],
    ["tables"],
    ["relays", "iteration", "joining", "joins"],
    ["keyed", "failure"],
    ["streams"],
    ["actors", "callee"],
    ["agents"],
    ["wiring"],
    ["runner"],
    ["web"],
    ["defining", "configured"],
    ["app"],
    ["contrib"],
    ["blocking"],
    ["worker"],
    ["cli"],
    ["testing"],
    ["compat"],
    ["__main__", ""],
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
# What only one place may import, and not at its top where that would be slow.
DOORS = {
    "kafka": ["client/wire.py", "broker/wire.py"],
    "click": ["cli/"],
    "msgspec": ["models/foreign.py", "jsonable.py"],
    "pydantic": ["models/foreign.py"],
    "cronsim": ["crontab.py"],
    "aiohttp": ["web/", "http.py"],
    "rocksdbpy": ["stores/rocksdb.py"],
    "rocksdict": ["stores/rocksdict.py"],
}
PY = sorted(p for p in PACKAGE.rglob("*.py"))
PYX = sorted([*PACKAGE.rglob("*.pyx"), *PACKAGE.rglob("*.pxd")])


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def level_of(name: str) -> int:
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        level = LEVEL.get(".".join(parts[:end]))
        if level is not None:
            return level
    if name == "":
        return LEVEL[""]
    raise AssertionError(f"faustc.{name} has no layer: add it to LAYERS")


def imports_of(path: Path) -> set[str]:
    """Return the absolute names of everything a Python file imports, wherever it does."""
    found = set()
    package = ["faustc", *path.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            modules = {f"{module}.{a.name}" for a in node.names if is_module(f"{module}.{a.name}")}
            found |= modules
            if len(modules) < len(node.names):
                found.add(module)
    return found


def is_module(name: str) -> bool:
    path = ROOT / name.replace(".", "/")
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def ours(names: set[str]) -> set[str]:
    """Return our modules among the names, without their prefix; packages as their modules."""
    return {n.removeprefix("faustc").lstrip(".") for n in names if n.split(".")[0] == "faustc"}


@pytest.mark.parametrize("path", PY, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    own = level_of(name_of(path))
    for name in ours(imports_of(path)):
        if name:  # `from faustc import x` hands on
            assert level_of(name) <= own, f"{path.name} imports faustc.{name}, which is above it"
        else:
            assert path.name == "__main__.py", f"{path.name} imports the package's __init__"


@pytest.mark.parametrize("path", PYX, ids=lambda p: p.name)
def test_native_imports_nothing_but_exceptions_and_types(path: Path) -> None:
    text = path.read_text()
    found = re.findall(r"^\s*(?:from|cimport|import)\s+(faustc[\w.]*|asyncio|logging)", text, re.M)
    allowed = ("faustc._native", "faustc.exceptions", "faustc.types")
    assert [name for name in found if not name.startswith(allowed)] == []
    assert not re.search(r"^\s*(include|DEF|IF)\s", text, re.M), "no include, DEF or IF"


@pytest.mark.parametrize("library", DOORS)
def test_each_library_has_one_door(library: str) -> None:
    for path in PY:
        where = str(path.relative_to(PACKAGE))
        if any(n.split(".")[0] == library for n in imports_of(path)):
            assert where.startswith(tuple(DOORS[library])), f"{where} imports {library}"


def test_the_face_does_not_know_the_client() -> None:
    for path in PY:
        name = name_of(path)
        if name.split(".")[0] not in ("client", "broker", "engine", "cli", "testing"):
            found = {n for n in ours(imports_of(path)) if n.split(".")[0] == "client"}
            assert not found, f"{name} imports {found}; only the engine does"


def test_the_broker_keeps_to_itself() -> None:
    """It checks the client, so of the client it may know the table of error codes, no more."""
    for path in PY:
        name = name_of(path)
        found = ours(imports_of(path))
        if name.split(".")[0] == "broker":
            used = {n for n in found if n.split(".")[0] == "client"}
            assert used <= {"client.codes"}, f"{name} imports {used}"
        elif name.split(".")[0] not in ("cli", "testing"):
            assert not {n for n in found if n.split(".")[0] == "broker"}, name


def test_there_is_no_import_loop() -> None:
    graph = {
        name_of(path): {n for n in ours(imports_of(path)) if n} - {name_of(path)} for path in PY
    }
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name not in done:
            for below in graph.get(name, ()):
                # A package's own __init__ hands on what its modules have.
                if not name.startswith(f"{below}."):
                    visit(below, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_dynamic_imports_of_ours_are_in_the_lazy_table() -> None:
    """One upward door: _lazy. The others import what users name, or (wire) kafka-python.

    A package's __init__ may hand on the names of its own modules when they are asked for.
    """
    allowed = {"compat/alias.py", "_lazy.py", "imports.py", "discovery.py", "cli/base.py"}
    allowed |= {"client/__init__.py", "client/wire.py", "broker/wire.py"}
    for path in PY:
        where = str(path.relative_to(PACKAGE))
        if where not in allowed and path.name != "__init__.py":
            assert not re.search(r"import_module\(|__import__\(", path.read_text()), where


def test_files_have_at_most_500_lines() -> None:
    long = {str(p.relative_to(ROOT)): n for p in [*PY, *PYX] if (n := _lines(p)) > 500}
    assert long == {}


def _lines(path: Path) -> int:
    return len(path.read_text().splitlines())
