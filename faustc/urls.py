"""URLs of brokers and drivers. A password is kept, but never shown.

Each URL is a str that holds what may be shown: it prints, logs, compares and
goes into JSON like the string the user gave, with the password as `***`. Who
opens a connection asks for `.password` or `.reveal()`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from .exceptions import ImproperlyConfigured
from .imports import did_you_mean, is_dotted_path

MASK = "***"
DEFAULT_PORT = 9092
DEFAULT_SCHEME = "kafka"
EMBEDDED = "embedded"
#: Where the embedded broker lives when its URL names no folder.
EMBEDDED_FOLDER = ".faustc"

#: Schemes of brokers; a transport that registers itself adds its own.
BROKER_SCHEMES = {"kafka", "aiokafka", "confluent", EMBEDDED}

_SCHEME = re.compile(r"(?P<scheme>[A-Za-z_][\w.:+-]*?)://")
_PLAIN_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+_-]*")
_NEXT_URL = re.compile(r"[;,]\s*(?=[A-Za-z_][\w.:+-]*?://)")


class URL(str):
    """A scheme and the rest; as a str it is what the user wrote, less the password."""

    scheme: str
    rest: str
    user: str | None
    password: str | None
    _secret: str

    __slots__ = ("_secret", "password", "rest", "scheme", "user")

    def __new__(cls, text: str) -> URL:
        """Parse scheme://[user[:password]@]rest; raise ImproperlyConfigured if it is no URL."""
        match = _SCHEME.match(text)
        if match is None:
            hint = (
                f"; did you mean '{text.rstrip(':/')}://'?" if is_scheme(text.rstrip(":/")) else ""
            )
            raise ImproperlyConfigured(f"{hide(text)!r} is not a URL with a scheme{hint}")
        scheme = match["scheme"]
        if not is_scheme(scheme):
            raise ImproperlyConfigured(f"{scheme!r} is neither a scheme nor a path to a class")
        rest = text[match.end() :]
        user, password = None, None
        if scheme != EMBEDDED:  # the rest is a folder, which may have an @ in its name
            user, password, rest = _split_credentials(rest)
        self = super().__new__(cls, hide(text))
        self.scheme = scheme
        self.user = user
        self.password = password
        self.rest = rest
        self._secret = text
        return self

    @property
    def driver_path(self) -> str | None:
        """The dotted path of the driver's class, when the scheme is one."""
        return self.scheme if "." in self.scheme or ":" in self.scheme else None

    def reveal(self) -> str:
        """Return the URL with its password, for the one who connects."""
        return self._secret

    def __eq__(self, other: object) -> bool:
        if isinstance(other, URL):
            return self._secret == other._secret
        if isinstance(other, str):
            return str.__eq__(self, other)
        # yarl's, which Faust's settings are made of.
        return _bare(self) == _bare(str(other)) if hasattr(other, "raw_host") else NotImplemented

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return str.__hash__(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._secret,)


class BrokerURL(URL):
    """Where brokers are: one scheme, any number of hosts.

    hosts are (name, port) pairs; a URL without a host means localhost:9092.
    `embedded://` and `embedded:///folder` have none: that broker's address is
    found in its folder.
    """

    hosts: tuple[tuple[str, int], ...]

    __slots__ = ("hosts",)

    def __new__(cls, text: str) -> BrokerURL:
        """Parse `kafka://h1:9092;h2`, or several such URLs joined by `;`.

        A missing scheme means kafka. Raises ImproperlyConfigured for a
        bad port, a path, or URLs that differ in scheme. Whether there is a driver
        for the scheme is for `check_scheme`.
        """
        text = text.strip()
        if not text:
            raise ImproperlyConfigured("an empty broker URL")
        if "://" not in text:
            if is_scheme(text.rstrip(":/")) and text.endswith((":", ":/")):
                raise ImproperlyConfigured(f"{text!r}: did you mean '{text.rstrip(':/')}://'?")
            text = f"{DEFAULT_SCHEME}://{text}"
        first, *more = _NEXT_URL.split(text)
        self = super().__new__(cls, first)
        assert isinstance(self, BrokerURL)
        hosts = list(_hosts(self))
        for part in more:
            other = cls(part)
            if other.scheme != self.scheme:
                raise ImproperlyConfigured(
                    f"broker URLs of two schemes: {self.scheme}:// and {other.scheme}://"
                )
            if other.password is not None and (other.user, other.password) != (
                self.user,
                self.password,
            ):
                raise ImproperlyConfigured("broker URLs with different credentials")
            hosts.extend(other.hosts)
        if more and self.scheme == EMBEDDED:
            raise ImproperlyConfigured("an app has one embedded broker, not several")
        if more:
            whole = str.__new__(cls, hide(text))
            whole.scheme, whole.rest = self.scheme, self.rest
            whole.user, whole.password = self.user, self.password
            whole._secret = text
            self = whole
        self.hosts = tuple(dict.fromkeys(hosts))
        return self

    def check_scheme(self) -> None:
        """Raise ImproperlyConfigured, with a suggestion, for a scheme that names no driver."""
        if self.driver_path is None and self.scheme not in BROKER_SCHEMES:
            raise ImproperlyConfigured(
                f"unknown broker scheme {self.scheme!r}"
                f"{did_you_mean(self.scheme, BROKER_SCHEMES)} "
                f"(known: {', '.join(sorted(BROKER_SCHEMES))}, or the path of a class)"
            )

    def __eq__(self, other: object) -> bool:
        if isinstance(other, list):  # what Faust 1.x makes of such a setting
            return [_bare(part) for part in _NEXT_URL.split(self._secret)] == [
                _bare(str(one)) for one in other
            ]
        return super().__eq__(other)

    __hash__ = URL.__hash__

    @property
    def folder(self) -> Path:
        """The folder of an embedded broker, `.faustc` where it names none."""
        return Path(unquote(self.rest) if self.rest else EMBEDDED_FOLDER)

    @property
    def bootstrap_servers(self) -> list[str]:
        """The hosts as `name:port`, IPv6 addresses in brackets."""
        return [
            f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts
        ]


