"""Logs a connection in: SASL PLAIN, SCRAM and OAUTHBEARER, by Kafka's two requests.

SaslHandshake names the mechanism; SaslAuthenticate then carries its messages
back and forth (KIP-43, KIP-152), and says for how long the login is good (KIP-368).
SCRAM is that of RFC 5802 and 7677, without channel binding, which Kafka lacks;
OAUTHBEARER that of RFC 7628.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import inspect
import json
import re
import secrets
import stringprep
import time
import unicodedata
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from faustc.client import codes
from faustc.client.security import (
    OAUTHBEARER,
    PLAIN,
    HiddenBytes,
    Security,
    Token,
    TokenProvider,
)
from faustc.exceptions import AuthenticationFailed, ConnectionLost

# RFC 7677 asks for at least 4,096; a million take half a second of CPU, and a
# hostile server must not be able to ask for more.
MIN_ITERATIONS = 4_096
MAX_ITERATIONS = 1_000_000
# From here on (10 ms of CPU) keys are derived on another thread.
_MANY_ITERATIONS = 20_000
_HASHES = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-512": "sha512"}
# How much of a token's life it is used for: the rest is for the way to the broker.
_TOKEN_SHARE = 0.8
_TOKEN = re.compile(r"[\x21-\x7e]+")
# What a broker says goes into an error message no longer than this.
_MAX_SAID = 300

# Sends a request on the connection, ahead of all that waits, and returns its answer.
Ask = Callable[..., Awaitable[Any]]


class Refused(Exception):
    """The broker's messages do not fit the mechanism; the text says how."""


class Conversation(Protocol):
    """One run of a mechanism: the first message, then an answer to each challenge.

    done is whether the broker has shown all that the mechanism asks of it.
    """

    done: bool

    def first(self) -> bytes: ...
    async def reply(self, challenge: bytes) -> bytes | None: ...


class Login:
    """Logs the connections of one client in; remembers tokens and derived keys for the next.

    Used from one event loop. Never lets a secret into an error or a log line.
    """

    def __init__(self, security: Security) -> None:
        assert security.mechanism is not None
        self.mechanism = security.mechanism
        self._security = security
        self._token: Token | None = None
        self._token_good_until = 0.0
        self._keys = KeyCache()
        # Kafka's brokers and tools take passwords as they are, RFC 5802 wants them
        # prepared. Only few differ; for those the second is tried after the first.
        self._spellings = [(security.username, security.password.reveal())]
        if self.mechanism in _HASHES:
            prepared = (saslprep(security.username), saslprep(security.password.reveal()))
            if None not in prepared and prepared != self._spellings[0]:
                self._spellings.append(prepared)  # type: ignore[arg-type]

    def __repr__(self) -> str:
        return f"<Login {self.mechanism} {self._security.username}>"

    async def begin(self, broker: str) -> Conversation:
        """Begin a conversation; for OAUTHBEARER that may mean to fetch a token.

        Raises ConnectionLost when the token provider fails, which may pass, and
        AuthenticationFailed when what it returns is no token.
        """
        if self.mechanism == PLAIN:
            return Plain(self._security)
        if self.mechanism == OAUTHBEARER:
            return Bearer(await self._fresh_token(broker))
        user, password = self._spellings[0]
        return Scram(_HASHES[self.mechanism], user, HiddenBytes(password.encode()), self._keys)

    async def carry_out(self, conversation: Conversation, ask: Ask, broker: str) -> float:
        """Log in; return for how many seconds that is good, 0 for as long as the connection.

        Raises AuthenticationFailed, saying what the broker said; UnsupportedVersion.
        """
        answer = await ask("SaslHandshake", mechanism=self.mechanism)
        if answer.error_code == codes.UNSUPPORTED_SASL_MECHANISM:
            offered = ", ".join(answer.mechanisms or ()) or "none"
            raise self._failed(broker, f"the broker does not offer it; it offers {offered}")
        if answer.error_code:
            raise self._failed(broker, str(codes.error_for(answer.error_code, "SaslHandshake")))
        message: bytes | None = conversation.first()
        try:
            while message is not None:
                answer = await ask("SaslAuthenticate", auth_bytes=HiddenBytes(message))
                if answer.error_code:
                    failure = self._refused(broker, answer)
                    del answer  # it may quote the password, and tracebacks show variables
                    raise failure
                message = await conversation.reply(bytes(answer.auth_bytes or b""))
        except Refused as exc:
            raise self._failed(broker, str(exc)) from None
        if not conversation.done:
            raise self._failed(broker, "the broker ended the exchange too early")
        del self._spellings[1:]
        return max(0, getattr(answer, "session_lifetime_ms", 0)) / 1000

    def _refused(self, broker: str, answer: Any) -> Exception:
        self._token = None
        code = codes.lookup(answer.error_code)
        said = answer.error_message or code.name
        if code.code != codes.SASL_AUTHENTICATION_FAILED:
            said = f"{code.name}: {said}"
        if len(self._spellings) > 1:
            del self._spellings[0]
            return ConnectionLost(
                f"{broker} refuses the password as it is; it is tried prepared by RFC 4013"
            )
        return self._failed(broker, said)

    def _failed(self, broker: str, reason: str) -> AuthenticationFailed:
        secret = self._security.password.reveal()
        if self._token is not None:
            secret = self._token.text.decode()
        if secret:
            reason = reason.replace(secret, "***")  # a broker may quote what it was sent
        return AuthenticationFailed(reason[:_MAX_SAID], broker=broker, mechanism=self.mechanism)

    async def _fresh_token(self, broker: str) -> Token:
        if self._token is not None and time.monotonic() < self._token_good_until:
            return self._token
        provider = self._security.token_provider
        assert provider is not None
        asked_at = time.monotonic()
        try:
            token = await fetch_token(provider)
        except Refused as exc:
            raise self._failed(broker, str(exc)) from None
        except Exception as exc:
            # Whatever it is: somebody else's server, most likely, and it may come back.
            raise ConnectionLost(
                f"{broker}: no token to log in with, the provider raised {type(exc).__name__}"
            ) from exc
        self._token = token
        self._token_good_until = asked_at + (token.lifetime_s or 0.0) * _TOKEN_SHARE
        return token


