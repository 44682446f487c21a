"""TLS and logins on a real Kafka: who is let in, who is not, and how fast that is said."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import (
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialDeletion,
    UserScramCredentialUpsertion,
)

import faustc
from faustc.client import Consumer, Producer
from faustc.client.admin import Admin, NewTopic
from faustc.exceptions import AuthenticationFailed, NoBrokersAvailable
from tests.certificates import Authority
from tests.conftest import run_cluster
from tests.kafka_cluster import KafkaCluster

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command"),
]

PASSWORD = "pencil-7f"
# Kafka's own tools keep a ligature, which RFC 4013 takes apart.
LIGATURE = "o\ufb03ce-7f"
MODULE = "org.apache.kafka.common.security"
LOGINS = {
    "plain": f'{MODULE}.plain.PlainLoginModule required user_ada="{PASSWORD}";',
    "scram-sha-256": f"{MODULE}.scram.ScramLoginModule required;",
    "scram-sha-512": f"{MODULE}.scram.ScramLoginModule required;",
    "oauthbearer": f"{MODULE}.oauthbearer.OAuthBearerLoginModule required;",
}
REAUTH_MS = 3000
LISTENERS = {
    "CLEAR": "SASL_PLAINTEXT",
    "BRIEF": "SASL_PLAINTEXT",  # logins are good for three seconds
    "BOTH": "SASL_SSL",
    "TLS": "SSL",
    "MUTUAL": "SSL",
    "STALE": "SSL",  # its certificate has expired
}
ADA = {"sasl_plain_username": "ada", "sasl_plain_password": PASSWORD}


class Secured:
    """A cluster with every kind of listener, and the authority that signed its certificates."""

    def __init__(self, cluster: KafkaCluster, authority: Authority, client: Path) -> None:
        self.cluster = cluster
        self.authority = authority
        self.client_certificate = client

    def trusting(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.authority.certificate))


def settings(folder: Path, authority: Authority) -> dict[str, str]:
    good = authority.issue("broker", "IP:127.0.0.1")
    stale = authority.issue("stale", "IP:127.0.0.1", days=0)
    made: dict[str, str] = {}
    for listener, protocol in LISTENERS.items():
        prefix = f"listener.name.{listener.lower()}"
        if protocol.startswith("SASL_"):
            made[f"{prefix}.sasl.enabled.mechanisms"] = ",".join(LOGINS).upper()
            for mechanism, jaas in LOGINS.items():
                made[f"{prefix}.{mechanism}.sasl.jaas.config"] = jaas
                if listener == "BRIEF":
                    made[f"{prefix}.{mechanism}.connections.max.reauth.ms"] = str(REAUTH_MS)
        if protocol.endswith("SSL"):
            made[f"{prefix}.ssl.keystore.type"] = "PEM"
            made[f"{prefix}.ssl.keystore.location"] = str(stale if listener == "STALE" else good)
        if listener == "MUTUAL":
            made[f"{prefix}.ssl.client.auth"] = "required"
            made[f"{prefix}.ssl.truststore.type"] = "PEM"
            made[f"{prefix}.ssl.truststore.location"] = str(authority.certificate)
    return made


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("certificates")
    authority = Authority(folder, "authority")
    client = authority.issue("client", "DNS:client")
    for cluster in run_cluster(settings=settings(folder, authority), listeners=LISTENERS):
        add_scram_users(cluster)
        yield Secured(cluster, authority, client)


def add_scram_users(cluster: KafkaCluster) -> None:
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
    for mechanism in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512):
        info = ScramCredentialInfo(mechanism, 8192)
        made = admin.alter_user_scram_credentials(
            [
                UserScramCredentialUpsertion(user, info, password.encode())
                for user, password in (("ada", PASSWORD), ("a=b,c", PASSWORD), ("li", LIGATURE))
            ]
        )
        for future in made.values():
            future.result(20)


def token(subject: str = "ada", lifetime_s: float = 3600) -> str:
    """Make a token without a signature, which Kafka takes unless it is told to check them."""
    now = time.time()
    parts = ({"alg": "none"}, {"sub": subject, "iat": now - 5, "exp": now + lifetime_s})
    texts = (base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in parts)
    return b".".join(texts).decode() + "."


async def good_token() -> tuple[str, float]:
    return token(), 3600


def ways(secured: Secured) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return listener and options of each way in."""
    context = secured.trusting()
    mutual = secured.trusting()
    mutual.load_cert_chain(secured.client_certificate)
    bearer = {"sasl_mechanism": "OAUTHBEARER", "sasl_oauth_token_provider": good_token}
    return {
        "TLS": ("TLS", {"security_protocol": "SSL", "ssl_context": context}),
        "mutual TLS": ("MUTUAL", {"ssl_context": mutual}),
        "PLAIN in the clear": (
            "CLEAR",
            {"security_protocol": "SASL_PLAINTEXT", **ADA, "allow_plaintext_password": True},
        ),
        "PLAIN": ("BOTH", {"security_protocol": "SASL_SSL", "ssl_context": context, **ADA}),
        "SCRAM-SHA-256": ("CLEAR", {**ADA, "sasl_mechanism": "SCRAM-SHA-256"}),
        "SCRAM-SHA-512": (
            "BOTH",
            {**ADA, "sasl_mechanism": "SCRAM-SHA-512", "ssl_context": context},
        ),
        "SCRAM, odd name": (
            "CLEAR",
            {**ADA, "sasl_mechanism": "SCRAM-SHA-512", "sasl_plain_username": "a=b,c"},
        ),
        "SCRAM, odd password": (
            "CLEAR",
            {
                "sasl_mechanism": "SCRAM-SHA-256",
                "sasl_plain_username": "li",
                "sasl_plain_password": LIGATURE,
            },
        ),
        "OAUTHBEARER": ("BOTH", {**bearer, "ssl_context": context}),
        "OAUTHBEARER in the clear": ("CLEAR", {**bearer, "allow_plaintext_password": True}),
    }


