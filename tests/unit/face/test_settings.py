"""What an application's settings promise: names, defaults, checks, environment, finality."""

import re
import socket
import ssl
import tomllib
from datetime import UTC, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from faustc import setting_table, version
from faustc.exceptions import ImproperlyConfigured
from faustc.setting_docs import document, written
from faustc.setting_types import ProcessingGuarantee, Setting, text
from faustc.settings import WITHOUT_EFFECT, Settings


def conf(id="example", **options):
    options.setdefault("env", {})
    return Settings(id, **options)


# Every parameter of the application page: name, documented default, other names.
PAGE = [
    ("broker", "aiokafka://localhost:9092", ()),
    ("store", "memory://", ()),
    ("autodiscover", False, ()),
    ("datadir", Path("example-data"), ()),
    ("key_serializer", "json", ()),
    ("value_serializer", "json", ()),
    ("client_id", f"faust-{version.__version__}", ("broker_client_id",)),
    ("commit_interval", 3.0, ("broker_commit_interval",)),
    ("default_partitions", 8, ("topic_partitions",)),
    ("table_cleanup_interval", 30.0, ()),
    ("num_standby_replicas", 1, ("table_standby_replicas",)),
    ("replication_factor", 1, ("topic_replication_factor",)),
    ("canonical_url", socket.gethostname(), ()),
    ("create_reply_topic", False, ("reply_create_topic",)),
    ("reply_expires", timedelta(days=1).total_seconds(), ()),
]
PAGE_CLASSES = [
    ("Stream", "faust.Stream"),
    ("Table", "faust.Table"),
    ("Set", "faust.Set"),
    ("TableManager", "faust.tables.TableManager"),
    ("Serializers", "faust.serializers.Registry"),
]

# What Faust 1.x added: name and default.
LATER = [
    ("tabledir", Path("example-data/v1/tables")),
    ("debug", False),
    ("env_prefix", None),
    ("id_format", "{id}-v{self.version}"),
    ("origin", None),
    ("timezone", UTC),
    ("version", 1),
    ("cython_optimizations", False),
    ("blocking_timeout", None),
    ("broker_credentials", None),
    ("ssl_context", None),
    ("logging_config", None),
    ("loghandlers", []),
    ("processing_guarantee", ProcessingGuarantee.AT_LEAST_ONCE),
    ("cache", "memory://"),
    ("url", "aiokafka://localhost:9092"),
    ("topic_allow_declare", True),
    ("topic_disable_leader", False),
    ("broker_consumer", "aiokafka://localhost:9092"),
    ("broker_producer", "aiokafka://localhost:9092"),
    ("broker_api_version", "auto"),
    ("broker_check_crcs", True),
    ("broker_commit_every", 10_000),
    ("broker_commit_livelock_soft_timeout", 300.0),
    ("broker_outage_timeout", 900.0),
    ("broker_heartbeat_interval", 3.0),
    ("broker_max_poll_interval", 1000.0),
    ("broker_max_poll_records", None),
    ("broker_rebalance_timeout", 60.0),
    ("broker_request_timeout", 90.0),
    ("broker_session_timeout", 60.0),
    ("consumer_api_version", "auto"),
    ("consumer_max_fetch_size", 1024**2),
    ("consumer_max_decompressed_size", 128 * 1024**2),
    ("consumer_auto_offset_reset", "earliest"),
    ("consumer_group_instance_id", None),
    ("consumer_metadata_max_age_ms", 300_000),
    ("consumer_connections_max_idle_ms", 540_000),
    ("producer_acks", -1),
    ("producer_api_version", "auto"),
    ("producer_compression_type", None),
    ("producer_linger", 0.0),
    ("producer_linger_ms", 0),
    ("producer_max_batch_size", 16_384),
    ("producer_max_request_size", 1_000_000),
    ("producer_partitioner", None),
    ("producer_request_timeout", 1200.0),
    ("producer_threaded", False),
    ("producer_metadata_max_age_ms", 300_000),
    ("producer_connections_max_idle_ms", 540_000),
    ("table_key_index_size", 1000),
    ("recovery_consistency_check", True),
    ("store_check_exists", True),
    ("crash_app_on_aerospike_exception", True),
    ("aerospike_retries_on_exception", 60),
    ("aerospike_sleep_seconds_between_retries_on_exception", 1.0),
    ("stream_buffer_maxsize", 4096),
    ("stream_processing_timeout", 300.0),
    ("stream_publish_on_commit", False),
    ("stream_recovery_delay", 0.0),
    ("stream_wait_empty", True),
    ("stream_ack_cancelled_tasks", True),
    ("stream_ack_exceptions", True),
    ("worker_redirect_stdouts", True),
    ("worker_redirect_stdouts_level", "WARN"),
    ("web", "aiohttp://"),
    ("web_bind", "127.0.0.1"),
    ("web_application_options", {}),
    ("web_cors_options", None),
    ("web_enabled", True),
    ("web_stats_enabled", False),
    ("web_graph_enabled", False),
    ("web_router_enabled", True),
    ("web_tables_enabled", True),
    ("web_metrics_enabled", False),
    ("web_host", socket.gethostname()),
    ("web_in_thread", False),
    ("web_port", 6066),
    ("web_ssl_context", None),
    ("web_transport", "tcp://"),
    ("reply_to_prefix", "f-reply-"),
]
LATER_CLASSES = [
    ("ConsumerScheduler", "faust.transport.utils:DefaultSchedulingStrategy"),
    ("agent_supervisor", "mode.OneForOneSupervisor"),
    ("Agent", "faust:Agent"),
    ("Event", "faust:Event"),
    ("Schema", "faust:Schema"),
    ("SetTable", "faust.Set"),
    ("GlobalTable", "faust:GlobalTable"),
    ("SetGlobalTable", "faust:SetGlobalTable"),
    ("Worker", "faust.worker:Worker"),
    ("PartitionAssignor", "faust.assignor:PartitionAssignor"),
    ("LeaderAssignor", "faust.assignor:LeaderAssignor"),
    ("Router", "faust.app.router:Router"),
    ("Topic", "faust:Topic"),
    ("HttpClient", "aiohttp.client:ClientSession"),
    ("Monitor", "faust.sensors:Monitor"),
]