def _bare(url: str) -> str:
    """Return a URL without what stands for an empty host: yarl writes `redis:` for `redis://`."""
    return url.rstrip("/:")


def broker_url(value: str | URL | Iterable[Any]) -> BrokerURL:
    """Make one BrokerURL of a string, a URL object, or several of them.

    Raises ImproperlyConfigured.
    """
    if isinstance(value, BrokerURL):
        return value
    if isinstance(value, URL):
        return BrokerURL(value.reveal())
    if isinstance(value, str):
        return BrokerURL(value)
    if hasattr(value, "scheme"):  # yarl.URL and its like
        return BrokerURL(str(value))
    if not isinstance(value, Iterable):
        raise ImproperlyConfigured(f"{value!r} is not a broker URL")
    urls = [broker_url(one) for one in value]
    if not urls:
        raise ImproperlyConfigured("an empty list of broker URLs")
    return urls[0] if len(urls) == 1 else BrokerURL(";".join(one.reveal() for one in urls))


def is_scheme(text: str) -> bool:
    """Say whether text is a plain scheme or the dotted path of a class."""
    return _PLAIN_SCHEME.fullmatch(text) is not None or is_dotted_path(text)


def hide(text: str) -> str:
    """Replace each password in a text of URLs by `***`."""
    return ";".join(_hide_one(part) for part in _NEXT_URL.split(text))


def _hide_one(text: str) -> str:
    scheme, found, rest = text.partition("://")
    if not found:
        scheme, rest = "", text
    credentials, at, host = rest.rpartition("@")
    user, colon, _ = credentials.partition(":")
    shown = f"{user}:{MASK}" if colon else credentials
    return f"{scheme}{found}{shown}{at}{host}"


def _split_credentials(rest: str) -> tuple[str | None, str | None, str]:
    credentials, at, remainder = rest.rpartition("@")
    if not at:
        return None, None, rest
    user, colon, password = credentials.partition(":")
    return unquote(user), unquote(password) if colon else None, remainder


def _hosts(url: BrokerURL) -> Iterable[tuple[str, int]]:
    if url.scheme == EMBEDDED:
        if url.rest and (not url.rest.startswith("/") or not url.rest.strip("/")):
            raise ImproperlyConfigured(
                f"{str(url)!r}: an embedded broker has no host; name a folder from the root on "
                "(embedded:///path), or none (embedded://)"
            )
        return []
    rest = url.rest.removesuffix("/")
    if re.search(r"[/?#]", rest):
        raise ImproperlyConfigured(f"{str(url)!r}: a broker URL has hosts only, no path or query")
    names = [name.strip() for name in re.split(r"[;,]", rest)]
    names = [name for name in names if name]
    if not names:
        return [("localhost", DEFAULT_PORT)]
    return [_host(url, name) for name in names]


def _host(url: BrokerURL, text: str) -> tuple[str, int]:
    match = re.fullmatch(
        r"(?:\[(?P<v6>[0-9A-Fa-f:.%\w]+)\]|(?P<name>[^\s:\[\]]*))(?::(?P<port>.*))?", text
    )
    if match is None:
        raise ImproperlyConfigured(f"{str(url)!r}: {text!r} is not a host, or host:port")
    port = match["port"]
    if port is not None and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ImproperlyConfigured(f"{str(url)!r}: port {port!r} is not a number from 1 to 65535")
    return match["v6"] or match["name"] or "localhost", int(port) if port else DEFAULT_PORT
