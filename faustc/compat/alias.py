"""The names `faust` and `mode` for the modules of ours: one copy of each, under two names.

A module that is imported as `faust.x` is `faustc.x` itself, so classes exist once, a
patch of one name is seen under the other, and `isinstance` holds between them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from faustc import setting_defaults
from faustc.compat.names import PLACES, ROOTS
from faustc.exceptions import ImproperlyConfigured

__all__ = ["install_as_faust"]


def install_as_faust() -> None:
    """Let `import faust` and `import mode` find faustc, for this whole process.

    Apps made from then on have the defaults of Faust 1.x, unless they are given others.

    Call it before anything imports either of them: at the top of the module that
    starts the program, or in tests by `-p faustc.compat.pytest_alias`. Calling
    it again does nothing. Raises ImproperlyConfigured when the real faust or mode
    was imported before: two copies of App and Record in one process would not know
    each other.
    """
    if any(isinstance(finder, AliasFinder) for finder in sys.meta_path):
        return
    for root in ROOTS:
        there = sys.modules.get(root)
        if there is not None:
            raise ImproperlyConfigured(
                f"install_as_faust() comes too late: {root} was imported already, from "
                f"{getattr(there, '__file__', 'an unknown place')}. Call it before the first "
                f"`import {root}`, or uninstall {root}"
            )
    sys.meta_path.insert(0, AliasFinder())
    setting_defaults.use("faust-1.x")


def target_of(name: str) -> str | None:
    """Return the name of our module that stands behind a name of Faust's, if there is one."""
    root = name.partition(".")[0]
    if root not in ROOTS:
        return None
    place = PLACES.get(name)
    if place is not None:
        return place
    own = ROOTS[root] + name[len(root) :]
    if name != root:
        above = target_of(name.rpartition(".")[0])
        # What is above may be a plain module of ours, or none: then nothing is below it.
        if above != own.rpartition(".")[0] or not hasattr(import_module(above), "__path__"):
            return None
    return own if find_spec(own) is not None else None


class AliasFinder(MetaPathFinder):
    """Finds `faust...` and `mode...`, and leaves every other name to the others."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        found = target_of(fullname)
        return None if found is None else ModuleSpec(fullname, AliasLoader(found))


class AliasLoader(Loader):
    """Gives our module for the name it was made for, and leaves the module as it is."""

    def __init__(self, target: str) -> None:
        self.target = target
        self._own_spec: Any = None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = import_module(self.target)
        self._own_spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        # The import system has just called it by the alias; it keeps its own name.
        module.__spec__ = self._own_spec
        # Where Faust has a package and we have a module, `import faust.app.base` needs
        # one to look into: an empty one, which nobody but AliasFinder finds anything in.
        if "__path__" not in vars(module):
            module.__path__ = []
