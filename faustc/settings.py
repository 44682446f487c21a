"""Settings: the options of one application, checked when they are given.

Precedence: keyword, environment variable, FAUST_* variable of the process,
default. Everything may change until `finalize()`; afterwards only what Faust's
guide changes late (`store`, in tests).
"""

from __future__ import annotations

import os
import re
import threading
import uuid
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from . import setting_defaults
from .exceptions import ImproperlyConfigured
from .imports import did_you_mean
from .setting_table import Options
from .setting_types import Setting, app_id, symbol
from .urls import BrokerURL

__all__ = ["WITHOUT_EFFECT", "Settings"]

DEPRECATED = "Faust deprecated it"
#: Settings that are accepted and checked, but change nothing, each with the reason.
WITHOUT_EFFECT: dict[str, str] = {
    "cython_optimizations": "compiled code is all there is",
    "broker_api_version": "versions are agreed with each broker",
    "consumer_api_version": "versions are agreed with each broker",
    "producer_api_version": "versions are agreed with each broker",
    "producer_threaded": "send_soon works from every thread as it is",
    "recovery_consistency_check": "a store that is ahead of its changelog is always filled anew",
    "store_check_exists": "one look finds out whether a key exists, and its value",
    "table_key_index_size": "where a key is is looked up, not remembered",
    "stream_ack_cancelled_tasks": DEPRECATED,
    "stream_ack_exceptions": DEPRECATED,
    "crash_app_on_aerospike_exception": "there is no Aerospike store",
    "aerospike_retries_on_exception": "there is no Aerospike store",
    "aerospike_sleep_seconds_between_retries_on_exception": "there is no Aerospike store",
    "web_graph_enabled": "there is no such page yet",
    "web_metrics_enabled": "there is no such page yet",
}

#: Settings that must stay what they are, each with the reason.
FIXED: dict[str, str] = {
    "ConsumerScheduler": "partitions are served in turn, batch by batch",
    "PartitionAssignor": "how partitions are shared out is part of the client",
    "LeaderAssignor": "the group's own leader leads",
}

_PROCESS_PREFIXES = ("FAUST_", "F_", "FAUST_F_")  # the last is Faust's own slip, kept working
_VERSION_DIR = re.compile(r"v(\d+)")


