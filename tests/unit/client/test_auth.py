"""Logging in: the mechanisms by their RFCs, and servers that are not what they say."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import logging
import ssl
import traceback
from typing import Any

import pytest

from faustc.client import Consumer, Producer, renewal
from faustc.client.admin import Admin
from faustc.client.auth import Login, Refused, Scram, saslprep
from faustc.client.client import Client
from faustc.client.connection import BrokerConnection
from faustc.client.security import HiddenBytes, Security
from faustc.exceptions import AuthenticationFailed, ConnectionLost, ImproperlyConfigured
from tests.unit.client.wire_server import Request, WireServer

PASSWORD = "open-sesame-42"
HEARTBEAT = {"group_id": "g", "generation_id": 1, "member_id": "m"}
ADA = {"sasl_plain_username": "ada", "sasl_plain_password": PASSWORD}
PLAIN = {**ADA, "sasl_mechanism": "PLAIN", "allow_plaintext_password": True}
SCRAM_256 = {**ADA, "sasl_mechanism": "SCRAM-SHA-256"}

# --- SCRAM by the examples of its RFCs ---

RFC_7677 = (
    "sha256",
    "rOprNGfwEbeRWgbNEkqO",
    b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
    b"dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
    b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
)
RFC_5802 = (
    "sha1",
    "fyko+d2lbbFgONRv9qkxdawL",
    b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
    b"v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
    b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
)
FIRST = RFC_7677[2]
LAST = RFC_7677[4]


def rfc_client(vector: Any = RFC_7677) -> Scram:
    return Scram(vector[0], "user", HiddenBytes(b"pencil"), nonce=vector[1])


@pytest.mark.parametrize("vector", [RFC_7677, RFC_5802], ids=["RFC 7677", "RFC 5802"])
async def test_scram_speaks_as_in_the_rfc(vector):
    _, nonce, challenge, proof, signature = vector
    client = rfc_client(vector)

    assert client.first() == f"n,,n=user,r={nonce}".encode()
    both_nonces = challenge.split(b",")[0]
    assert await client.reply(challenge) == b"c=biws," + both_nonces + b",p=" + proof
    assert not client.done
    assert await client.reply(signature) is None
    assert client.done


def test_scram_escapes_the_name_and_never_repeats_a_nonce():
    one = Scram("sha256", "a=b,c", HiddenBytes(b"x"))
    other = Scram("sha256", "a=b,c", HiddenBytes(b"x"))

    assert one.first().startswith(b"n,,n=a=3Db=2Cc,r=")
    assert one.first() != other.first()


@pytest.mark.parametrize(
    ("challenge", "reason"),
    [
        (FIRST.replace(b"r=rOpr", b"r=xOpr"), "nonce"),
        (b"r=rOprNGfwEbeRWgbNEkqO,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", "nonce"),
        (b"r=,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", "nonce"),
        (FIRST.replace(b"i=4096", b"i=4095"), "4095 SCRAM iterations"),
        (FIRST.replace(b"i=4096", b"i=1"), "iterations"),
        (FIRST.replace(b"i=4096", b"i=1000001"), "iterations"),
        (FIRST.replace(b"i=4096", b"i=" + b"9" * 5000), "iterations"),
        (FIRST.replace(b"i=4096", b"i=0000005000"), "iterations"),
        (FIRST.replace(b"i=4096", b"i=-4096"), "iterations"),
        (FIRST.replace(b"i=4096", b"i="), "iterations"),
        (FIRST.replace(b"s=W22ZaJ0SNY7soEsUEjb6gQ==", b"s="), "salt"),
        (FIRST.replace(b"s=W22ZaJ0SNY7soEsUEjb6gQ==", b"s=!!!"), "salt"),
        (b"m=must-understand," + FIRST, "first SCRAM message"),
        (b"e=other-error", "first SCRAM message"),
        (LAST, "first SCRAM message"),
        (b"", "first SCRAM message"),
        (bytes(range(256)), "first SCRAM message"),
    ],
)
async def test_a_first_message_that_is_not_one_is_refused(challenge, reason):
    client = rfc_client()
    client.first()

    with pytest.raises(Refused, match=reason):
        await client.reply(challenge)
    assert not client.done


@pytest.mark.parametrize("cut", range(0, len(FIRST) - len("4096"), 7))
async def test_a_first_message_that_is_cut_short_is_refused(cut):
    with pytest.raises(Refused):
        await rfc_client().reply(FIRST[:cut])


@pytest.mark.parametrize(
    ("final", "reason"),
    [
        (b"v=" + base64.b64encode(bytes(32)), "signature is wrong"),
        (LAST[:-4], "signature is wrong"),
        (b"v=", "signature is wrong"),
        (b"v=\xff\xff", "signature is wrong"),
        (b"", "last SCRAM message"),
        (b"e=invalid-proof", "invalid-proof"),
        (FIRST, "last SCRAM message"),
    ],
)
async def test_a_server_that_does_not_prove_itself_is_refused(final, reason):
    client = rfc_client()
    await client.reply(FIRST)

    with pytest.raises(Refused, match=reason):
        await client.reply(final)
    assert not client.done


async def test_the_most_iterations_that_are_taken_do_not_block_the_loop():
    client = rfc_client()
    turns = 0

    async def watch() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.001)
            turns += 1

    watching = asyncio.create_task(watch())
    assert await client.reply(FIRST.replace(b"i=4096", b"i=1000000"))
    watching.cancel()
    assert turns > 5, "a blocked loop has none, however slow the machine"


@pytest.mark.parametrize(
    ("text", "prepared"),
    [
        # RFC 4013, section 3
        ("I\u00adX", "IX"),
        ("user", "user"),
        ("USER", "USER"),
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        ("\u0007", None),
        ("\u0627\u0031", None),
        # and the rest of section 2
        ("a\u00a0b", "a b"),
        ("\u0627\u0628", "\u0627\u0628"),
        ("\u0627a\u0628", None),
        ("\ue000", None),
        ("\u0221", None),
        ("", None),
    ],
)
def test_saslprep_prepares_as_rfc_4013_says(text, prepared):
    assert saslprep(text) == prepared


# --- over a socket ---


class Doorkeeper:
    """The broker's side of SASL for one connection, as strict as Kafka's."""

    def __init__(self, server: WireServer, *, lifetime_ms: int = 0) -> None:
        self.server = server
        self.lifetime_ms = lifetime_ms
        self.mechanism = "SCRAM-SHA-256"
        self.logins = 0
        self.messages: list[bytes] = []
        self.good_until: float | None = None
        self.busy = False
        server.answers["SaslHandshake"] = self.handshake
        server.answers["SaslAuthenticate"] = self.authenticate
        server.answers["Heartbeat"] = self.heartbeat

    def handshake(self, request: Request) -> Any:
        self.busy = True
        self.messages = []
        known = request.fields.mechanism == self.mechanism
        return {"error_code": 0 if known else 33, "mechanisms": [self.mechanism]}

    def authenticate(self, request: Request) -> Any:
        message = bytes(request.fields.auth_bytes)
        self.messages.append(message)
        answer = self.answer(message)
        if "session_lifetime_ms" in answer:
            self.busy = False
            self.logins += 1
            self.good_until = asyncio.get_running_loop().time() + self.lifetime_ms / 1000
        return answer

    def answer(self, message: bytes) -> dict[str, Any]:
        if len(self.messages) == 1:
            self.first = message.removeprefix(b"n,,")
            nonce = self.first.split(b"r=")[1] + b"server"
            salt = base64.b64encode(b"some salt")
            self.challenge = b"r=" + nonce + b",s=" + salt + b",i=4096"
            return {"auth_bytes": self.challenge}
        without_proof, proof = message.rsplit(b",p=", 1)
        spoken = self.first + b"," + self.challenge + b"," + without_proof
        salted = hashlib.pbkdf2_hmac("sha256", PASSWORD.encode(), b"some salt", 4096)
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        signature = hmac.digest(hashlib.sha256(client_key).digest(), spoken, "sha256")
        expected = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        if base64.b64decode(proof) != expected:
            return {"error_code": 58, "error_message": "invalid credentials"}
        server_key = hmac.digest(salted, b"Server Key", "sha256")
        final = base64.b64encode(hmac.digest(server_key, spoken, "sha256"))
        return self.let_in(b"v=" + final)

    def let_in(self, last: bytes = b"") -> dict[str, Any]:
        return {"auth_bytes": last, "session_lifetime_ms": self.lifetime_ms}

    def heartbeat(self, request: Request) -> Any:
        now = asyncio.get_running_loop().time()
        if self.busy or self.good_until is None:
            return ConnectionError
        if self.lifetime_ms and now > self.good_until:
            return ConnectionError
        return {"error_code": 0}


class PlainKeeper(Doorkeeper):
    """Lets in who says the password."""

    mechanism_name = "PLAIN"

    def __init__(self, server: WireServer, *, lifetime_ms: int = 0) -> None:
        super().__init__(server, lifetime_ms=lifetime_ms)
        self.mechanism = self.mechanism_name
        self.password = PASSWORD

    def answer(self, message: bytes) -> dict[str, Any]:
        if message == b"\0ada\0" + self.password.encode():
            return self.let_in()
        return {"error_code": 58, "error_message": f"no such user or password: {message!r}"}


class TokenKeeper(PlainKeeper):
    """Lets in who has the token; tells the others why, and then no (RFC 7628)."""

    mechanism_name = "OAUTHBEARER"

    def answer(self, message: bytes) -> dict[str, Any]:
        if message == b"\x01":
            return {"error_code": 58, "error_message": "go away"}
        if b"auth=Bearer good-token\x01" in message:
            return self.let_in()
        return {"auth_bytes": b'{"status":"invalid_token"}'}


def connection_to(server: WireServer, options: dict[str, Any]) -> BrokerConnection:
    login = Login(Security.of("Client", options))
    return BrokerConnection("127.0.0.1", server.port, login=login, request_timeout_s=5.0)


async def test_scram_lets_in_and_nothing_else_is_asked_before():
    async with WireServer() as server:
        keeper = Doorkeeper(server)
        connection = connection_to(server, SCRAM_256)
        await connection.open(5)

        assert (await connection.request("Heartbeat", **HEARTBEAT)).error_code == 0
        names = [request.name for request in server.requests]
        assert names == [
            *("ApiVersions", "SaslHandshake", "SaslAuthenticate", "SaslAuthenticate"),
            "Heartbeat",
        ]
        assert keeper.logins == 1
        assert not any(PASSWORD.encode() in request.frame for request in server.requests)
        connection.close()


@pytest.mark.parametrize("keeper", [Doorkeeper, PlainKeeper])
async def test_a_wrong_password_ends_start_at_once_and_is_told_to_nobody(keeper, caplog):
    caplog.set_level(logging.DEBUG)
    wrong = "wr0ng-secret"
    async with WireServer() as server:
        keeper(server)
        options = {**(SCRAM_256 if keeper is Doorkeeper else PLAIN), "sasl_plain_password": wrong}
        client = Client(f"127.0.0.1:{server.port}", **options)
        began = asyncio.get_running_loop().time()

        with pytest.raises(AuthenticationFailed) as failed:
            await client.start(30)

        assert asyncio.get_running_loop().time() - began < 2
        assert len(server.seen("SaslHandshake")) == 1
        error = failed.value
        assert error.broker == f"127.0.0.1:{server.port}"
        assert error.mechanism in str(error)
        assert not error.retriable
        shown = traceback.TracebackException.from_exception(error, capture_locals=True)
        ours = [
            f"{frame.filename} {frame.locals}"
            for frame in shown.stack
            if "/faustc/" in frame.filename
        ]
        assert ours
        for text in (str(error), repr(error), repr(client), caplog.text, *ours):
            assert wrong not in text


async def test_a_mechanism_the_broker_lacks_is_named_beside_those_it_has():
    async with WireServer() as server:
        PlainKeeper(server)
        client = Client(f"127.0.0.1:{server.port}", **SCRAM_256)

        with pytest.raises(AuthenticationFailed, match=r"SCRAM-SHA-256 .* it offers PLAIN"):
            await client.start(30)


class Impostor(Doorkeeper):
    """Says yes without knowing the password."""

    def answer(self, message: bytes) -> dict[str, Any]:
        answer = super().answer(message)
        if len(self.messages) == 1:
            return answer
        return self.let_in(b"v=" + base64.b64encode(bytes(32)))


class Shortcut(Doorkeeper):
    """Says yes at once."""

    def answer(self, message: bytes) -> dict[str, Any]:
        return self.let_in()


@pytest.mark.parametrize("keeper", [Impostor, Shortcut])
async def test_a_server_that_lets_in_without_proof_is_refused(keeper):
    async with WireServer() as server:
        keeper(server)
        connection = connection_to(server, SCRAM_256)

        with pytest.raises(AuthenticationFailed, match="SCRAM"):
            await connection.open(5)

        assert connection.closed


async def test_a_password_that_saslprep_changes_is_tried_both_ways():
    async with WireServer() as server:
        Doorkeeper(server)
        # A soft hyphen: Kafka's tools keep it, RFC 5802 wants it gone.
        options = {**SCRAM_256, "sasl_plain_password": PASSWORD + "\u00ad"}
        client = Client(f"127.0.0.1:{server.port}", **options)

        await client.start(5)
        await client.close()

        assert len(server.seen("SaslHandshake")) == 2


# --- tokens ---


class Tokens:
    """An object as aiokafka wants it."""

    def __init__(self) -> None:
        self.asked = 0

    async def token(self) -> str:
        self.asked += 1
        return "good-token"

    def extensions(self) -> dict[str, str]:
        return {"logicalCluster": "lkc-1"}


def bearer(provider: Any) -> dict[str, Any]:
    return {
        "sasl_mechanism": "OAUTHBEARER",
        "sasl_oauth_token_provider": provider,
        "allow_plaintext_password": True,
    }


async def coroutine_token() -> str:
    return "good-token"


@pytest.mark.parametrize(
    "provider",
    [coroutine_token, lambda: "good-token", lambda: coroutine_token(), lambda: ("good-token", 60)],
    ids=["coroutine function", "function", "function of an awaitable", "with lifetime"],
)
async def test_a_token_lets_in_however_it_is_provided(provider):
    async with WireServer() as server:
        keeper = TokenKeeper(server)
        connection = connection_to(server, bearer(provider))
        await connection.open(5)

        assert keeper.messages == [b"n,,\x01auth=Bearer good-token\x01\x01"]
        connection.close()


async def test_a_provider_as_aiokafka_has_it_may_have_extensions():
    async with WireServer() as server:
        keeper = TokenKeeper(server)
        connection = connection_to(server, bearer(Tokens()))
        await connection.open(5)

        assert keeper.messages == [b"n,,\x01auth=Bearer good-token\x01logicalCluster=lkc-1\x01\x01"]
        connection.close()


@pytest.mark.parametrize(("lifetime_s", "most"), [(None, 2), (60.0, 1)])
async def test_a_token_is_fetched_anew_unless_its_lifetime_is_known(lifetime_s, most):
    calls = 0

    def counted() -> Any:
        nonlocal calls
        calls += 1
        return ("good-token", lifetime_s)

    async with WireServer() as server:
        TokenKeeper(server)
        login = Login(Security.of("Client", bearer(counted)))
        for expected in (1, 2):
            connection = BrokerConnection("127.0.0.1", server.port, login=login)
            await connection.open(5)
            connection.close()
            assert calls == min(expected, most)


async def test_a_token_that_is_refused_says_what_the_broker_said():
    async with WireServer() as server:
        TokenKeeper(server)
        connection = connection_to(server, bearer(lambda: "bad-token"))

        with pytest.raises(AuthenticationFailed, match=r"OAUTHBEARER .* go away") as failed:
            await connection.open(5)
        assert "bad-token" not in str(failed.value)


@pytest.mark.parametrize("bad", [None, "", 7, "two words", "line\nbreak", "a\x01auth=Bearer b"])
async def test_what_is_no_token_is_refused_before_it_is_sent(bad):
    async with WireServer() as server:
        TokenKeeper(server)
        connection = connection_to(server, bearer(lambda: bad))

        with pytest.raises(AuthenticationFailed, match="did not return a token"):
            await connection.open(5)
        assert not server.seen("SaslHandshake")


async def test_a_provider_that_fails_may_be_better_the_next_time():
    failures = [OSError("the token server is away: key=abc"), OSError("still")]

    def provider() -> str:
        if failures:
            raise failures.pop()
        return "good-token"

    async with WireServer() as server:
        TokenKeeper(server)
        client = Client(f"127.0.0.1:{server.port}", **bearer(provider))
        await client.start(5)
        await client.close()
        assert not failures


# --- logging in again ---


@pytest.fixture
def soon(monkeypatch):
    """Let logins be renewed as often as their lifetime asks for."""
    monkeypatch.setattr(renewal, "MIN_INTERVAL_S", 0.0)


@pytest.mark.parametrize(
    ("keeper", "options"),
    [(Doorkeeper, SCRAM_256), (PlainKeeper, PLAIN), (TokenKeeper, bearer(coroutine_token))],
)
async def test_logins_are_renewed_between_requests_and_none_is_lost(
    keeper, options, soon, monkeypatch
):
    # Early in their life: what is left of it must do on a machine that stalls for a second.
    monkeypatch.setattr(renewal, "SHARE", (0.25, 0.35))
    async with WireServer() as server:
        door = keeper(server, lifetime_ms=2000)
        connection = connection_to(server, options)
        await connection.open(5)
        loop = asyncio.get_running_loop()
        end = loop.time() + 2.5
        answered = 0

        async def ask() -> None:
            nonlocal answered
            while loop.time() < end:
                assert (await connection.request("Heartbeat", **HEARTBEAT)).error_code == 0
                answered += 1

        await asyncio.gather(*(ask() for _ in range(10)))

        assert door.logins >= 3
        assert len(server.seen("Heartbeat")) == answered
        assert server.opened == 1
        connection.close()
        await connection.wait_closed()


async def test_what_is_sent_after_a_login_ended_waits_for_the_next(soon):
    async with WireServer() as server:
        door = Doorkeeper(server, lifetime_ms=100)
        connection = connection_to(server, SCRAM_256)
        await connection.open(5)
        await asyncio.sleep(0.2)
        assert door.logins == 1  # nobody asked for anything

        answers = await asyncio.gather(
            *(connection.request("Heartbeat", **HEARTBEAT) for _ in range(3))
        )

        assert [answer.error_code for answer in answers] == [0, 0, 0]
        assert door.logins == 2
        connection.close()


async def test_a_renewal_goes_before_what_a_quota_holds_back(soon):
    async with WireServer() as server:
        door = Doorkeeper(server, lifetime_ms=200)
        connection = connection_to(server, SCRAM_256)
        await connection.open(5)
        await asyncio.sleep(0.1)
        connection.throttle(300)
        held = [asyncio.ensure_future(connection.request("Heartbeat", **HEARTBEAT))]
        await asyncio.sleep(0.15)
        held.append(asyncio.ensure_future(connection.request("Heartbeat", **HEARTBEAT)))

        assert [(await answer).error_code for answer in held] == [0, 0]
        assert door.logins == 2
        connection.close()


async def test_credentials_that_changed_close_the_connection_with_that_reason(soon):
    async with WireServer() as server:
        door = PlainKeeper(server, lifetime_ms=100)
        connection = connection_to(server, PLAIN)
        await connection.open(5)
        door.password = "changed"
        await asyncio.sleep(0.15)

        with pytest.raises(ConnectionLost) as lost:
            await connection.request("Heartbeat", **HEARTBEAT)

        assert isinstance(lost.value.__cause__, AuthenticationFailed)
        assert connection.closed
        await connection.wait_closed()


async def test_a_token_server_that_is_away_is_asked_again_while_the_login_lasts(soon):
    away = False

    async def provider() -> str:
        if away:
            raise OSError("away")
        return "good-token"

    async with WireServer() as server:
        door = TokenKeeper(server, lifetime_ms=4000)
        connection = connection_to(server, bearer(provider))
        await connection.open(5)
        away = True
        await asyncio.sleep(3.81)  # due at the latest
        assert (await connection.request("Heartbeat", **HEARTBEAT)).error_code == 0
        await asyncio.sleep(0.02)
        away = False
        await asyncio.sleep(0.1)
        assert (await connection.request("Heartbeat", **HEARTBEAT)).error_code == 0
        await asyncio.sleep(0.05)

        assert door.logins == 2
        assert not connection.closed
        connection.close()


# --- options ---


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"security_protocol": "TLS"}, "security_protocol is 'TLS'; known are PLAINTEXT"),
        ({"security_protocol": "PLAINTEXT", "ssl_context": True}, "does not encrypt"),
        ({"security_protocol": "SASL_PLAINTEXT", **ADA, "ssl_context": True}, "does not encrypt"),
        ({"security_protocol": "PLAINTEXT", **ADA}, "does not log in"),
        ({"security_protocol": "SSL", **ADA}, "does not log in"),
        ({"ssl_context": "yes"}, "must be an ssl.SSLContext, not str"),
        (ADA, "would send the password readable"),
        ({**ADA, "sasl_mechanism": "PLAIN"}, "allow_plaintext_password"),
        ({**bearer(coroutine_token), "allow_plaintext_password": False}, "the token readable"),
        ({**ADA, "sasl_mechanism": "GSSAPI"}, "Kerberos.* not supported"),
        ({**ADA, "sasl_mechanism": "SCRAM-SHA-1"}, "known are PLAIN, SCRAM-SHA-256"),
        ({**SCRAM_256, "sasl_plain_username": None}, "needs sasl_plain_username"),
        ({**SCRAM_256, "sasl_plain_password": ""}, "needs sasl_plain_password"),
        ({**PLAIN, "sasl_plain_password": "a\0b"}, "needs sasl_plain_password"),
        (bearer(None), "needs sasl_oauth_token_provider"),
        (bearer("token"), "needs sasl_oauth_token_provider"),
        ({**SCRAM_256, "sasl_oauth_token_provider": coroutine_token}, "is for OAUTHBEARER"),
    ],
)
@pytest.mark.parametrize("face", [Client, Consumer, Producer, Admin])
async def test_options_that_cannot_work_are_refused_at_once(face, options, reason):
    with pytest.raises(ImproperlyConfigured, match=reason) as refused:
        face(bootstrap_servers="localhost:9", **options)
    assert PASSWORD not in str(refused.value)


@pytest.mark.parametrize("face", [Client, Consumer, Producer, Admin])
async def test_a_misspelt_option_is_named(face):
    with pytest.raises(TypeError, match=rf"{face.__name__}\(\) got an .* 'sasl_pasword'"):
        face(bootstrap_servers="localhost:9", sasl_pasword="x")


async def test_a_context_for_servers_is_refused():
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)

    with pytest.raises(ImproperlyConfigured, match="SERVER_AUTH"):
        Producer(ssl_context=context)


def test_the_protocol_follows_from_the_rest():
    context = ssl.create_default_context()

    assert Security.of("Client", {}) == Security()
    assert Security.of("Client", {"ssl_context": context}).ssl_context is context
    assert Security.of("Client", SCRAM_256).ssl_context is None
    both = Security.of("Client", {**ADA, "ssl_context": context})
    assert (both.mechanism, both.ssl_context) == ("PLAIN", context)
    default = Security.of("Client", {"security_protocol": "SSL"}).ssl_context
    assert default is not None
    assert default.check_hostname
    assert default.verify_mode is ssl.CERT_REQUIRED


def test_nothing_shows_the_password():
    security = Security.of("Client", PLAIN)

    for text in (repr(security), str(security), repr(Login(security)), f"{security.password}"):
        assert PASSWORD not in text
