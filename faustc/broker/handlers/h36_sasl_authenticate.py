"""SaslAuthenticate (36), versions 0 to 2, PLAIN (RFC 4616) for tests.

Left out: every other mechanism, sessions that end, acting for another user, and any
limit on guesses: the broker listens on loopback only, and its passwords guard nothing.
"""

from __future__ import annotations

import hmac

from faustc.broker import wire
from faustc.broker.broker import Broker
from faustc.broker.wire import Answer, Api, Call
from faustc.client.codes import ILLEGAL_SASL_STATE, NONE, SASL_AUTHENTICATION_FAILED

API = Api("SaslAuthenticate", 36, 0, 2)


async def handle(broker: Broker, call: Call) -> Answer:
    """Log a user in on this connection."""
    state = call.session.state
    users = broker.options.sasl
    if users is None or state.pop("mechanism", None) is None:
        told = "SaslHandshake comes first"
        return wire.answer(call, error_code=ILLEGAL_SASL_STATE, error_message=told, auth_bytes=b"")
    user = check_plain(bytes(call.request.auth_bytes), users)
    if user is None:
        return wire.answer(
            call,
            error_code=SASL_AUTHENTICATION_FAILED,
            error_message="Authentication failed: Invalid username or password",
            auth_bytes=b"",
        )
    state["user"] = user
    return wire.answer(call, error_code=NONE, error_message=None, auth_bytes=b"")


def check_plain(token: bytes, users: dict[str, str]) -> str | None:
    """Return who logs in with this token, None if nobody does."""
    parts = token.split(b"\0")
    if len(parts) != 3:
        return None
    try:
        acts_for, user, password = (part.decode() for part in parts)
    except UnicodeDecodeError:
        return None
    known = users.get(user)
    if known is None or acts_for not in ("", user):
        return None
    return user if hmac.compare_digest(known.encode(), password.encode()) else None
