"""Credentials for the brokers of an app, by Faust's names.

    app = faustc.App("shop", broker_credentials=faustc.SASLCredentials(
        username="ada", password=os.environ["PASSWORD"], mechanism="SCRAM-SHA-512",
        ssl_context=ssl.create_default_context(),
    ))

They hold what was given and show none of it. What does not fit together is
found by the client when the app starts.
"""

from __future__ import annotations

import ssl
from enum import Enum
from typing import Any

from faustc.exceptions import ImproperlyConfigured

__all__ = [
    "Credentials",
    "GSSAPICredentials",
    "OAuthCredentials",
    "SASLCredentials",
    "SSLCredentials",
    "client_options",
]


class Credentials:
    """What the setting broker_credentials takes, besides a bare ssl.SSLContext."""

    def client_options(self) -> dict[str, Any]:
        """Return the keywords about security for faustc.client."""
        raise NotImplementedError


class SASLCredentials(Credentials):
    """A user name and password; in Faust's way the mechanism is PLAIN unless named.

    Those left out are taken from the broker URL. Without an ssl_context (here, or
    the setting of that name) connections are in the clear, and then PLAIN, which
    sends the password as it is, needs allow_plaintext_password=True; the SCRAM
    mechanisms do not send it.
    """

    def __init__(
        self,
        *,
        username: str | None = None,
        password: str | None = None,
        ssl_context: ssl.SSLContext | None = None,
        mechanism: str | Enum | None = None,
        allow_plaintext_password: bool = False,
    ) -> None:
        self.username = username
        self.password = password
        self.ssl_context = ssl_context
        self.mechanism = str(mechanism.value if isinstance(mechanism, Enum) else mechanism or "")
        self.mechanism = self.mechanism or "PLAIN"
        self.allow_plaintext_password = allow_plaintext_password

    def __repr__(self) -> str:
        return f"<SASLCredentials {self.mechanism} {self.username}>"

    def client_options(self) -> dict[str, Any]:
        return {
            "sasl_mechanism": self.mechanism,
            "sasl_plain_username": self.username,
            "sasl_plain_password": self.password,
            "ssl_context": self.ssl_context,
            "allow_plaintext_password": self.allow_plaintext_password,
        }


class OAuthCredentials(Credentials):
    """Tokens (OAUTHBEARER); oauth_cb returns one, or one and its lifetime in seconds.

    oauth_cb is a coroutine function, a function (called on a thread, so it may
    block), or an object with such a method `token`, as aiokafka has it.
    """

    def __init__(
        self,
        oauth_cb: Any,
        ssl_context: ssl.SSLContext | None = None,
        *,
        allow_plaintext_password: bool = False,
    ) -> None:
        self.oauth_cb = oauth_cb
        self.ssl_context = ssl_context
        self.allow_plaintext_password = allow_plaintext_password

    def __repr__(self) -> str:
        return "<OAuthCredentials>"

    def client_options(self) -> dict[str, Any]:
        return {
            "sasl_mechanism": "OAUTHBEARER",
            "sasl_oauth_token_provider": self.oauth_cb,
            "ssl_context": self.ssl_context,
            "allow_plaintext_password": self.allow_plaintext_password,
        }


class SSLCredentials(Credentials):
    """TLS: a context, or what `ssl.create_default_context` makes one of."""

    def __init__(
        self,
        context: ssl.SSLContext | None = None,
        *,
        purpose: Any = None,
        cafile: str | None = None,
        capath: str | None = None,
        cadata: str | bytes | None = None,
    ) -> None:
        if context is None:
            context = ssl.create_default_context(
                purpose=purpose or ssl.Purpose.SERVER_AUTH,
                cafile=cafile,
                capath=capath,
                cadata=cadata,
            )
        self.context = context

    def __repr__(self) -> str:
        return "<SSLCredentials>"

    def client_options(self) -> dict[str, Any]:
        return {"ssl_context": self.context}


class GSSAPICredentials(Credentials):
    """Kerberos, which faustc does not speak: making one raises ImproperlyConfigured."""

    ssl_context: ssl.SSLContext | None = None

    def __init__(self, **options: Any) -> None:
        raise ImproperlyConfigured(
            "GSSAPICredentials: GSSAPI (Kerberos) is not supported; use SASLCredentials with "
            "mechanism='SCRAM-SHA-512', OAuthCredentials or SSLCredentials"
        )


def client_options(conf: Any) -> dict[str, Any]:
    """Return the client's keywords for broker_credentials, ssl_context and the broker URL.

    A name or password in the URL fills what the credentials leave out; without
    other credentials it means PLAIN. Raises ImproperlyConfigured.
    """
    given, url = conf.broker_credentials, conf.broker
    options: dict[str, Any] = {}
    if given is None:
        pass
    elif isinstance(given, ssl.SSLContext):
        options = {"ssl_context": given}
    elif isinstance(given, Credentials):
        options = given.client_options()
    else:
        raise ImproperlyConfigured(
            f"broker_credentials: a {type(given).__name__} says nothing that is known here; it "
            "must be faustc's SASLCredentials, OAuthCredentials or SSLCredentials, or an "
            "ssl.SSLContext"
        )
    if options.get("ssl_context") is None:
        options["ssl_context"] = conf.ssl_context
    if options.get("sasl_mechanism") != "OAUTHBEARER":
        for name, value in (("username", url.user), ("password", url.password)):
            if value is not None and options.get(f"sasl_plain_{name}") is None:
                options[f"sasl_plain_{name}"] = value
    elif url.user is not None:
        raise ImproperlyConfigured("broker: a user in the URL does not go with OAuthCredentials")
    if isinstance(password := options.get("sasl_plain_password"), str):
        options["sasl_plain_password"] = _Masked(password)
    return {name: value for name, value in options.items() if value is not None}


class _Masked(str):
    """A password among other options: whoever prints those does not print it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"
