"""What is done by itself where another framework is at hand: Django, and what entry points add."""

from __future__ import annotations

import os
import warnings
from typing import Any

__all__ = ["DjangoFixup", "Fixup", "fixups"]


class Fixup:
    """Fits an app to its surroundings. Packages add theirs as entry points `faust.fixups`."""

    def __init__(self, app: Any) -> None:
        self.app = app

    def enabled(self) -> bool:
        """Say whether it has anything to do here."""
        return False

    def autodiscover_modules(self) -> list[str]:
        """Return packages that are looked through besides, where autodiscover is on."""
        return []

    def on_worker_init(self) -> None:
        """Run when a worker begins."""


class DjangoFixup(Fixup):
    """For programs that set DJANGO_SETTINGS_MODULE: Django is ready before its apps are used."""

    def enabled(self) -> bool:
        """Say whether DJANGO_SETTINGS_MODULE is set and Django installed."""
        if not os.environ.get("DJANGO_SETTINGS_MODULE"):
            return False
        try:
            import django  # noqa: F401
        except ImportError:
            warnings.warn(
                "DJANGO_SETTINGS_MODULE is set, and Django is not installed", stacklevel=2
            )
            return False
        return True

    def autodiscover_modules(self) -> list[str]:
        """Return Django's installed apps."""
        from django.apps import apps

        self.wait_for_django()
        return [config.name for config in apps.get_app_configs()]

    def wait_for_django(self) -> None:
        """Set Django up, unless somebody did."""
        import django
        from django.apps import apps

        if not apps.ready:
            django.setup()

    def on_worker_init(self) -> None:
        """Set Django up, and warn where its DEBUG would keep every query in memory."""
        self.wait_for_django()
        from django.conf import settings

        if settings.DEBUG:
            warnings.warn(
                "Django's settings.DEBUG is on: it keeps every query, which a worker "
                "never lets go of; leave it off in production",
                stacklevel=2,
            )


def fixups(app: Any) -> list[Fixup]:
    """Return the fixups that have something to do."""
    from importlib.metadata import entry_points

    plugged = [entry.load() for entry in entry_points(group="faust.fixups")]
    made = [cls(app) for cls in (DjangoFixup, *plugged)]
    return [fixup for fixup in made if fixup.enabled()]