WAYS = [
    "TLS",
    "mutual TLS",
    "PLAIN in the clear",
    "PLAIN",
    "SCRAM-SHA-256",
    "SCRAM-SHA-512",
    "SCRAM, odd name",
    "SCRAM, odd password",
    "OAUTHBEARER",
    "OAUTHBEARER in the clear",
]


@pytest.mark.parametrize("way", WAYS)
async def test_a_group_reads_what_was_sent(secured, new_name, way):
    listener, options = ways(secured)[way]
    options["bootstrap_servers"] = secured.cluster.at(listener)
    topic = new_name()

    async with Admin(**options) as admin:
        await admin.create_topics([NewTopic(topic, 2)])
    async with Producer(**options) as producer:
        sent = [f"{i}".encode() for i in range(500)]
        for value in sent:
            await producer.send(topic, value, value)
        await producer.flush()
    consumer = Consumer(topic, group_id=new_name("g"), auto_offset_reset="earliest", **options)
    async with consumer, asyncio.timeout(20):
        got = [(await consumer.getone()).value for _ in sent]
        assert sorted(got) == sorted(sent)
        await consumer.commit()


async def refused(**options: Any) -> tuple[Exception, float]:
    """Start each of the three; return the last failure and the slowest start's seconds."""
    slowest = 0.0
    for face in (Producer, Consumer, Admin):
        began = time.monotonic()
        with pytest.raises(AuthenticationFailed) as failure:
            await face(**options).start()
        slowest = max(slowest, time.monotonic() - began)
    return failure.value, slowest


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
@pytest.mark.parametrize(
    "wrong",
    [{"sasl_plain_password": "wr0ng"}, {"sasl_plain_username": "eve"}],
    ids=["password", "user"],
)
async def test_wrong_credentials_are_said_at_once(secured, mechanism, wrong):
    options = {**ADA, "sasl_mechanism": mechanism, **wrong, "ssl_context": secured.trusting()}

    error, seconds = await refused(bootstrap_servers=secured.cluster.at("BOTH"), **options)

    assert seconds < 2
    assert secured.cluster.at("BOTH") in str(error)
    assert mechanism in str(error)
    assert "wr0ng" not in str(error)


async def test_a_token_that_has_expired_is_said_at_once(secured):
    error, seconds = await refused(
        bootstrap_servers=secured.cluster.at("BOTH"),
        sasl_mechanism="OAUTHBEARER",
        sasl_oauth_token_provider=lambda: token(lifetime_s=-4),
        ssl_context=secured.trusting(),
    )

    assert seconds < 2
    assert "OAUTHBEARER" in str(error)


async def test_a_mechanism_that_is_not_offered_is_said(secured):
    # The listener in the clear asks for no login at all.
    with pytest.raises(AuthenticationFailed, match="SCRAM-SHA-256"):
        await Producer(
            bootstrap_servers=secured.cluster.bootstrap, **ADA, sasl_mechanism="SCRAM-SHA-256"
        ).start()


