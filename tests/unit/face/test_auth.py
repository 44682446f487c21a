"""Credentials by Faust's names, and what the client is given of them."""

from __future__ import annotations

import enum
import re
import ssl
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import faustc
from faustc.auth import client_options
from faustc.client.security import Security
from faustc.exceptions import ImproperlyConfigured
from faustc.urls import BrokerURL

SECRET = "s3cret-word"
PAGE = Path(__file__).parents[3] / "docs" / "security.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)


def conf(credentials: Any = None, broker: str = "kafka://h", context: Any = None) -> Any:
    return SimpleNamespace(
        broker_credentials=credentials, ssl_context=context, broker=BrokerURL(broker)
    )


def security(*args: Any, **kwargs: Any) -> Security:
    return Security.of("Client", client_options(conf(*args, **kwargs)))


def test_without_credentials_connections_are_in_the_clear():
    assert security() == Security()


def test_sasl_credentials_are_plain_unless_they_say_otherwise():
    context = ssl.create_default_context()
    given = faustc.SASLCredentials(username="ada", password=SECRET, ssl_context=context)

    made = security(given)

    assert (made.mechanism, made.username, made.ssl_context) == ("PLAIN", "ada", context)
    assert made.password.reveal() == SECRET


def test_a_mechanism_may_be_a_member_of_an_enumeration():
    class SASLMechanism(enum.Enum):
        SCRAM_SHA_512 = "SCRAM-SHA-512"

    given = faustc.SASLCredentials(
        username="ada", password=SECRET, mechanism=SASLMechanism.SCRAM_SHA_512
    )

    assert security(given).mechanism == "SCRAM-SHA-512"


def test_a_password_in_the_clear_needs_to_be_allowed_by_name():
    given = {"username": "ada", "password": SECRET}

    with pytest.raises(ImproperlyConfigured, match="allow_plaintext_password=True"):
        security(faustc.SASLCredentials(**given))
    with pytest.raises(ImproperlyConfigured, match="allow_plaintext_password=True"):
        security(broker=f"kafka://ada:{SECRET}@h")
    assert security(faustc.SASLCredentials(**given, allow_plaintext_password=True)).mechanism


def test_the_url_fills_what_credentials_leave_out():
    url = "kafka://ada:s%2Fecret@h1;h2"

    made = security(faustc.SASLCredentials(mechanism="SCRAM-SHA-256"), url)
    assert (made.username, made.password.reveal()) == ("ada", "s/ecret")
    other = security(
        faustc.SASLCredentials(mechanism="SCRAM-SHA-256", username="eve", password="x"), url
    )
    assert (other.username, other.password.reveal()) == ("eve", "x")


def test_a_user_in_the_url_logs_in_by_tls_too():
    context = ssl.create_default_context()

    for given in (
        {"credentials": context},
        {"credentials": faustc.SSLCredentials(context)},
        {"context": context},
    ):
        made = security(broker=f"kafka://ada:{SECRET}@h", **given)
        assert (made.mechanism, made.ssl_context) == ("PLAIN", context)


def test_a_user_without_a_password_is_refused_not_forgotten():
    with pytest.raises(ImproperlyConfigured, match="sasl_plain_password"):
        security(broker="kafka://ada@h", context=ssl.create_default_context())


def test_ssl_credentials_verify_chain_and_host_name():
    made = security(faustc.SSLCredentials()).ssl_context

    assert made is not None
    assert made.check_hostname
    assert made.verify_mode is ssl.CERT_REQUIRED
    with pytest.raises(ImproperlyConfigured, match="SERVER_AUTH"):
        security(faustc.SSLCredentials(purpose=ssl.Purpose.CLIENT_AUTH))


def test_tokens_are_handed_on_and_do_not_mix_with_a_user():
    def tokens() -> str:
        return "t"

    given = faustc.OAuthCredentials(tokens, ssl.create_default_context())

    assert security(given).token_provider is tokens
    assert security(faustc.OAuthCredentials(oauth_cb=tokens, ssl_context=given.ssl_context))
    with pytest.raises(ImproperlyConfigured, match="OAuthCredentials"):
        security(given, "kafka://ada:x@h")


def test_kerberos_is_refused_by_name():
    with pytest.raises(ImproperlyConfigured, match=r"GSSAPI \(Kerberos\) is not supported"):
        faustc.GSSAPICredentials(
            kerberos_service_name="faust", kerberos_domain_name="example.com", username="ada"
        )


def test_credentials_of_another_library_are_refused():
    class Stranger:
        ssl_context = None

    with pytest.raises(ImproperlyConfigured, match="a Stranger says nothing"):
        security(Stranger())


def test_an_app_shows_no_password_anywhere():
    given = faustc.SASLCredentials(username="ada", password=SECRET, mechanism="SCRAM-SHA-256")
    app = faustc.App("x", broker=f"kafka://ada:{SECRET}@h", broker_credentials=given)

    shown = [given, app, app.conf, app.conf.broker, app.transport, app.runner.engine.options]
    for thing in shown:
        assert SECRET not in f"{thing!r} {thing!s}"


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_examples_of_the_page_are_complete(example, monkeypatch):
    monkeypatch.setenv("KAFKA_PASSWORD", SECRET)
    names: dict[str, Any] = {}

    exec(compile(example, "docs/security.md", "exec"), names)

    if "app" in names:
        assert Security.of("Client", client_options(names["app"].conf)).mechanism
