"""The settings of an app: read at its first use, told of by signals, then final."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Collection, Mapping
from typing import Any

from faustc.exceptions import AlreadyConfiguredWarning, ImproperlyConfigured
from faustc.imports import symbol_by_name
from faustc.settings import Settings as AppSettings
from faustc.signals import SyncSignal

__all__ = ["Configured"]


class Configured:
    """The part of an app that is about its settings.

    Keywords are checked where they are written. The environment and the
    configuration source are read when the settings are first asked for, which
    is what the signals are about.
    """

    #: The class of the settings.
    Settings: type[AppSettings] = AppSettings

    on_before_configured = SyncSignal("Before the settings are made. (app)")
    on_configured = SyncSignal("The settings are made and may be changed. (app, conf)")
    on_after_configured = SyncSignal("The settings are there. (app)")

    def __init__(
        self, *, id: str, config_source: Any, given: Mapping[str, Any], **options: Any
    ) -> None:
        self.lock = threading.RLock()
        self.Settings.check(id, given)
        self._given_id = id
        self._given = dict(given)
        self._config_source = config_source
        self._settings: AppSettings | None = None
        self._configuring: AppSettings | None = None  # while receivers of on_configured look
        super().__init__(**options)

    @property
    def conf(self) -> AppSettings:
        """The settings. They may be replaced, and changed until the app is first used."""
        return self._settings or self._configure()

    @conf.setter
    def conf(self, conf: AppSettings) -> None:
        with self.lock:
            self._settings = conf

    @property
    def configured(self) -> bool:
        """Whether the settings were made."""
        return self._settings is not None

    def _configure(self, *, silent: bool = False) -> AppSettings:
        """Make the settings, once however many threads ask; a receiver sees those being made."""
        with self.lock:
            if self._settings is None and self._configuring is None:
                self.on_before_configured.send()
                source = _settings_in(self._config_source, self.Settings.NAMES, silent=silent)
                conf = self.Settings(self._given_id, **{**self._given, **source})
                self._configuring = conf
                try:
                    self.on_configured.send(conf)
                    self._settings = self._configuring
                finally:
                    self._configuring = None
                self.on_after_configured.send()
            made = self._settings or self._configuring
            assert made is not None
            return made

    def config_from_object(self, obj: Any, *, silent: bool = False, force: bool = False) -> None:
        """Take settings from a mapping, an object's attributes, or a module, given by path too.

        They are read when the settings are first asked for, with force at once. What
        they say goes before keywords. silent: a module that is not there is no
        error. Warns if the settings were made already, and makes them anew.
        """
        again = self.configured
        if again:
            if self.finalized:
                raise ImproperlyConfigured(
                    "config_from_object comes too late: the app's settings are final"
                )
            warnings.warn(
                "config_from_object after the settings were first used: what was made of "
                "them before keeps them",
                AlreadyConfiguredWarning,
                stacklevel=2,
            )
        if force or again:
            _settings_in(obj, self.Settings.NAMES, silent=silent)  # an error leaves all as it is
        self._config_source = _Silently(obj) if silent else obj
        if force or again:
            with self.lock:
                self._settings = None
                self._configure()

    def finalize(self) -> None:
        """Check the settings together and make them final."""
        self.conf.finalize()

    @property
    def finalized(self) -> bool:
        """Whether the settings are final."""
        return self._settings is not None and self._settings.finalized

    def _made(self, name: str, make: Callable[[], Any]) -> Any:
        """Make an attribute once, however many threads ask for it at the same time."""
        with self.lock:
            found = self.__dict__.get(name)
            if found is None:
                found = self.__dict__[name] = make()
            return found


class _Silently:
    """A configuration source that may be absent."""

    def __init__(self, source: Any) -> None:
        self.source = source


def _settings_in(source: Any, names: Collection[str], *, silent: bool) -> dict[str, Any]:
    """Return the settings in a mapping, an object, or the module that a path names."""
    if isinstance(source, _Silently):
        source, silent = source.source, True
    if source is None:
        return {}
    if isinstance(source, str):
        try:
            source = symbol_by_name(source)
        except ImproperlyConfigured:
            if silent:
                return {}
            raise
    if isinstance(source, Mapping):
        return dict(source)
    return {name: getattr(source, name) for name in dir(source) if name in names}
