"""One setting: its descriptor, and the checks that settings are made of.

A check takes what the user gave, as a keyword or as the text of an
environment variable, and returns the value to keep; it raises TypeError or
ValueError saying what it wants instead.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta, tzinfo
from enum import Enum
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeVar, overload

from .exceptions import ImproperlyConfigured, UnsupportedCodec
from .imports import is_dotted_path
from .urls import URL, BrokerURL, broker_url

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
Check = Callable[[Any], T]

_UNSET: Any = object()


class Values(Protocol):
    """What a setting needs of the Settings it is read from and written to."""

    _given: dict[str, Any]
    _defaults: Mapping[str, Callable[[Any], Any]]

    def _change(self, setting: Setting[Any], name: str, value: Any) -> None: ...


class Setting(Generic[T]):
    """One option: how it is checked, what it is when nobody sets it, and what it means.

    It is a descriptor: two names bound to the same Setting in the class body are
    one option, the first of them its main name. derive computes a default
    from other settings each time it is read; present turns what is stored into
    what is shown (a template into a path). env is the variable that sets it,
    process the one that the whole process shares (FAUST_<process> or
    F_<process>, without the app's prefix). late: may change after the app is
    final.
    """

    def __init__(
        self,
        check: Check[T],
        default: T = _UNSET,
        *,
        doc: str,
        derive: Callable[[Any], T] | None = None,
        present: Callable[[Any, Any], T] | None = None,
        env: str = "",
        process: str = "",
        late: bool = False,
    ) -> None:
        self.check = check
        self.default = default
        self.doc = doc
        self.derive = derive
        self.present = present
        self.env = env
        self.process = process
        self.late = late
        self.names: list[str] = []

    def __set_name__(self, owner: type, name: str) -> None:
        self.names.append(name)

    @property
    def name(self) -> str:
        """The main name."""
        return self.names[0]

    @property
    def aliases(self) -> tuple[str, ...]:
        """Its other names."""
        return tuple(self.names[1:])

    @overload
    def __get__(self, conf: None, owner: type | None = None) -> Self: ...

    @overload
    def __get__(self, conf: Values, owner: type | None = None) -> T: ...

    def __get__(self, conf: Values | None, owner: type | None = None) -> Self | T:
        if conf is None:
            return self
        value = conf._given.get(self.names[0], _UNSET)
        if value is _UNSET:
            derive = conf._defaults.get(self.names[0], self.derive)
            value = self.default if derive is None else derive(conf)
        return value if self.present is None else self.present(conf, value)

    def __set__(self, conf: Values, value: Any) -> None:
        conf._change(self, self.names[0], value)

    def checked(self, name: str, value: Any) -> T:
        """Return value as it is to be kept; raise ImproperlyConfigured naming the setting."""
        try:
            return self.check(value)
        except ImproperlyConfigured as exc:
            raise ImproperlyConfigured(f"setting {name}: {exc}") from exc
        except (TypeError, ValueError) as exc:
            shown = type(value).__name__ if self.secret else repr(value)
            raise ImproperlyConfigured(f"setting {name}: {exc}, not {shown}") from exc

    @property
    def secret(self) -> bool:
        """Whether its value may hold a password."""
        return self.check in (credentials, ssl_context, driver_url, broker)


class ProcessingGuarantee(Enum):
    """How often an event may take effect."""

    AT_LEAST_ONCE = "at_least_once"
    EXACTLY_ONCE = "exactly_once"


def text(value: Any) -> str:
    """Accept a non-empty str."""
    if not isinstance(value, str) or not value:
        raise TypeError("it is a non-empty string")
    return value


def flag(value: Any) -> bool:
    """Accept a bool, 0 or 1, or a word for one (true, yes, on; false, no, off)."""
    if isinstance(value, str):
        word = value.strip().lower()
        if word in ("1", "true", "yes", "on"):
            return True
        if word in ("0", "false", "no", "off"):
            return False
    elif value in (True, False):
        return bool(value)
    raise TypeError("it is True or False")


def whole(minimum: int | None = None, maximum: int | None = None) -> Check[int]:
    """Accept an int in a range, both ends included, or its digits as text."""

    def check(value: Any) -> int:
        if isinstance(value, str) and re.fullmatch(r"\s*[+-]?\d+\s*", value):
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise TypeError(f"it is a whole number{_range(minimum, maximum)}")
        if (minimum is not None and value < minimum) or (maximum is not None and value > maximum):
            raise ValueError(f"it is a whole number{_range(minimum, maximum)}")
        return int(value)

    return check


def _range(minimum: int | None, maximum: int | None) -> str:
    if maximum is not None:
        return f" from {minimum} to {maximum}"
    return "" if minimum is None else f" of {minimum} or more"


def seconds(value: Any) -> float:
    """Accept a duration of zero or more: seconds as a number or as text, or a timedelta."""
    if isinstance(value, timedelta):
        value = value.total_seconds()
    elif isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            raise ValueError("it is a duration, in seconds or as a timedelta") from None
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError("it is a duration, in seconds or as a timedelta")
    if not math.isfinite(value) or value < 0:
        raise ValueError("it is a finite duration of zero or more")
    return float(value)


def some_seconds(value: Any) -> float:
    """Accept a duration above zero."""
    duration = seconds(value)
    if duration == 0:
        raise ValueError("it is a duration above zero")
    return duration


def path(value: Any) -> Path:
    """Accept a file system path, `~` allowed."""
    if not isinstance(value, str | Path) or not str(value) or "\0" in str(value):
        raise TypeError("it is a path")
    return Path(value).expanduser()


def one_of(*choices: str) -> Check[str]:
    """Accept one of a few words, in any case."""

    def check(value: Any) -> str:
        if isinstance(value, str) and value.strip().lower() in choices:
            return value.strip().lower()
        raise ValueError(f"it is one of {', '.join(choices)}")

    return check


def either(check: Check[T], word: str, meaning: T) -> Check[T]:
    """Accept one more word, which stands for a value."""

    def checked(value: Any) -> T:
        return meaning if isinstance(value, str) and value.lower() == word else check(value)

    return checked


def maybe(check: Check[T]) -> Check[T | None]:
    """Widen the type by None, the default; giving None anywhere means the default."""
    return check


def app_id(value: Any) -> str:
    """Accept an id that can name a consumer group, topics and a folder."""
    name = text(value)
    if name.strip() != name:
        raise ValueError("an app id has no space at either end")
    if re.search(r"[\x00-\x1f\x7f/\\]", name):
        raise ValueError("an app id has no slash and no control character")
    if ".." in name or name == ".":
        raise ValueError("an app id names a folder, so it has no '..'")
    if len(name) > 200:
        raise ValueError("an app id has at most 200 characters, as it begins names of topics")
    return name


def broker(value: Any) -> BrokerURL:
    """Accept a broker URL, or several."""
    return broker_url(value)


def driver_url(value: Any) -> URL:
    """Accept a URL whose scheme names a driver, such as memory://."""
    if isinstance(value, URL):
        return value
    if not isinstance(value, str) and hasattr(value, "scheme"):  # yarl.URL and its like
        value = f"{value}//" if str(value).endswith(":") else str(value)
    return URL(text(value))


def api_version(value: Any) -> str:
    """Accept "auto" or a version such as 3.9 or 4.1.0."""
    if isinstance(value, str) and re.fullmatch(r"auto|\d+(\.\d+){0,3}", value):
        return value
    raise ValueError('it is "auto" or a version such as "3.9.0"')


def serializer(value: Any) -> Any:
    """Accept the name of a codec (several joined by `|`), or a codec."""
    if isinstance(value, str):
        if all(part.strip() for part in value.split("|")):
            return value
    elif callable(getattr(value, "dumps", None)) and callable(getattr(value, "loads", None)):
        return value
    raise TypeError("it is the name of a codec such as 'json', or a Codec")


def symbol(value: Any) -> Any:
    """Accept a class (or any object that can be called), or the dotted path of one."""
    if isinstance(value, str):
        if is_dotted_path(value) and re.search(r"[.:]", value):
            return value
    elif callable(value):
        return value
    raise TypeError("it is a class, or the path of one such as 'a.b.C' or 'a.b:C'")


def packages(value: Any) -> Any:
    """Accept True, False, names of packages, or a function that returns some.

    An iterable is kept unread: a generator over Django's apps must not run
    before Django is set up.
    """
    if isinstance(value, bool) or callable(value):
        return value
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return value
    raise TypeError("it is True, False, a list of packages, or a function that returns one")


def acks(value: Any) -> int:
    """Accept 0, 1, -1 or "all"."""
    return {"0": 0, "1": 1, "-1": -1, "all": -1}[one_of("0", "1", "-1", "all")(str(value))]


def guarantee(value: Any) -> ProcessingGuarantee:
    """Accept a ProcessingGuarantee or its value."""
    if isinstance(value, ProcessingGuarantee):
        return value
    return ProcessingGuarantee(one_of(*(one.value for one in ProcessingGuarantee))(value))


def compression(value: Any) -> str:
    """Accept one of Kafka's codecs, or one that was registered besides."""
    if value in ("none", "gzip", "snappy", "lz4", "zstd"):
        return str(value)
    from ._native.compression import codec_id

    try:
        codec_id(text(value))
    except UnsupportedCodec as exc:
        raise ValueError("it is gzip, snappy, lz4, zstd or a codec that was registered") from exc
    return str(value)


def zone(value: Any) -> tzinfo:
    """Accept a tzinfo or the name of a time zone."""
    if isinstance(value, tzinfo):
        return value
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(text(value))
    except (LookupError, OSError) as exc:  # ZoneInfoNotFoundError is a KeyError
        raise ValueError("it is a tzinfo or a name such as 'Europe/Oslo'") from exc


def mapping(value: Any) -> Mapping[Any, Any]:
    """Accept a mapping."""
    if not isinstance(value, Mapping):
        raise TypeError("it is a mapping")
    return value


def items(value: Any) -> list[Any]:
    """Accept an iterable of things."""
    if not isinstance(value, Iterable) or isinstance(value, str | bytes | Mapping):
        raise TypeError("it is a list")
    return list(value)


def log_level(value: Any) -> str | int:
    """Accept a level of logging, as its name or number."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    levels = ("CRITICAL", "FATAL", "ERROR", "WARNING", "WARN", "INFO", "DEBUG", "NOTSET")
    if isinstance(value, str) and value.upper() in levels:
        return value.upper()
    raise ValueError("it is a log level such as WARN")


def ssl_context(value: Any) -> Any:
    """Accept an ssl.SSLContext."""
    module = sys.modules.get("ssl")  # who has a context has imported it
    if module is None or not isinstance(value, module.SSLContext):
        raise TypeError("it is an ssl.SSLContext")
    return value


def credentials(value: Any) -> Any:
    """Accept an SSLContext, or credentials that carry one (`context` or `ssl_context`)."""
    if hasattr(value, "ssl_context") or hasattr(value, "context"):
        return value
    try:
        return ssl_context(value)
    except TypeError:
        raise TypeError("it is SASL, GSSAPI, OAuth or SSL credentials, or an SSLContext") from None


def anything_callable(value: Any) -> Any:
    """Accept a function, or the dotted path of one."""
    return symbol(value)