@pytest.mark.parametrize(("name", "default", "others"), PAGE)
def test_page_parameter_has_its_documented_default_under_each_of_its_names(name, default, others):
    settings = conf()
    for one in (name, *others):
        assert getattr(settings, one) == default
        assert type(getattr(settings, one)) is type(getattr(settings, name))
    assert not settings.is_set(name)


@pytest.mark.parametrize(("name", "default"), LATER)
def test_parameter_of_faust_1x_has_its_documented_default(name, default):
    assert getattr(conf(), name) == default


@pytest.mark.parametrize(("name", "default"), PAGE_CLASSES + LATER_CLASSES)
def test_class_parameter_is_its_documented_path_or_the_class_there(name, default):
    shown = getattr(conf(), name)
    assert Settings.SETTINGS[Settings.NAMES[name]].default == default
    assert shown == default or isinstance(shown, type)


def test_the_tables_above_are_complete():
    listed = {name for name, *_ in PAGE + LATER + PAGE_CLASSES + LATER_CLASSES}
    listed |= {other for _, _, others in PAGE for other in others} | {"reply_to"}
    assert listed == set(Settings.NAMES)


def test_the_version_is_the_package_s():
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())
    declared = project["project"].get("version", version.__version__)
    assert declared == version.__version__


# One value that is taken, what it becomes, and one that is refused, by kind of setting.
CHECKED = [
    ("broker", "kafka://h1:9092;h2", "kafka://h1:9092;h2", "kafak://h1"),
    ("broker", ["kafka://h1", "kafka://h2:1"], "kafka://h1;kafka://h2:1", []),
    ("store", "rocksdb://", "rocksdb://", "rocksdb"),
    ("store", "myproj.stores.Store://", "myproj.stores.Store://", 3),
    ("autodiscover", True, True, "proj"),
    ("datadir", "/var/lib/x", Path("/var/lib/x"), 3),
    ("key_serializer", "json|gzip", "json|gzip", "json|"),
    ("value_serializer", "raw", "raw", 5),
    ("client_id", "x", "x", ""),
    ("commit_interval", timedelta(seconds=2), 2.0, 0),
    ("commit_interval", 1, 1.0, "soon"),
    ("default_partitions", 3, 3, 0),
    ("default_partitions", "3", 3, True),
    ("table_cleanup_interval", 0.5, 0.5, float("nan")),
    ("num_standby_replicas", 0, 0, -1),
    ("replication_factor", 3, 3, 1.5),
    ("canonical_url", "http://x:6066", "http://x:6066", 3),
    ("reply_to", "answers", "answers", 3),
    ("create_reply_topic", True, True, "maybe"),
    ("create_reply_topic", "no", False, 2),
    ("reply_expires", timedelta(hours=1), 3600.0, -1),
    ("Stream", dict, dict, "Stream"),
    ("Table", "collections.OrderedDict", __import__("collections").OrderedDict, 3),
    ("Set", "collections:OrderedDict", __import__("collections").OrderedDict, "a b.c"),
    ("version", 2, 2, 0),
    ("timezone", "Europe/Oslo", ZoneInfo("Europe/Oslo"), "Nowhere/Atall"),
    ("processing_guarantee", "exactly_once", ProcessingGuarantee.EXACTLY_ONCE, "twice"),
    ("producer_acks", "all", -1, 2),
    ("producer_acks", 0, 0, "some"),
    ("producer_compression_type", "lz4", "lz4", 3),
    ("producer_compression_type", "none", None, "gzipp"),
    ("producer_linger", 0, 0.0, "x"),
    ("consumer_auto_offset_reset", "latest", "latest", "newest"),
    ("broker_api_version", "3.9.0", "3.9.0", "new"),
    ("web_port", 0, 0, 70_000),
    ("worker_redirect_stdouts_level", "info", "INFO", "LOUD"),
    ("logging_config", {"version": 1}, {"version": 1}, "x"),
    ("loghandlers", (1,), [1], "x"),
    ("producer_partitioner", "os.path:join", __import__("os").path.join, 3),
]


