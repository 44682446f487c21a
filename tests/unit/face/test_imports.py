"""Things by their dotted names, the names that were meant, and an import that stays light."""

import os.path
import subprocess
import sys
from collections import OrderedDict

import pytest

from faustc.exceptions import ImproperlyConfigured
from faustc.imports import did_you_mean, nearest, symbol_by_name


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("collections.OrderedDict", OrderedDict),
        ("collections:OrderedDict", OrderedDict),
        ("collections:OrderedDict.fromkeys", OrderedDict.fromkeys),
        ("os.path:join", os.path.join),
        ("collections", sys.modules["collections"]),
        (OrderedDict, OrderedDict),
    ],
)
def test_a_dotted_path_is_found_and_anything_else_is_handed_back(path, found):
    assert symbol_by_name(path) == found


def test_a_leading_dot_is_relative():
    assert symbol_by_name(".path:join", package="os") is os.path.join


def test_faust_s_own_paths_lead_to_this_package():
    from faustc.serializers import Registry

    assert symbol_by_name("faust.serializers.Registry") is Registry
    assert symbol_by_name("faust.serializers:Registry") is Registry


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("collections.OrderedDct", "collections has no 'OrderedDct'; did you mean 'OrderedDict'"),
        ("no_such_module_at_all.X", "there is no module 'no_such_module_at_all'"),
        ("os.no_such.X", "there is no module"),
        ("", "not a dotted path"),
        ("a b", "not a dotted path"),
        (".relative", "not a dotted path"),
        ("a:b:c", "not a dotted path"),
        ("3x.y", "not a dotted path"),
    ],
)
def test_a_path_that_leads_nowhere_says_where_it_ends(path, reason):
    with pytest.raises(ImproperlyConfigured, match=reason):
        symbol_by_name(path)


def test_an_error_inside_the_module_comes_through(tmp_path, monkeypatch):
    (tmp_path / "broken_inside.py").write_text("import absent_dependency_of_it\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="absent_dependency_of_it"):
        symbol_by_name("broken_inside.Thing")


def test_the_nearest_name():
    assert nearest("brokr", ["broker", "store"]) == "broker"
    assert nearest("zzz", ["broker"]) is None
    assert did_you_mean("brokr", ["broker"]) == "; did you mean 'broker'?"
    assert did_you_mean("zzz", ["broker"]) == ""


def test_settings_models_and_serializers_import_nothing_heavy():
    code = (
        "import sys, faustc.settings, faustc.serializers, faustc.models\n"
        "print([m for m in ('aiohttp', 'click', 'rich', 'kafka') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