class Settings(Options):
    """The options of one app: `conf.NAME`, by any of the names that Faust gave it.

    A subclass may declare more, each a `Setting` in its body. None always
    means the default. defaults="faust-1.x" asks for those of Faust 1.x where they
    differ. env is what variables are read from, os.environ if not given; an empty
    variable counts as absent.
    """

    #: Each setting by its main name, and the main name by each name.
    SETTINGS: ClassVar[dict[str, Setting[Any]]] = {}
    NAMES: ClassVar[dict[str, str]] = {}

    env: Mapping[str, str]
    _defaults: Mapping[str, setting_defaults.Default]
    _lock: threading.RLock
    _name: str
    _finalized: bool
    _reply_to: str | None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls._collect()

    @classmethod
    def _collect(cls) -> None:
        cls.SETTINGS = {}
        cls.NAMES = {}
        for base in reversed(cls.__mro__):
            for name, found in vars(base).items():
                if isinstance(found, Setting):
                    cls.SETTINGS[found.name] = found
                    cls.NAMES[name] = found.name

    def __init__(
        self,
        id: str,
        *,
        env: Mapping[str, str] | None = None,
        defaults: str | None = None,
        **options: Any,
    ) -> None:
        set_ = object.__setattr__
        set_(self, "_defaults", setting_defaults.of(defaults))
        set_(self, "_lock", threading.RLock())
        set_(self, "_given", {})
        set_(self, "_finalized", False)
        set_(self, "_reply_to", None)
        set_(self, "_name", _checked_id(id))
        set_(self, "env", os.environ if env is None else env)
        self._take_environment(options)
        self.update(options)

    # -- reading and writing

    @classmethod
    def check(cls, id: str, options: Mapping[str, Any]) -> None:
        """Raise ImproperlyConfigured for what `Settings(id, **options)` would not take."""
        _checked_id(id)
        defaults = setting_defaults.of(options.get("defaults"))
        cls._checked(
            {k: v for k, v in options.items() if k not in ("id", "env", "defaults")}, defaults
        )

    def update(self, options: Mapping[str, Any]) -> None:
        """Set several options; raise ImproperlyConfigured if two names of one differ."""
        options = dict(options)
        if "id" in options:
            self.id = options.pop("id")
        for main, (name, checked) in self._checked(options, self._defaults).items():
            _warn_of_old_name(self._defaults, name)
            self._keep(self.SETTINGS[main], name, checked)

    @classmethod
    def _checked(
        cls, options: Mapping[str, Any], defaults: Mapping[str, Any]
    ) -> dict[str, tuple[str, Any]]:
        """Return, by main name, the name that was used and the value to keep."""
        seen: dict[str, tuple[str, Any]] = {}
        for name, value in options.items():
            if name not in cls.NAMES:
                raise ImproperlyConfigured(cls._unknown(name))
            if value is None:
                continue
            main = cls.NAMES[name]
            checked = cls._checked_one(cls.SETTINGS[main], name, value, defaults)
            if main in seen and seen[main][1] != checked:
                raise ImproperlyConfigured(
                    f"{seen[main][0]} and {name} are two names of one setting, "
                    "and were given different values"
                )
            seen[main] = name, checked
        return seen

    @staticmethod
    def _checked_one(
        setting: Setting[Any], name: str, value: Any, defaults: Mapping[str, Any]
    ) -> Any:
        """Return a value to keep; refuse what cannot be, or be changed, or has no driver.

        Faust 1.x leaves the last, a broker whose scheme nobody knows, for the start, and so do
        its defaults.
        """
        checked = setting.checked(name, value)
        if setting.name in FIXED and checked != setting.default:
            raise ImproperlyConfigured(f"setting {name} cannot be another: {FIXED[setting.name]}")
        if isinstance(checked, BrokerURL) and not setting_defaults.is_late(defaults):
            try:
                checked.check_scheme()
            except ImproperlyConfigured as exc:
                raise ImproperlyConfigured(f"setting {name}: {exc}") from None
        return checked

    def _change(self, setting: Setting[Any], name: str, value: Any) -> None:
        if value is not None:
            value = self._checked_one(setting, name, value, self._defaults)
        self._keep(setting, name, value)

    def _keep(self, setting: Setting[Any], name: str, checked: Any) -> None:
        with self._lock:
            if self._finalized and not setting.late:
                raise ImproperlyConfigured(
                    f"setting {name} cannot change now: the app is configured already; "
                    "set it before the app's first use"
                )
            if checked is None:
                self._given.pop(setting.name, None)
            else:
                self._given[setting.name] = checked

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and not hasattr(type(self), name):
            raise ImproperlyConfigured(self._unknown(name))
        object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(self._unknown(name))

    @classmethod
    def _unknown(cls, name: str) -> str:
        return f"there is no setting {name!r}{did_you_mean(name, cls.NAMES)}"

    def asked_for(self, name: str) -> Any:
        """Return a setting that somebody set, or whose default was asked for; else None."""
        main = self.NAMES[name]
        return getattr(self, main) if main in self._given or main in self._defaults else None

    def is_set(self, name: str) -> bool:
        """Say whether somebody set it, by keyword, attribute or environment."""
        return self.NAMES[name] in self._given

    def asdict(self) -> dict[str, Any]:
        """Return every setting under its main name; passwords in URLs are masked.

        Classes are shown as they were given, so that none is imported for this.
        """
        return {
            name: self._given.get(name, setting.default)
            if setting.check is symbol
            else getattr(self, name)
            for name, setting in self.SETTINGS.items()
        }

    def ineffective(self) -> dict[str, str]:
        """Return those that were set but change nothing, each with the reason."""
        return {name: why for name, why in WITHOUT_EFFECT.items() if name in self._given}

    def __iter__(self) -> Iterator[str]:
        return iter(self.SETTINGS)

    def __repr__(self) -> str:
        given = ", ".join(
            f"{name}=<{type(value).__name__}>"
            if name == "broker_credentials"
            else f"{name}={value!r}"
            for name, value in sorted(self._given.items())
        )
        return f"<{type(self).__name__} {self.id!r}{': ' if given else ''}{given}>"

    # -- environment

    def _take_environment(self, options: Mapping[str, Any]) -> None:
        prefix = options.get("env_prefix") or self.env.get(self.SETTINGS["env_prefix"].env) or ""
        if prefix:
            self.env_prefix = prefix
            prefix = prefix.rstrip("_") + "_"
        given = {self.NAMES.get(name) for name, value in options.items() if value is not None}
        for setting in self.SETTINGS.values():
            if setting.name in given or setting.name == "env_prefix":
                continue
            names = [prefix + setting.env] if setting.env else []
            if setting.process:
                names += [start + setting.process for start in _PROCESS_PREFIXES]
            for name in names:
                if value := self.env.get(name):
                    shown = f"{setting.name} (from ${name})"
                    checked = self._checked_one(setting, shown, value, self._defaults)
                    self._keep(setting, setting.name, checked)
                    break

    # -- finality

    @property
    def finalized(self) -> bool:
        """Whether the settings are final."""
        return self._finalized

    def finalize(self) -> None:
        """Check how the settings fit together, and let them change no more.

        Raises ImproperlyConfigured. Doing it again does nothing.
        """
        with self._lock:
            if self._finalized:
                return
            _checked_id(self.id)
            _ = self.datadir  # fills in its template
            self._check_together()
            self._finalized = True

    def _check_together(self) -> None:
        session = self.broker_session_timeout
        if self.broker_heartbeat_interval >= session:
            raise ImproperlyConfigured(
                f"broker_heartbeat_interval ({self.broker_heartbeat_interval:g} s) has to be "
                f"below broker_session_timeout ({session:g} s)"
            )
        late = setting_defaults.is_late(self._defaults)  # Faust 1.x documents it, and lets it be
        if self.broker_request_timeout < session and not late:
            raise ImproperlyConfigured(
                f"broker_request_timeout ({self.broker_request_timeout:g} s) has to be at least "
                f"broker_session_timeout ({session:g} s)"
            )
        both = self.is_set("producer_linger") and self.is_set("producer_linger_ms")
        if both and self.producer_linger != self.producer_linger_ms / 1000:
            raise ImproperlyConfigured("producer_linger and producer_linger_ms differ")

    # -- identity and folders

    @property
    def name(self) -> str:
        """The id as given, the same for every version of the app."""
        return self._name

    @property
    def id(self) -> str:
        """The id in use: the name, or from version 2 on what id_format makes of it."""
        if self.version == 1:
            return self._name
        try:
            return self.id_format.format(id=self._name, self=self)
        except (LookupError, AttributeError, ValueError) as exc:
            raise ImproperlyConfigured(f"setting id_format: {self.id_format!r}: {exc}") from exc

    @id.setter
    def id(self, value: str) -> None:
        if self._finalized:
            raise ImproperlyConfigured("the id cannot change now: the app is configured already")
        object.__setattr__(self, "_name", _checked_id(value))

    @property
    def appdir(self) -> Path:
        """The folder of this version of the app, within datadir."""
        return self.data_directory_for_version(self.version)

    def data_directory_for_version(self, version: int) -> Path:
        """Return the folder of one version of the app."""
        return self.datadir / f"v{version}"

    def relative_to_appdir(self, path: Path) -> Path:
        """Return path within appdir, or as it is when it is absolute."""
        return self.appdir / path

    def find_old_versiondirs(self) -> list[Path]:
        """List the folders of versions before this one that exist, oldest first."""
        if not self.datadir.is_dir():
            return []
        found = []
        for path in self.datadir.iterdir():
            match = _VERSION_DIR.fullmatch(path.name)
            if match and int(match[1]) < self.version and path.is_dir():
                found.append((int(match[1]), path))
        return [path for _, path in sorted(found)]

    def generated_reply_to(self) -> str:
        """Return the reply topic made up for this instance; the same one each time."""
        with self._lock:
            if self._reply_to is None:
                self._reply_to = f"{self.reply_to_prefix}{uuid.uuid4()}"
            return self._reply_to


def _warn_of_old_name(defaults: Mapping[str, Any], name: str) -> None:
    """Say, as Faust 1.x does, that it calls a setting something else now."""
    instead = setting_defaults.renamed(defaults, name)
    if instead is not None:
        warnings.warn(instead, FutureWarning, stacklevel=4)
    elif setting_defaults.is_late(defaults) and WITHOUT_EFFECT.get(name) == DEPRECATED:
        warnings.warn(f"setting {name} has no effect: {DEPRECATED}", UserWarning, stacklevel=4)


def _checked_id(value: Any) -> str:
    try:
        return app_id(value)
    except (TypeError, ValueError) as exc:
        raise ImproperlyConfigured(f"app id {value!r}: {exc}") from exc


Settings._collect()