@pytest.mark.parametrize(("name", "given", "kept", "refused"), CHECKED)
def test_a_setting_is_checked_when_it_is_given(name, given, kept, refused):
    assert getattr(conf(**{name: given}), name) == kept
    with pytest.raises(ImproperlyConfigured, match=f"setting {name}: "):
        conf(**{name: refused})
    settings = conf()
    with pytest.raises(ImproperlyConfigured, match=f"setting {name}: "):
        setattr(settings, name, refused)


@pytest.mark.parametrize(("name", "_", "others"), [row for row in PAGE if row[2]])
def test_either_of_two_names_sets_both(name, _, others):
    value = {"client_id": "me", "create_reply_topic": True}.get(name, 5)
    for given in (name, *others):
        settings = conf(**{given: value})
        assert [getattr(settings, one) for one in (name, *others)] == [value] * (1 + len(others))
        assert settings.is_set(name)
        assert settings.is_set(given)


def test_two_names_with_different_values_are_refused_and_with_the_same_are_not():
    with pytest.raises(ImproperlyConfigured, match="commit_interval and broker_commit_interval"):
        conf(commit_interval=1, broker_commit_interval=2)
    assert conf(commit_interval=1, broker_commit_interval=timedelta(seconds=1)).commit_interval == 1


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(ImproperlyConfigured, match=r"'brokr'; did you mean 'broker'\?"):
        conf(brokr="kafka://")
    settings = conf()
    with pytest.raises(ImproperlyConfigured, match="did you mean 'default_partitions'"):
        settings.default_partition = 3
    with pytest.raises(AttributeError, match="did you mean 'store'"):
        settings.stor  # noqa: B018
    assert not hasattr(settings, "bogus")


