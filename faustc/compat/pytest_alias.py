"""A pytest plugin: `pytest -p faustc.compat.pytest_alias` runs tests of Faust code on faustc.

The names are there from the moment the plugin is imported, which is before any conftest.
"""

from __future__ import annotations

from faustc.compat.alias import install_as_faust

install_as_faust()