async def fetch_token(provider: TokenProvider) -> Token:
    """Ask a provider for a token: a coroutine function here, any other function on a thread.

    Raises Refused when it returns something else, and whatever the provider raises.
    """
    function: Any = getattr(provider, "token", provider)
    if inspect.iscoroutinefunction(function):
        result = await function()
    else:
        result = await asyncio.to_thread(function)
        if inspect.isawaitable(result):
            result = await result
    if isinstance(result, Token):
        return result
    text, lifetime_s = result if isinstance(result, tuple) and len(result) == 2 else (result, None)
    if not isinstance(text, str) or not _TOKEN.fullmatch(text):
        raise Refused(
            "the token provider did not return a token: a string of visible ASCII characters, "
            "or such a string and its lifetime in seconds"
        )
    extensions: Any = getattr(provider, "extensions", dict)()
    return Token(HiddenBytes(text.encode()), lifetime_s, dict(extensions or {}))


class Plain:
    """PLAIN (RFC 4616): the password as it is."""

    def __init__(self, security: Security) -> None:
        self.done = False
        self._security = security

    def first(self) -> bytes:
        security = self._security
        return HiddenBytes(f"\0{security.username}\0{security.password.reveal()}".encode())

    async def reply(self, challenge: bytes) -> bytes | None:
        self.done = True
        return None


class Bearer:
    """OAUTHBEARER (RFC 7628). A broker that refuses says why, and wants to hear a last byte."""

    def __init__(self, token: Token) -> None:
        self.done = False
        self._token = token
        self._refusal: str | None = None

    def first(self) -> bytes:
        pairs = [b"auth=Bearer " + self._token.text]
        pairs += [f"{name}={value}".encode() for name, value in self._token.extensions.items()]
        return HiddenBytes(b"n,,\x01" + b"\x01".join(pairs) + b"\x01\x01")

    async def reply(self, challenge: bytes) -> bytes | None:
        if self._refusal is not None:
            raise Refused(f"the broker refuses the token: {self._refusal}")
        if challenge:
            self._refusal = _status(challenge)
            return b"\x01"
        self.done = True
        return None


def _status(challenge: bytes) -> str:
    try:
        said = json.loads(challenge)
        return str(said.get("status") or said)
    except (ValueError, AttributeError, RecursionError):
        return repr(challenge[:_MAX_SAID])