def test_none_means_the_default():
    settings = conf(broker=None, version=None, key_serializer=None)
    assert settings.broker == "aiokafka://localhost:9092"
    assert not settings.is_set("key_serializer")
    settings.version = 4
    settings.version = None
    assert settings.version == 1


@pytest.mark.parametrize(
    "id", ["", ".", "..", "a/b", "/abs", "a..b", "a\0b", "a\nb", "a\\b", " a", "a" * 201, 3, None]
)
def test_an_id_that_cannot_name_a_folder_and_topics_is_refused(id):
    with pytest.raises(ImproperlyConfigured, match="app id"):
        conf(id)


def test_the_id_is_required():
    with pytest.raises(TypeError):
        Settings()


def test_a_later_version_has_its_own_id_and_folder_and_the_same_name():
    settings = conf(version=2)
    assert (settings.name, settings.id) == ("example", "example-v2")
    assert settings.datadir == Path("example-data")
    assert settings.appdir == Path("example-data/v2")
    assert settings.tabledir == Path("example-data/v2/tables")
    settings.id_format = "{id}_{self.version}"
    assert settings.id == "example_2"
    settings.version = 1
    assert settings.id == "example"


def test_a_bad_id_format_is_refused():
    settings = conf(version=2, id_format="{nope}")
    with pytest.raises(ImproperlyConfigured, match="id_format"):
        settings.finalize()
    with pytest.raises(ImproperlyConfigured, match="app id"):
        conf(version=2, id_format="../{id}").finalize()


def test_folders_take_templates_and_absolute_paths(tmp_path):
    settings = conf(datadir="/data/{conf.name}/{id}", tabledir=tmp_path)
    assert settings.datadir == Path("/data/example/example")
    assert settings.tabledir == tmp_path
    with pytest.raises(ImproperlyConfigured, match="datadir"):
        conf(datadir="{nope}").finalize()


def test_folders_of_older_versions_are_found_in_order(tmp_path):
    for name in ("v1", "v10", "v2", "v11", "vx", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "v3").write_text("no folder")
    found = conf(version=11, datadir=tmp_path).find_old_versiondirs()
    assert [path.name for path in found] == ["v1", "v2", "v10"]
    assert conf(datadir=tmp_path / "absent").find_old_versiondirs() == []


def test_a_generated_reply_topic_stays_the_same_and_differs_between_instances():
    one, other = conf(), conf(reply_to_prefix="answers-")
    assert one.reply_to == one.reply_to
    assert one.reply_to.startswith("f-reply-")
    assert other.reply_to.startswith("answers-")
    assert conf().reply_to != one.reply_to


