"""Settings from the environment: variables, the prefix, and what goes before what."""

from pathlib import Path

import pytest

from faustc.exceptions import ImproperlyConfigured
from faustc.settings import Settings


def conf(id="example", **options):
    options.setdefault("env", {})
    return Settings(id, **options)


def test_the_environment_sets_what_no_keyword_does():
    env = {
        "BROKER_URL": "kafka://env:1",
        "APP_VERSION": "3",
        "APP_DEBUG": "yes",
        "PRODUCER_ACKS": "all",
        "BROKER_COMMIT_INTERVAL": "0.5",
        "TOPIC_PARTITIONS": "",
    }
    settings = conf(env=env, version=2)
    assert settings.broker == "kafka://env:1"
    assert settings.version == 2
    assert settings.debug is True
    assert settings.producer_acks == -1
    assert settings.commit_interval == 0.5
    assert settings.default_partitions == 8
    assert settings.is_set("debug")


def test_a_keyword_by_another_name_goes_before_the_environment():
    settings = conf(env={"BROKER_COMMIT_INTERVAL": "9"}, broker_commit_interval=1)
    assert settings.commit_interval == 1


def test_a_bad_variable_is_named():
    with pytest.raises(ImproperlyConfigured, match=r"web_port \(from \$WEB_PORT\)"):
        conf(env={"WEB_PORT": "http"})


@pytest.mark.parametrize("prefix", ["SHOP_", "SHOP"])
def test_a_prefix_applies_to_every_variable(prefix):
    env = {"BROKER_URL": "kafka://plain", "SHOP_BROKER_URL": "kafka://shop"}
    assert conf(env=env).broker == "kafka://plain"
    assert conf(env=env, env_prefix=prefix).broker == "kafka://shop"
    by_variable = conf(env={**env, "APP_ENV_PREFIX": prefix})
    assert by_variable.broker == "kafka://shop"
    assert by_variable.env_prefix == prefix


@pytest.mark.parametrize("start", ["FAUST_", "F_", "FAUST_F_"])
def test_variables_of_the_whole_process_come_last(start):
    env = {f"{start}WEB_BIND": "1.1.1.1", f"{start}DATADIR": "/d"}
    assert conf(env=env).web_bind == "1.1.1.1"
    assert conf(env=env).datadir == Path("/d")
    assert conf(env={**env, "WEB_BIND": "2.2.2.2"}).web_bind == "2.2.2.2"
    assert conf(env=env, env_prefix="X").web_bind == "1.1.1.1"


def test_os_environ_is_read_unless_another_mapping_is_given(monkeypatch):
    monkeypatch.setenv("WEB_PORT", "7000")
    assert Settings("x").web_port == 7000
    assert Settings("x", env={}).web_port == 6066
