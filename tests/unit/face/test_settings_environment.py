"""Settings from the environment: variables, the prefix, and what goes before what."""

from pathlib import Path

import pytest

from faustc.exceptions import ImproperlyConfigured
from faustc.setting_defaults import RENAMED
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


# Each setting is read from its name in capitals, by that which Faust 1.x gave it, but for these.
OTHERWISE = {
    **{
        name: f"APP_{name.upper()}"
        for name in (
            *("datadir", "tabledir", "debug", "env_prefix", "id_format", "version", "store"),
            *("key_serializer", "value_serializer", "reply_create_topic", "reply_expires"),
            *("reply_to_prefix", "web_enabled", "web_stats_enabled", "web_graph_enabled"),
            *("web_router_enabled", "web_tables_enabled", "web_metrics_enabled"),
        )
    },
    "broker": "BROKER_URL",
    "broker_consumer": "BROKER_CONSUMER_URL",
    "broker_producer": "BROKER_PRODUCER_URL",
    "cache": "CACHE_URL",
    "canonical_url": "NODE_CANONICAL_URL",
}
WITHOUT = {
    *("autodiscover", "origin", "ssl_context", "logging_config", "loghandlers", "reply_to"),
    *("producer_partitioner", "stream_publish_on_commit", "stream_ack_cancelled_tasks"),
    *("stream_ack_exceptions", "web", "web_application_options", "web_cors_options"),
    *("web_in_thread", "web_ssl_context", "web_transport", "ConsumerScheduler"),
    *("Agent", "Event", "Schema", "Stream", "Table", "SetTable", "GlobalTable", "SetGlobalTable"),
    *("TableManager", "Serializers", "Worker", "PartitionAssignor", "LeaderAssignor", "Router"),
    *("Topic", "HttpClient", "Monitor"),
}
# What is in the variable, where "1" will not do.
VALUES = {
    "agent_supervisor": "faustc.supervisors.CrashingSupervisor",
    "broker": "kafka://here",
    "broker_consumer": "kafka://here",
    "broker_producer": "kafka://here",
    "cache": "memory://",
    "consumer_auto_offset_reset": "latest",
    "processing_guarantee": "at_least_once",
    "producer_compression_type": "gzip",
    "store": "memory://",
    "timezone": "Europe/Oslo",
    "worker_redirect_stdouts_level": "INFO",
}


def by_faust_1x(setting):
    """The name that Faust 1.x gave a setting: that from which its variable follows."""
    given = {"url", "Set"}
    (name,) = [one for one in setting.names if one not in given and one not in RENAMED]
    return name


@pytest.mark.parametrize("name", sorted(map(by_faust_1x, Settings.SETTINGS.values())))
def test_each_setting_is_read_from_the_variable_that_faust_names(name):
    if name in WITHOUT:
        assert Settings.SETTINGS[Settings.NAMES[name]].env == ""
        return
    env = {OTHERWISE.get(name, name.upper()): VALUES.get(name, "1")}
    if name == "broker_credentials":  # text names no credentials
        with pytest.raises(ImproperlyConfigured, match=r"\$BROKER_CREDENTIALS"):
            conf(env=env)
        return
    assert conf(env=env).is_set(name)
    assert not conf(env={}).is_set(name)