def test_settings_change_until_they_are_final():
    settings = conf()
    settings.commit_interval = 1
    settings.finalize()
    settings.finalize()
    assert settings.finalized
    for name, value in (("commit_interval", 2), ("broker_commit_interval", 2), ("id", "y")):
        with pytest.raises(ImproperlyConfigured, match="configured already"):
            setattr(settings, name, value)
    assert settings.commit_interval == 1
    settings.store = "rocksdb://"
    assert settings.store == "rocksdb://"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"broker_heartbeat_interval": 60}, "broker_heartbeat_interval"),
        ({"broker_request_timeout": 59}, "broker_request_timeout"),
        ({"producer_linger": 1, "producer_linger_ms": 5}, "producer_linger_ms differ"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused_in_the_end(options, message):
    settings = conf(**options)
    with pytest.raises(ImproperlyConfigured, match=message):
        settings.finalize()
    assert not settings.finalized


def test_defaults_follow_the_settings_they_come_from():
    settings = conf(broker="kafka://h", debug=True, producer_linger_ms=5, broker_api_version="3.9")
    assert settings.broker_consumer == settings.broker_producer == "kafka://h"
    assert settings.web_stats_enabled is settings.web_graph_enabled is True
    assert settings.producer_linger == 0.005
    assert settings.consumer_api_version == settings.producer_api_version == "3.9"
    settings.broker_consumer = "kafka://other"
    assert (settings.broker, settings.broker_consumer) == ("kafka://h", "kafka://other")


def test_no_password_shows():
    secret = "s3cret"
    settings = conf(
        broker=f"kafka://user:{secret}@h1;h2",
        cache=f"redis://:{secret}@cache",
        broker_credentials=type("Login", (), {"ssl_context": None, "password": secret})(),
    )
    shown = f"{settings!r} {settings.broker} {settings.broker!r} {settings.cache} "
    shown += " ".join(
        str(value) for value in (settings.asdict()["broker"], settings.broker_producer)
    )
    assert secret not in shown
    assert settings.asdict()["HttpClient"] == "aiohttp.client:ClientSession"
    assert settings.broker.password == settings.cache.password == secret
    with pytest.raises(ImproperlyConfigured) as caught:
        conf(broker=f"kafka://user:{secret}@h:port")
    assert secret not in str(caught.value)


def test_credentials_are_an_ssl_context_or_carry_one():
    context = ssl.create_default_context()
    assert conf(broker_credentials=context).broker_credentials is context
    assert conf(ssl_context=context, web_ssl_context=context).ssl_context is context
    for name in ("broker_credentials", "ssl_context", "web_ssl_context"):
        with pytest.raises(ImproperlyConfigured) as caught:
            conf(**{name: "user:s3cret"})
        assert "s3cret" not in str(caught.value)


def test_an_iterable_of_packages_is_not_read():
    def packages():
        raise AssertionError("read too early")
        yield

    generator = packages()
    assert conf(autodiscover=generator).autodiscover is generator
    assert conf(autodiscover=packages).autodiscover is packages


def test_a_path_that_leads_nowhere_says_so_when_it_is_used():
    settings = conf(Stream="collections.OrderedDct")
    with pytest.raises(ImproperlyConfigured, match="did you mean 'OrderedDict'"):
        settings.Stream  # noqa: B018


def test_faust_s_paths_lead_here():
    from faustc.serializers import Registry

    assert conf().Serializers is Registry
    assert conf(Serializers="faust.serializers:Registry").Serializers is Registry


def test_a_subclass_declares_more_settings():
    class Mine(Settings):
        threshold = Setting(setting_table.whole(minimum=1), 3, env="APP_THRESHOLD", doc="Mine.")

    assert Mine("x", env={}).threshold == 3
    assert Mine("x", env={"APP_THRESHOLD": "4"}).threshold == 4
    with pytest.raises(ImproperlyConfigured, match="threshold"):
        Mine("x", env={}, threshold=0)
    with pytest.raises(ImproperlyConfigured, match="no setting 'threshold'"):
        conf(threshold=3)


def test_settings_without_effect_are_told():
    settings = conf(aerospike_retries_on_exception=3)
    assert settings.ineffective() == {
        "aerospike_retries_on_exception": "there is no Aerospike store"
    }
    assert conf().ineffective() == {}


def test_the_documentation_lists_every_name_and_says_what_changes_nothing():
    tables = document()
    for name in Settings.NAMES:
        assert f"`{name}`" in tables
    for name, why in WITHOUT_EFFECT.items():
        (row,) = [line for line in tables.splitlines() if line.startswith(f"| `{name}`")]
        assert f"Changes nothing here: {why}." in row
    rows = [line for line in tables.splitlines() if line.startswith("| `")]
    assert len(rows) == len(Settings.SETTINGS)
    for row in rows:
        cells = re.split(r"(?<!\\) \| ", row.strip("| "))
        assert len(cells) == 5, row
        assert all(cells[1:3]), row
        assert "worked out" not in cells[2], row


def test_the_page_of_the_docs_is_made_from_the_table():
    page = (Path(__file__).parents[3] / "docs" / "settings.md").read_text(encoding="utf-8")
    assert page == written(page), "run `make settings`"
    with pytest.raises(ValueError, match="lacks the line"):
        written("# Settings")


def test_settings_of_ones_own_are_documented_with_the_others():
    class Mine(Settings):
        greeting = Setting(text, "hello", env="GREETING", doc="What is said first.")

    last = document(Mine).rstrip().splitlines()[-1]
    assert last == "| `greeting` | text | `hello` | `GREETING` | What is said first. |"
