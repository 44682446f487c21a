"""How a client connects: in the clear or by TLS, and as whom. One value, checked once."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol, TypedDict

from faustc.exceptions import ImproperlyConfigured

PLAIN = "PLAIN"
OAUTHBEARER = "OAUTHBEARER"
SCRAM = ("SCRAM-SHA-256", "SCRAM-SHA-512")
MECHANISMS = (PLAIN, *SCRAM, OAUTHBEARER)
PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")


class Secret:
    """A text that shows itself only to who asks for it by name."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text."""
        return self._text

    def __repr__(self) -> str:
        return "***"


class HiddenBytes(bytes):
    """Bytes that go over the wire but into no message: whatever prints them prints `***`."""

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__


class Token(NamedTuple):
    """A token as it is sent; lifetime_s is None where the provider did not say."""

    text: HiddenBytes
    lifetime_s: float | None
    extensions: dict[str, str]


# A token, or a token and how many seconds it stays valid (None: not known).
TokenResult = str | tuple[str, float | None] | Token
TokenFunction = Callable[[], TokenResult | Awaitable[TokenResult]]


class TokenSource(Protocol):
    """An object with aiokafka's method; it may have `extensions() -> Mapping[str, str]` too."""

    def token(self) -> TokenResult | Awaitable[TokenResult]: ...


TokenProvider = TokenFunction | TokenSource


class SecurityOptions(TypedDict, total=False):
    """The keywords about security that Client, Consumer, Producer and Admin take.

    Their names and meanings are aiokafka's, except: security_protocol follows from
    the others where it is left out; TLS without an ssl_context uses the system's
    authorities; and what would send a password or token readable over the network
    needs allow_plaintext_password=True.
    """

    security_protocol: str | None
    ssl_context: ssl.SSLContext | None
    sasl_mechanism: str | None
    sasl_plain_username: str | None
    sasl_plain_password: str | None
    sasl_oauth_token_provider: TokenProvider | None
    allow_plaintext_password: bool


NAMES = frozenset(SecurityOptions.__annotations__)


@dataclass(frozen=True, slots=True)
class Security:
    """What a connection shows and checks; make it with `of`.

    ssl_context is None in the clear, mechanism None without SASL.
    """

    ssl_context: ssl.SSLContext | None = None
    mechanism: str | None = None
    username: str = ""
    password: Secret = field(default=Secret(""), repr=False)
    token_provider: TokenProvider | None = field(default=None, repr=False)

    @classmethod
    def of(cls, owner: str, options: Mapping[str, object]) -> Security:
        """Check the options (see SecurityOptions) given to `owner`.

        Raises ImproperlyConfigured for what cannot work or would be less secure
        than it looks, TypeError for a name that is none of them.
        """
        for name in options:
            if name not in NAMES:
                raise TypeError(f"{owner}() got an unexpected keyword argument {name!r}")
        given: dict[str, Any] = {k: value for k, value in options.items() if value is not None}
        protocol = given.get("security_protocol") or _protocol(given)
        if protocol not in PROTOCOLS:
            raise ImproperlyConfigured(
                f"security_protocol is {protocol!r}; known are {', '.join(PROTOCOLS)}"
            )
        context = given.get("ssl_context")
        encrypted = protocol.endswith("SSL")
        if not encrypted and context is not None:
            raise ImproperlyConfigured(
                f"security_protocol={protocol!r} does not encrypt, but there is an ssl_context"
            )
        if encrypted:
            context = _checked_context(context)
        if not protocol.startswith("SASL_"):
            unused = sorted(name for name in given if name.startswith("sasl_"))
            if unused:
                raise ImproperlyConfigured(
                    f"security_protocol={protocol!r} does not log in, but there is "
                    + ", ".join(unused)
                )
            return cls(context)
        login = cls._login(given, context)
        if not encrypted and login.mechanism not in SCRAM:
            what = "password" if login.mechanism == PLAIN else "token"
            if not given.get("allow_plaintext_password"):
                raise ImproperlyConfigured(
                    f"sasl_mechanism={login.mechanism!r} with {protocol} would send the {what} "
                    "readable to the whole network: use TLS (SASL_SSL, an ssl_context) or SCRAM, "
                    "or say allow_plaintext_password=True"
                )
        return login

    @classmethod
    def _login(cls, given: Mapping[str, Any], context: ssl.SSLContext | None) -> Security:
        mechanism = given.get("sasl_mechanism", PLAIN)
        if mechanism == "GSSAPI":
            raise ImproperlyConfigured(
                f"sasl_mechanism='GSSAPI' (Kerberos) is not supported; {', '.join(MECHANISMS)} are"
            )
        if mechanism not in MECHANISMS:
            raise ImproperlyConfigured(
                f"sasl_mechanism is {mechanism!r}; known are {', '.join(MECHANISMS)}"
            )
        provider = given.get("sasl_oauth_token_provider")
        if mechanism == OAUTHBEARER:
            if provider is None or not callable(getattr(provider, "token", provider)):
                raise ImproperlyConfigured(
                    f"sasl_mechanism={mechanism!r} needs sasl_oauth_token_provider, "
                    "a function that returns a token, or an object whose method token() does"
                )
        elif provider is not None:
            raise ImproperlyConfigured(
                f"sasl_oauth_token_provider is for OAUTHBEARER, not for {mechanism!r}"
            )
        else:
            for name in ("sasl_plain_username", "sasl_plain_password"):
                value = given.get(name)
                if not isinstance(value, str) or not value or "\0" in value:
                    raise ImproperlyConfigured(
                        f"sasl_mechanism={mechanism!r} needs {name}, a string that is not empty "
                        "and has no NUL"
                    )
        return cls(
            context,
            mechanism,
            given.get("sasl_plain_username", ""),
            Secret(given.get("sasl_plain_password", "")),
            provider,
        )

    def with_tokens_from(self, provider: TokenProvider) -> Security:
        """Return the same with another token provider."""
        return replace(self, token_provider=provider)


def _protocol(given: Mapping[str, Any]) -> str:
    sasl = any(name.startswith("sasl_") for name in given)
    encrypted = "ssl_context" in given
    if sasl:
        return "SASL_SSL" if encrypted else "SASL_PLAINTEXT"
    return "SSL" if encrypted else "PLAINTEXT"


def _checked_context(context: Any) -> ssl.SSLContext:
    """Return the context, one that verifies chain and host name when there is none."""
    if context is None:
        return ssl.create_default_context()
    if not isinstance(context, ssl.SSLContext):
        raise ImproperlyConfigured(
            f"ssl_context must be an ssl.SSLContext, not {type(context).__name__}"
        )
    if context.protocol == ssl.PROTOCOL_TLS_SERVER:
        raise ImproperlyConfigured(
            "ssl_context is one for servers (Purpose.CLIENT_AUTH): clients need "
            "ssl.create_default_context(ssl.Purpose.SERVER_AUTH)"
        )
    return context
