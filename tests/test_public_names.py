"""What users import: the names are there, come from where they say, and come quickly."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import faustc

INIT = Path(faustc.__file__)


@pytest.mark.parametrize("name", faustc.__all__)
def test_every_public_name_is_there(name: str) -> None:
    found = getattr(faustc, name)
    assert found is not None
    assert name in dir(faustc)
    if isinstance(found, type):
        assert found.__doc__, f"{name} says nothing about itself"


def test_type_checkers_see_the_same_names_as_users() -> None:
    tree = ast.parse(INIT.read_text())
    checked = {
        alias.name: node.module
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert checked == faustc._PLACES
    assert set(faustc._PLACES) <= set(faustc.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Tabel'"):
        _ = faustc.Tabel  # type: ignore[attr-defined]


def test_importing_leaves_heavy_things_alone() -> None:
    code = (
        "import sys; import faustc; "
        "print(*{'kafka', 'click', 'rich', 'asyncio', 'aiohttp'} & set(sys.modules))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    ).stdout.split()
    assert out == [], f"import faustc imports {out}"


def test_an_app_is_made_without_the_client() -> None:
    code = (
        "import sys, faustc; app = faustc.App('x'); app.topic('t');"
        "print({'kafka', 'click', 'rich', 'faustc.client.consumer'} & set(sys.modules) or '')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == ""
