"""SASL PLAIN on the embedded broker, for tests of clients that log in."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import confluent_kafka
import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from faustc.broker.handlers.h36_sasl_authenticate import check_plain
from faustc.client.codes import (
    ILLEGAL_SASL_STATE,
    NONE,
    SASL_AUTHENTICATION_FAILED,
    UNSUPPORTED_SASL_MECHANISM,
)
from tests.broker.conftest import Embedded
from tests.broker.raw import Raw

USERS = {"ann": "sécret", "bob": ""}


@pytest.fixture(scope="module")
def guarded() -> Iterator[str]:
    broker = Embedded(sasl=USERS)
    yield broker.bootstrap
    broker.stop()


@pytest.fixture
def raw(guarded: str) -> Iterator[Raw]:
    with Raw(guarded) as connection:
        yield connection


def options(bootstrap: str, password: str) -> dict[str, str]:
    return {
        "bootstrap.servers": bootstrap,
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "ann",
        "sasl.password": password,
    }


def test_librdkafka_logs_in_and_produces(guarded: str, new_name: Callable[[str], str]) -> None:
    topic = new_name("sasl")
    admin = AdminClient(options(guarded, "sécret"))
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(20)
    producer = confluent_kafka.Producer(options(guarded, "sécret"))
    delivered: list[int] = []
    producer.produce(topic, b"x", on_delivery=lambda _, message: delivered.append(message.offset()))
    assert producer.flush(20) == 0
    assert delivered == [0]


def test_librdkafka_is_told_that_its_password_is_wrong(guarded: str) -> None:
    errors: list[confluent_kafka.KafkaError] = []
    admin = AdminClient({**options(guarded, "wrong"), "error_cb": errors.append})
    with pytest.raises(confluent_kafka.KafkaException):
        admin.list_topics(timeout=1)
    admin.poll(1)
    assert confluent_kafka.KafkaError._AUTHENTICATION in {error.code() for error in errors}


@pytest.mark.parametrize("version", range(3))
def test_every_version_logs_in_and_only_then_anything_is_answered(raw: Raw, version: int) -> None:
    raw.versions(36)  # ApiVersions may be asked before
    assert raw.ask("SaslHandshake", 1, mechanism="PLAIN").error_code == NONE
    told = raw.ask("SaslAuthenticate", version, auth_bytes="\0ann\0sécret".encode())
    assert told.error_code == NONE
    assert raw.ask("FindCoordinator", 3, key="g", key_type=0).error_code == NONE


def test_nothing_is_answered_before_the_login(raw: Raw) -> None:
    with pytest.raises(ConnectionError):
        raw.ask("FindCoordinator", 3, key="g", key_type=0)


def test_a_wrong_order_or_mechanism_or_password_is_told_by_name(raw: Raw) -> None:
    told = raw.ask("SaslHandshake", 1, mechanism="GSSAPI")
    assert (told.error_code, told.mechanisms) == (UNSUPPORTED_SASL_MECHANISM, ["PLAIN"])
    told = raw.ask("SaslAuthenticate", 2, auth_bytes="\0ann\0sécret".encode())
    assert told.error_code == ILLEGAL_SASL_STATE
    assert raw.ask("SaslHandshake", 1, mechanism="PLAIN").error_code == NONE
    told = raw.ask("SaslAuthenticate", 2, auth_bytes=b"\0ann\0wrong")
    assert told.error_code == SASL_AUTHENTICATION_FAILED
    with pytest.raises(ConnectionError):
        raw.ask("FindCoordinator", 3, key="g", key_type=0)


def test_a_broker_without_users_has_nobody_log_in(embedded: Embedded) -> None:
    with Raw(embedded.bootstrap) as raw:
        told = raw.ask("SaslHandshake", 1, mechanism="PLAIN")
        assert told.error_code == ILLEGAL_SASL_STATE


@pytest.mark.parametrize(
    ("token", "user"),
    [
        ("\0ann\0sécret", "ann"),
        ("ann\0ann\0sécret", "ann"),
        ("\0bob\0", "bob"),
        ("bob\0ann\0sécret", None),
        ("\0ann\0secret", None),
        ("\0ann\0", None),
        ("\0eve\0sécret", None),
        ("\0ann\0sécret\0", None),
        ("ann", None),
        ("", None),
    ],
)
def test_a_token_is_right_in_every_part_or_wrong(token: str, user: str | None) -> None:
    assert check_plain(token.encode(), USERS) == user


def test_a_token_that_is_no_text_is_wrong() -> None:
    assert check_plain(b"\0ann\0\xff", USERS) is None