class KeyCache:
    """The keys derived last: deriving them is slow on purpose, and reconnecting must not be."""

    __slots__ = ("_keys", "_what")

    def __init__(self) -> None:
        self._what: tuple[HiddenBytes, bytes, int] | None = None
        self._keys = (b"", b"")

    async def keys(
        self, digest: str, password: HiddenBytes, salt: bytes, iterations: int
    ) -> tuple[bytes, bytes]:
        """Return the client key and the server key."""
        what = (password, salt, iterations)
        if what != self._what:
            work = (digest, password, salt, iterations)
            if iterations < _MANY_ITERATIONS:
                salted = hashlib.pbkdf2_hmac(*work)
            else:
                salted = await asyncio.to_thread(hashlib.pbkdf2_hmac, *work)
            self._keys = tuple(  # type: ignore[assignment]
                HiddenBytes(hmac.digest(salted, text, digest))
                for text in (b"Client Key", b"Server Key")
            )
            self._what = what
        return self._keys


class Scram:
    """SCRAM as a client: proves that it knows the password, and has the broker prove it too."""

    def __init__(
        self,
        digest: str,
        username: str,
        password: HiddenBytes,
        keys: KeyCache | None = None,
        *,
        nonce: str | None = None,
    ) -> None:
        self.done = False
        self._digest = digest
        self._password = password
        self._keys = keys or KeyCache()
        self._nonce = nonce or secrets.token_urlsafe(24)
        name = username.replace("=", "=3D").replace(",", "=2C")
        self._bare = f"n={name},r={self._nonce}".encode()
        self._signature: bytes | None = None

    def first(self) -> bytes:
        return b"n,," + self._bare

    async def reply(self, challenge: bytes) -> bytes | None:
        if self._signature is not None:
            self._check(challenge)
            return None
        nonce, salt, iterations = self._read(challenge)
        client_key, server_key = await self._keys.keys(
            self._digest, self._password, salt, iterations
        )
        without_proof = b"c=biws,r=" + nonce
        spoken = b",".join((self._bare, challenge, without_proof))
        stored_key = hashlib.new(self._digest, client_key).digest()
        signature = hmac.digest(stored_key, spoken, self._digest)
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        self._signature = hmac.digest(server_key, spoken, self._digest)
        return without_proof + b",p=" + base64.b64encode(proof)

    def _read(self, challenge: bytes) -> tuple[bytes, bytes, int]:
        """Take server-first-message apart: nonce, salt, iteration count."""
        fields = challenge.split(b",")
        if len(fields) < 3 or [f[:2] for f in fields[:3]] != [b"r=", b"s=", b"i="]:
            raise Refused("the broker's first SCRAM message is not one")
        nonce, salt_text, count = (field[2:] for field in fields[:3])
        ours = self._nonce.encode()
        if not nonce.startswith(ours) or len(nonce) == len(ours):
            raise Refused("the broker's SCRAM nonce does not continue ours")
        salt = _base64(salt_text)
        if not salt:
            raise Refused("the broker's SCRAM salt is missing")
        known = count.isdigit() and len(count) <= len(str(MAX_ITERATIONS))
        if not known or not MIN_ITERATIONS <= int(count) <= MAX_ITERATIONS:
            raise Refused(
                f"the broker asks for {count[:20].decode('ascii', 'replace')} SCRAM iterations; "
                f"from {MIN_ITERATIONS:,} to {MAX_ITERATIONS:,} are taken"
            )
        return nonce, salt, int(count)

    def _check(self, challenge: bytes) -> None:
        """Have the broker prove that it knows the password, by server-final-message."""
        assert self._signature is not None
        first = challenge.split(b",")[0]
        if first.startswith(b"e="):
            raise Refused(f"the broker says {first[2:].decode('utf-8', 'replace')}")
        if not first.startswith(b"v="):
            raise Refused("the broker's last SCRAM message is not one")
        if not hmac.compare_digest(_base64(first[2:]), self._signature):
            raise Refused(
                "the broker's SCRAM signature is wrong: it does not know the password either, "
                "and may be somebody else"
            )
        self.done = True


def _base64(text: bytes) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


def saslprep(text: str) -> str | None:
    """Prepare a user name or password by RFC 4013; None if it has what that prohibits."""
    mapped = "".join(
        " " if stringprep.in_table_c12(char) else char
        for char in text
        if not stringprep.in_table_b1(char)
    )
    prepared = unicodedata.ucd_3_2_0.normalize("NFKC", mapped)
    if not prepared or any(bad(char) for char in prepared for bad in _PROHIBITED):
        return None
    if any(map(stringprep.in_table_d1, prepared)) and (
        any(map(stringprep.in_table_d2, prepared))
        or not stringprep.in_table_d1(prepared[0])
        or not stringprep.in_table_d1(prepared[-1])
    ):
        return None
    return prepared


_PROHIBITED = (
    stringprep.in_table_a1,
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)
