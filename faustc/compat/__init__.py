"""Being Faust: code that says `import faust`, and its tests, run on faustc unchanged."""

from faustc.compat.alias import install_as_faust

__all__ = ["install_as_faust"]
