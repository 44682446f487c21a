"""URLs of brokers and drivers: what is taken, what it means, and that no password shows."""

import copy
import json
import pickle
from pathlib import Path

import pytest

from faustc.exceptions import ImproperlyConfigured
from faustc.urls import URL, BrokerURL, broker_url

LOCAL = (("localhost", 9092),)


@pytest.mark.parametrize(
    ("text", "scheme", "hosts"),
    [
        ("kafka://", "kafka", LOCAL),
        ("kafka:///", "kafka", LOCAL),
        ("aiokafka://localhost:9092", "aiokafka", LOCAL),
        ("kafka://h1:9092;h2", "kafka", (("h1", 9092), ("h2", 9092))),
        ("kafka://h1:1;h2:2;", "kafka", (("h1", 1), ("h2", 2))),
        ("kafka://h1,h2", "kafka", (("h1", 9092), ("h2", 9092))),
        ("kafka://h1;kafka://h2:3", "kafka", (("h1", 9092), ("h2", 3))),
        ("kafka://h1;h1:9092", "kafka", (("h1", 9092),)),
        ("h1:1;h2", "kafka", (("h1", 1), ("h2", 9092))),
        ("localhost", "kafka", LOCAL),
        ("kafka://:9093", "kafka", (("localhost", 9093),)),
        ("kafka://[::1]:99;[fe80::1]", "kafka", (("::1", 99), ("fe80::1", 9092))),
        ("embedded://", "embedded", ()),
        ("embedded:///srv/a@b;c", "embedded", ()),
        ("myproj.transport.Driver://h", "myproj.transport.Driver", (("h", 9092),)),
        ("myproj.transport:Driver://h", "myproj.transport:Driver", (("h", 9092),)),
    ],
)
def test_a_broker_url_is_a_scheme_and_hosts(text, scheme, hosts):
    url = broker_url(text)
    assert (url.scheme, url.hosts) == (scheme, hosts)
    assert url.driver_path == (scheme if "." in scheme else None)


@pytest.mark.parametrize(
    ("text", "folder"),
    [
        ("embedded://", ".faustc"),
        ("embedded:///srv/a@b;c", "/srv/a@b;c"),
        ("embedded:///srv/with%20space/", "/srv/with space"),
    ],
)
def test_an_embedded_url_names_a_folder(text, folder):
    url = broker_url(text)
    assert url.folder == Path(folder)
    assert (url.user, url.password) == (None, None)
    assert str(url) == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("kafka:", "did you mean 'kafka://'"),
        ("kafka://h:0", "1 to 65535"),
        ("kafka://h:65536", "1 to 65535"),
        ("kafka://h:x", "'x'"),
        ("kafka://h:", "''"),
        ("kafka://h/topic", "no path"),
        ("kafka://h?x=1", "no path"),
        ("kafka://a b", "not a host"),
        ("kafka://::1", "1 to 65535"),
        ("kafka://[::1", "not a host"),
        ("kafka://h1;aiokafka://h2", "two schemes"),
        ("kafka://u:a@h1;kafka://u:b@h2", "different credentials"),
        ("embedded://localhost:1", "has no host; name a folder"),
        ("embedded:///", "name a folder"),
        ("embedded://folder", "has no host; name a folder"),
        ("embedded:///a;embedded:///b", "one embedded broker"),
        ("embedded://;kafka://h", "two schemes"),
        ("a..b://h", "neither a scheme"),
        ([], "empty list"),
        (3, "not a broker URL"),
    ],
)
def test_what_is_no_broker_url_is_refused_and_why(text, reason):
    with pytest.raises(ImproperlyConfigured, match="(?i)" + reason.replace("?", r"\?")):
        broker_url(text)


def test_a_list_of_urls_is_one_url():
    url = broker_url(["kafka://h1:1", BrokerURL("kafka://h2"), "h3"])
    assert url.hosts == (("h1", 1), ("h2", 9092), ("h3", 9092))
    assert url.bootstrap_servers == ["h1:1", "h2:9092", "h3:9092"]
    assert broker_url(["kafka://h"]) == "kafka://h"
    assert broker_url(url) is url


def test_an_object_of_another_url_class_is_taken():
    class Other:
        scheme = "kafka"

        def __str__(self):
            return "kafka://h:1"

    assert broker_url(Other()).hosts == (("h", 1),)


def test_ipv6_hosts_are_bracketed_for_clients():
    assert broker_url("kafka://[::1]:1").bootstrap_servers == ["[::1]:1"]


def test_a_url_is_the_string_that_was_given():
    url = broker_url("kafka://h1;h2")
    assert url == "kafka://h1;h2"
    assert hash(url) == hash("kafka://h1;h2")
    assert url != "kafka://h1"
    assert isinstance(url, str)


@pytest.mark.parametrize(
    "text",
    ["kafka://me:s3cret@h1:1;h2", "kafka://me:s3cret@h1:1;kafka://me:s3cret@h2"],
)
def test_a_password_is_kept_and_never_shown(text):
    url = broker_url(text)
    assert (url.user, url.password) == ("me", "s3cret")
    assert url.hosts == (("h1", 1), ("h2", 9092))
    assert url.reveal() == text
    for shown in (str(url), repr(url), f"{url}", json.dumps([url]), url.upper()):
        assert "s3cret" not in shown.lower()
    assert "***" in url
    assert url != broker_url(text.replace("s3cret", "other"))


def test_a_password_is_percent_decoded_and_may_hold_any_character():
    assert broker_url("kafka://u:p%40ss@h").password == "p@ss"
    url = broker_url("kafka://u:p@s;s@h")
    assert (url.password, url.hosts) == ("p@s;s", (("h", 9092),))
    assert "s;s" not in str(url)


def test_an_error_shows_no_password():
    for text in ("kafka://u:s3cret@h:port", "http://u:s3cret@h", "u:s3cret@h:port"):
        with pytest.raises(ImproperlyConfigured) as caught:
            broker_url(text).check_scheme()
        assert "s3cret" not in str(caught.value)


def test_copies_keep_the_password():
    url = broker_url("kafka://u:s3cret@h:1")
    for same in (copy.deepcopy(url), pickle.loads(pickle.dumps(url))):
        assert (same, same.password, same.hosts) == (url, "s3cret", url.hosts)


@pytest.mark.parametrize("text", ["memory://", "rocksdb://", "redis://h:1/0", "a.b.Store://x"])
def test_a_driver_url_has_a_scheme(text):
    url = URL(text)
    assert url == text
    assert url.scheme == text.partition("://")[0]
    assert url.rest == text.partition("://")[2]


@pytest.mark.parametrize("text", ["memory", "memory:", "", "://x", "3x://y"])
def test_what_has_no_scheme_is_no_url(text):
    with pytest.raises(ImproperlyConfigured):
        URL(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [("kafak://h", "did you mean 'kafka'"), ("http://h", "unknown broker scheme")],
)
def test_a_scheme_that_names_no_driver_is_refused(text, reason):
    with pytest.raises(ImproperlyConfigured, match=reason):
        broker_url(text).check_scheme()


def test_urls_equal_what_faust_makes_of_them():
    yarl = pytest.importorskip("yarl")
    assert broker_url("kafka://a:1;kafka://b:2") == [
        yarl.URL("kafka://a:1"),
        yarl.URL("kafka://b:2"),
    ]
    assert broker_url("kafka://a:1") != [yarl.URL("kafka://b:1")]
    assert URL("rocksdb://") == yarl.URL("rocksdb://")
    assert URL("rocksdb://") != yarl.URL("memory://")