async def test_a_broker_that_is_not_who_it_should_be_is_refused(secured, tmp_path):
    at = secured.cluster.at("TLS")
    stranger = Authority(tmp_path, "stranger")
    not_ours = ssl.create_default_context(cafile=str(stranger.certificate))
    trusted = secured.trusting()

    wrong_authority, first_s = await refused(bootstrap_servers=at, ssl_context=not_ours)
    by_the_system, second_s = await refused(bootstrap_servers=at, security_protocol="SSL")
    wrong_name, third_s = await refused(
        bootstrap_servers=at.replace("127.0.0.1", "localhost"), ssl_context=trusted
    )
    expired, fourth_s = await refused(
        bootstrap_servers=secured.cluster.at("STALE"), ssl_context=trusted
    )

    assert "self-signed certificate in certificate chain" in str(wrong_authority)
    assert "certificate" in str(by_the_system)
    assert "not valid for 'localhost'" in str(wrong_name)
    assert "expired" in str(expired)
    assert max(first_s, second_s, third_s, fourth_s) < 2


async def test_a_client_without_the_certificate_that_is_asked_for_is_told(secured):
    error, seconds = await refused(
        bootstrap_servers=secured.cluster.at("MUTUAL"), ssl_context=secured.trusting()
    )

    assert "our certificate" in str(error)
    assert seconds < 2


async def test_speaking_in_the_clear_to_a_tls_listener_is_no_success(secured):
    producer = Producer(bootstrap_servers=secured.cluster.at("TLS"))

    with pytest.raises(NoBrokersAvailable):
        await producer.start(2)


@pytest.mark.parametrize(
    "way",
    ["PLAIN in the clear", "SCRAM-SHA-256", "OAUTHBEARER in the clear", "tokens that expire"],
)
async def test_logins_are_renewed_while_a_group_reads_and_nothing_is_lost(
    secured, new_name, way, caplog
):
    if way == "tokens that expire":
        options = ways(secured)["OAUTHBEARER"][1]
        options["sasl_oauth_token_provider"] = lambda: token(lifetime_s=REAUTH_MS / 1000)
        options["bootstrap_servers"] = secured.cluster.at("BOTH")
    else:
        options = ways(secured)[way][1]
        options["bootstrap_servers"] = secured.cluster.at("BRIEF")
    topic = new_name()
    async with Admin(**options) as admin:
        await admin.create_topics([NewTopic(topic, 3)])
    sent: list[bytes] = []
    got: list[bytes] = []
    consumer = Consumer(
        topic,
        group_id=new_name("g"),
        auto_offset_reset="earliest",
        heartbeat_interval_ms=300,
        **options,
    )
    caplog.set_level("INFO")
    async with Producer(**options) as producer, consumer:
        end = time.monotonic() + 3.2 * REAUTH_MS / 1000
        commits_at = time.monotonic() + 0.5

        async def read(until: float | None = None) -> None:
            nonlocal commits_at
            for messages in (await consumer.getmany(timeout_ms=20)).values():
                got.extend(message.value for message in messages)
            if time.monotonic() > commits_at and got:
                await consumer.commit()
                commits_at = time.monotonic() + 0.5

        while time.monotonic() < end:
            values = [f"{len(sent) + i}".encode() for i in range(20)]
            for value in values:
                await producer.send(topic, value, key=value)
            sent += values
            await read()
        await producer.flush()
        async with asyncio.timeout(20):
            while len(got) < len(sent):
                await read()

    assert sorted(got) == sorted(sent)
    # Every connection was kept: renewed, not cut and made anew.
    assert "is gone" not in caplog.text
    assert "lost" not in caplog.text


# --- apps ---


def app_on(secured: Secured, listener: str, new_name: Any, **options: Any) -> faustc.App:
    at = secured.cluster.at(listener)
    options.setdefault("broker", f"kafka://{at}")
    return faustc.App(new_name("app"), topic_partitions=1, topic_replication_factor=1, **options)


@pytest.mark.parametrize("how", ["SASL", "URL", "URL and TLS", "TLS", "context", "tokens"])
async def test_an_app_works_with_its_credentials(secured, new_name, how, tmp_path):
    context = secured.trusting()
    clear = secured.cluster.at("CLEAR")
    both = secured.cluster.at("BOTH")
    listener, options = {
        "SASL": (
            "BOTH",
            {
                "broker_credentials": faustc.SASLCredentials(
                    username="ada",
                    password=PASSWORD,
                    mechanism="SCRAM-SHA-256",
                    ssl_context=context,
                )
            },
        ),
        "URL": (
            "CLEAR",
            {
                "broker": f"kafka://ada:{PASSWORD}@{clear}",
                "broker_credentials": faustc.SASLCredentials(mechanism="SCRAM-SHA-512"),
            },
        ),
        "URL and TLS": (
            "BOTH",
            {"broker": f"kafka://ada:{PASSWORD}@{both}", "ssl_context": context},
        ),
        "TLS": (
            "TLS",
            {
                "broker_credentials": faustc.SSLCredentials(
                    cafile=str(secured.authority.certificate)
                )
            },
        ),
        "context": ("TLS", {"broker_credentials": context}),
        "tokens": ("BOTH", {"broker_credentials": faustc.OAuthCredentials(good_token, context)}),
    }[how]
    app = app_on(secured, listener, new_name, datadir=tmp_path, **options)
    topic = app.topic(new_name(), value_type=str, value_serializer="raw")
    seen: list[Any] = []
    done = asyncio.Event()

    @app.agent(topic)
    async def read(stream: Any) -> None:
        async for value in stream:
            seen.append(value)
            if len(seen) == 3:
                done.set()

    async with app, asyncio.timeout(30):
        for value in (b"a", b"b", b"c"):
            await topic.send(value=value)
        await done.wait()

    assert len(seen) == 3
    assert PASSWORD not in f"{app!r} {app.conf!r} {app.transport!r}"


async def test_an_app_with_a_wrong_password_says_so_at_once(secured, new_name, tmp_path):
    at = secured.cluster.at("CLEAR")
    app = app_on(
        secured,
        "CLEAR",
        new_name,
        datadir=tmp_path,
        broker=f"kafka://ada:wr0ng@{at}",
        broker_credentials=faustc.SASLCredentials(mechanism="SCRAM-SHA-256"),
    )
    began = time.monotonic()

    with pytest.raises(AuthenticationFailed, match="SCRAM-SHA-256") as failed:
        await app.start()
    await app.stop()

    assert time.monotonic() - began < 20
    assert "wr0ng" not in str(failed.value)


# --- what changes while it runs ---


async def test_tokens_are_asked_for_on_the_users_loop_even_for_the_group(secured, new_name):
    loops = []

    async def provider() -> str:
        loops.append(asyncio.get_running_loop())
        return token()

    consumer = Consumer(
        new_name(),
        group_id=new_name("g"),
        bootstrap_servers=secured.cluster.at("BOTH"),
        ssl_context=secured.trusting(),
        sasl_mechanism="OAUTHBEARER",
        sasl_oauth_token_provider=provider,
    )
    async with consumer, asyncio.timeout(20):
        while not consumer.assignment():
            await consumer.getmany(timeout_ms=50)

    assert len(loops) >= 3  # the client, the group's client, the group's coordinator
    assert set(loops) == {asyncio.get_running_loop()}


@pytest.mark.parametrize("group", [True, False], ids=["group", "alone"])
async def test_a_consumer_whose_user_is_removed_says_so_instead_of_going_silent(
    secured, new_name, group
):
    user, topic = new_name("user"), new_name()
    admin = AdminClient({"bootstrap.servers": secured.cluster.bootstrap})
    info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4096)
    made = admin.alter_user_scram_credentials(
        [UserScramCredentialUpsertion(user, info, PASSWORD.encode())]
    )
    await asyncio.to_thread(made[user].result, 20)
    options = {
        **ADA,
        "sasl_plain_username": user,
        "sasl_mechanism": "SCRAM-SHA-256",
        "bootstrap_servers": secured.cluster.at("BRIEF"),
    }
    async with Producer(bootstrap_servers=secured.cluster.bootstrap) as producer:
        await (await producer.send(topic, b"before"))
    consumer = Consumer(
        topic,
        group_id=new_name("g") if group else None,
        auto_offset_reset="earliest",
        heartbeat_interval_ms=300,
        **options,
    )
    await consumer.start()
    try:
        async with asyncio.timeout(20):
            assert (await consumer.getone()).value == b"before"
        gone = admin.alter_user_scram_credentials(
            [UserScramCredentialDeletion(user, ScramMechanism.SCRAM_SHA_256)]
        )
        await asyncio.to_thread(gone[user].result, 20)

        with pytest.raises(AuthenticationFailed, match="SCRAM-SHA-256"):
            async with asyncio.timeout(3 * REAUTH_MS / 1000):
                await consumer.getone()
    finally:
        await consumer.stop()
