"""Every option of an application: names, checks, defaults, variables, meanings.

Where Faust 1.0 and 1.x differ, the name and default of 1.0 come first and the
1.x name is bound to the same setting; either sets it, both show it.
"""

# ruff: noqa: E501 -- a table: one setting, one line
from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from datetime import UTC, timedelta, tzinfo
from pathlib import Path
from typing import Any

from .exceptions import ImproperlyConfigured
from .imports import symbol_by_name
from .setting_types import (
    ProcessingGuarantee,
    Setting,
    Values,
    acks,
    anything_callable,
    api_version,
    broker,
    compression,
    credentials,
    driver_url,
    either,
    flag,
    guarantee,
    items,
    log_level,
    mapping,
    maybe,
    one_of,
    packages,
    path,
    seconds,
    serializer,
    some_seconds,
    ssl_context,
    symbol,
    text,
    whole,
    zone,
)
from .urls import URL, BrokerURL
from .version import __version__

_count = whole(minimum=0)
_positive = whole(minimum=1)
_milliseconds = whole(minimum=1)
_port = whole(0, 65535)
_NINE_MINUTES_MS = 9 * 60 * 1000  # below the ten minutes after which brokers hang up
_FIVE_MINUTES_MS = 5 * 60 * 1000


def _expanded(conf: Any, value: Path) -> Path:
    """Fill in `{id}`, `{appid}` and `{conf.X}`; id is the app's name, the same in every version."""
    if "{" not in str(value):
        return value
    try:
        return Path(str(value).format(id=conf.name, appid=conf.name, conf=conf))
    except (LookupError, AttributeError, ValueError) as exc:
        raise ImproperlyConfigured(f"setting datadir: {str(value)!r}: {exc}") from exc


def _extension(default: str, doc: str, *, env: str = "") -> Setting[Any]:
    """Describe a class that can be swapped: given as class or path, shown as class.

    While there is nothing at its default path, the path itself is shown.
    """

    def found(conf: Values, value: Any) -> Any:
        try:
            return symbol_by_name(value)
        except ImproperlyConfigured:
            if value == default:
                return default
            raise

    return Setting(symbol, default, present=found, env=env, doc=doc)


def _switch(default: bool, env: str, doc: str) -> Setting[bool]:
    return Setting(flag, default, env=env, doc=doc)


def _following(name: str, check: Callable[[Any], Any], env: str, doc: str) -> Setting[Any]:
    """Describe a setting that is what another one is until it is set itself."""
    return Setting(check, derive=lambda conf: getattr(conf, name), env=env, doc=doc)


# fmt: off
class Options:
    """The table; `Settings` gives it values."""

    _given: dict[str, Any]
    _defaults: Mapping[str, Callable[[Any], Any]]

    def _change(self, setting: Setting[Any], name: str, value: Any) -> None:
        raise NotImplementedError

    # -- Common
    autodiscover = Setting[Any](packages, False, doc="Scan packages for decorators: True for the app's own, a list, or a function.")
    datadir = Setting(path, Path("{id}-data"), present=_expanded, env="APP_DATADIR", process="DATADIR", doc="Folder of local state; `{id}` and `{conf.X}` are filled in.")
    tabledir = Setting(path, Path("tables"), present=lambda conf, p: conf.relative_to_appdir(p), env="APP_TABLEDIR", doc="Folder of table data, within the app's own folder.")
    debug = Setting(flag, False, env="APP_DEBUG", process="DEBUG", doc="Show what helps debugging: statistics over HTTP, the blocking detector.")
    env_prefix = Setting(maybe(text), None, env="APP_ENV_PREFIX", doc="Put before the name of each environment variable.")
    id_format = Setting(text, "{id}-v{self.version}", env="APP_ID_FORMAT", doc="What the id becomes from version 2 on.")
    origin = Setting(maybe(text), None, doc="Import path of the module that defines the app; -A and app.main() set it.")
    timezone = Setting[tzinfo](zone, UTC, env="TIMEZONE", doc="Time zone of crontab.")
    version = Setting(_positive, 1, env="APP_VERSION", doc="Raise it to begin anew: new group, topics and folders.")
    blocking_timeout = Setting(maybe(seconds), None, env="BLOCKING_TIMEOUT", process="BLOCKING_TIMEOUT", doc="Report a loop that was blocked for so many seconds.")
    broker = Setting[BrokerURL](broker, BrokerURL("aiokafka://localhost:9092"), env="BROKER_URL", doc="URL of the brokers: hosts joined by `;`, or a list of URLs.")
    url = broker
    broker_credentials = Setting[Any](maybe(credentials), None, env="BROKER_CREDENTIALS", doc="SASL, OAuth or SSL credentials, or an SSLContext: see security.md.")
    ssl_context = Setting[Any](maybe(ssl_context), None, doc="An SSLContext; broker_credentials takes one as well.")
    processing_guarantee = Setting(guarantee, ProcessingGuarantee.AT_LEAST_ONCE, env="PROCESSING_GUARANTEE", doc="at_least_once, or exactly_once: what an event does, and that it is done, is one transaction (docs/guarantees.md).")
    store = Setting(driver_url, URL("memory://"), env="APP_STORE", late=True, doc="URL of the store of tables: memory:// or rocksdb://.")
    cache = Setting(driver_url, URL("memory://"), env="CACHE_URL", doc="Cache of web views: memory://, or the path of a class.")
    logging_config = Setting(maybe(mapping), None, doc="Given to logging.config.dictConfig by the worker.")
    loghandlers = Setting(items, derive=lambda conf: [], doc="More handlers for the worker's root logger.")
    cython_optimizations = _switch(False, "CYTHON_OPTIMIZATIONS", "Faust's switch for its compiled paths.")

    # -- Serialization
    key_serializer = Setting[Any](serializer, "json", env="APP_KEY_SERIALIZER", doc="Codec of keys that name none and are no model.")
    value_serializer = Setting[Any](serializer, "json", env="APP_VALUE_SERIALIZER", doc="Codec of values that name none and are no model.")

    # -- Topics
    topic_allow_declare = _switch(True, "TOPIC_ALLOW_DECLARE", "May topics be created.")
    topic_disable_leader = _switch(False, "TOPIC_DISABLE_LEADER", "No leader topic, hence no leader.")
    default_partitions = Setting(_positive, 8, env="TOPIC_PARTITIONS", doc="Partitions of a new topic.")
    topic_partitions = default_partitions
    replication_factor = Setting(_positive, 1, env="TOPIC_REPLICATION_FACTOR", doc="Replicas of each topic that the app creates.")
    topic_replication_factor = replication_factor

    # -- Broker
    broker_consumer = _following("broker", broker.check, "BROKER_CONSUMER_URL", "Brokers to consume from, if others.")
    broker_producer = _following("broker", broker.check, "BROKER_PRODUCER_URL", "Brokers to produce to, if others.")
    broker_api_version = Setting(api_version, "auto", env="BROKER_API_VERSION", doc='"auto", or the version that brokers are taken to be.')
    broker_check_crcs = _switch(True, "BROKER_CHECK_CRCS", "Verify the checksum of each batch.")
    client_id = Setting(text, f"faust-{__version__}", env="BROKER_CLIENT_ID", doc="The client.id that brokers see.")
    broker_client_id = client_id
    broker_commit_every = Setting(_positive, 10_000, env="BROKER_COMMIT_EVERY", doc="Commit after so many messages at the latest.")
    commit_interval = Setting(some_seconds, 3.0, env="BROKER_COMMIT_INTERVAL", doc="Seconds between commits.")
    broker_commit_interval = commit_interval
    broker_commit_livelock_soft_timeout = Setting(some_seconds, 300.0, env="BROKER_COMMIT_LIVELOCK_SOFT_TIMEOUT", doc="Warn when commits made no progress for so many seconds.")
    broker_heartbeat_interval = Setting(some_seconds, 3.0, env="BROKER_HEARTBEAT_INTERVAL", doc="Seconds between heartbeats to the group.")
    broker_max_poll_interval = Setting(some_seconds, 1000.0, env="BROKER_MAX_POLL_INTERVAL", doc="Seconds that user code may block before the group gives its partitions away.")
    broker_max_poll_records = Setting(maybe(_positive), None, env="BROKER_MAX_POLL_RECORDS", doc="Most messages handed on at once.")
    broker_outage_timeout = Setting(some_seconds, 900.0, env="BROKER_OUTAGE_TIMEOUT", doc="Seconds without any broker until the worker gives up, and ends with an exit code that is not 0.")
    broker_rebalance_timeout = Setting(some_seconds, 60.0, env="BROKER_REBALANCE_TIMEOUT", doc="Seconds that members have to join a rebalance.")
    broker_request_timeout = Setting(some_seconds, 90.0, env="BROKER_REQUEST_TIMEOUT", doc="Seconds until an unanswered request fails; at least the session timeout.")
    broker_session_timeout = Setting(some_seconds, 60.0, env="BROKER_SESSION_TIMEOUT", doc="Seconds without a heartbeat until the group drops a member.")

    # -- Consumer
    consumer_api_version = _following("broker_api_version", api_version, "CONSUMER_API_VERSION", "broker_api_version of the consumer.")
    consumer_max_fetch_size = Setting(_positive, 1024**2, env="CONSUMER_MAX_FETCH_SIZE", doc="Bytes per partition and fetch.")
    consumer_max_decompressed_size = Setting(_positive, 128 * 1024**2, env="CONSUMER_MAX_DECOMPRESSED_SIZE", doc="Bytes that one batch may decompress to; a larger one is refused, and `on_failure` says what becomes of it.")
    consumer_auto_offset_reset = Setting(one_of("earliest", "latest", "none"), "earliest", env="CONSUMER_AUTO_OFFSET_RESET", doc="Where to begin without a committed offset.")
    consumer_group_instance_id = Setting(maybe(text), None, env="CONSUMER_GROUP_INSTANCE_ID", doc="Name of a static member (KIP-345).")
    consumer_metadata_max_age_ms = Setting(_milliseconds, _FIVE_MINUTES_MS, env="CONSUMER_METADATA_MAX_AGE_MS", doc="Age at which metadata is asked for anew.")
    consumer_connections_max_idle_ms = Setting(_milliseconds, _NINE_MINUTES_MS, env="CONSUMER_CONNECTIONS_MAX_IDLE_MS", doc="Idle time after which a connection is closed.")
    ConsumerScheduler = _extension("faust.transport.utils:DefaultSchedulingStrategy", "The order in which partitions are served.")

    # -- Producer
    producer_acks = Setting(acks, -1, env="PRODUCER_ACKS", doc="Replicas that confirm a batch: 0, 1, or -1 for all.")
    producer_api_version = _following("broker_api_version", api_version, "PRODUCER_API_VERSION", "broker_api_version of the producer.")
    producer_compression_type = Setting(maybe(either(compression, "none", None)), None, env="PRODUCER_COMPRESSION_TYPE", doc="gzip, snappy, lz4, zstd, or a codec that you registered.")
    producer_linger = Setting(seconds, derive=lambda conf: conf.producer_linger_ms / 1000, env="PRODUCER_LINGER", doc="Seconds that a batch waits to fill up.")
    producer_linger_ms = Setting(_count, 0, env="PRODUCER_LINGER_MS", doc="producer_linger in milliseconds; deprecated.")
    producer_max_batch_size = Setting(_positive, 16_384, env="PRODUCER_MAX_BATCH_SIZE", doc="Bytes of a batch; until it is set, 256 KiB.")
    producer_max_request_size = Setting(_positive, 1_000_000, env="PRODUCER_MAX_REQUEST_SIZE", doc="Bytes of a produce request; until it is set, 1 MiB.")
    producer_partitioner = Setting[Any](maybe(anything_callable), None, present=lambda conf, value: symbol_by_name(value), doc="Function (key, all_partitions, available) -> partition, or its path; None is Kafka's own.")
    producer_request_timeout = Setting(some_seconds, 1200.0, env="PRODUCER_REQUEST_TIMEOUT", doc="Seconds until a message that was not delivered fails.")
    producer_threaded = _switch(False, "PRODUCER_THREADED", "send_soon through a producer on a thread of its own.")
    producer_metadata_max_age_ms = Setting(_milliseconds, _FIVE_MINUTES_MS, env="PRODUCER_METADATA_MAX_AGE_MS", doc="Age at which metadata is asked for anew.")
    producer_connections_max_idle_ms = Setting(_milliseconds, _NINE_MINUTES_MS, env="PRODUCER_CONNECTIONS_MAX_IDLE_MS", doc="Idle time after which a connection is closed.")

    # -- Tables
    table_cleanup_interval = Setting(some_seconds, 30.0, env="TABLE_CLEANUP_INTERVAL", doc="Seconds between sweeps for expired entries.")
    table_key_index_size = Setting(_positive, 1000, env="TABLE_KEY_INDEX_SIZE", doc="Keys whose partition is remembered.")
    num_standby_replicas = Setting(_count, 1, env="TABLE_STANDBY_REPLICAS", doc="Standby copies of each table.")
    table_standby_replicas = num_standby_replicas

    # -- Streams
    recovery_consistency_check = _switch(True, "RECOVERY_CONSISTENCY_CHECK", "Refuse local state that is ahead of its changelog.")
    store_check_exists = _switch(True, "STORE_CHECK_EXISTS", "Look whether a key exists before it is read.")
    crash_app_on_aerospike_exception = _switch(True, "CRASH_APP_ON_AEROSPIKE_EXCEPTION", "Crash on an error of Aerospike.")
    aerospike_retries_on_exception = Setting(_count, 60, env="AEROSPIKE_RETRIES_ON_EXCEPTION", doc="Retries of a failed Aerospike call.")
    aerospike_sleep_seconds_between_retries_on_exception = Setting(seconds, 1.0, env="AEROSPIKE_SLEEP_SECONDS_BETWEEN_RETRIES_ON_EXCEPTION", doc="Seconds between them.")
    stream_buffer_maxsize = Setting(_positive, 4096, env="STREAM_BUFFER_MAXSIZE", doc="Events that a channel holds; once it is set, a topic's reader as well.")
    stream_processing_timeout = Setting(some_seconds, 300.0, env="STREAM_PROCESSING_TIMEOUT", doc="Warn about an event that takes longer.")
    stream_publish_on_commit = _switch(False, "", "Send what a stream sends only when its source is acknowledged.")
    stream_recovery_delay = Setting(seconds, 0.0, env="STREAM_RECOVERY_DELAY", doc="Seconds to wait before tables recover.")
    stream_wait_empty = _switch(True, "STREAM_WAIT_EMPTY", "Finish what is in hand before a rebalance or the end.")
    stream_ack_cancelled_tasks = _switch(True, "", "No effect; deprecated by Faust.")
    stream_ack_exceptions = _switch(True, "", "No effect; deprecated by Faust.")

    # -- Worker
    worker_redirect_stdouts = _switch(True, "WORKER_REDIRECT_STDOUTS", "print() goes to the log.")
    worker_redirect_stdouts_level = Setting[str | int](log_level, "WARN", env="WORKER_REDIRECT_STDOUTS_LEVEL", doc="At this level.")

    # -- Web
    web = Setting(driver_url, URL("aiohttp://"), doc="Driver of the web server.")
    web_bind = Setting(text, "127.0.0.1", env="WEB_BIND", process="WEB_BIND", doc="Address that the web server listens at; 0.0.0.0 for all.")
    web_application_options = Setting(mapping, derive=lambda conf: {}, doc="Arguments of the web framework's application.")
    web_cors_options = Setting(maybe(mapping), None, doc="CORS options of every page.")
    web_enabled = _switch(True, "APP_WEB_ENABLED", "Run the web server.")
    web_stats_enabled = _following("debug", flag, "APP_WEB_STATS_ENABLED", "Serve statistics.")
    web_graph_enabled = _following("debug", flag, "APP_WEB_GRAPH_ENABLED", "Serve /graph.")
    web_router_enabled = _switch(True, "APP_WEB_ROUTER_ENABLED", "Serve /router.")
    web_tables_enabled = _switch(True, "APP_WEB_TABLES_ENABLED", "Serve /table.")
    web_metrics_enabled = _switch(False, "APP_WEB_METRICS_ENABLED", "Serve /performance/.")
    web_host = Setting(text, derive=lambda conf: socket.gethostname(), env="WEB_HOST", doc="Name of this node.")
    web_in_thread = _switch(False, "", "Run the web server on a thread of its own.")
    web_port = Setting(_port, 6066, env="WEB_PORT", process="WEB_PORT", doc="Port of the web server.")
    web_ssl_context = Setting[Any](maybe(ssl_context.check), None, doc="TLS of the web server.")
    web_transport = Setting(driver_url, URL("tcp://"), process="WEB_TRANSPORT", doc="tcp:// or unix:///path.")
    canonical_url = Setting(text, derive=lambda conf: socket.gethostname(), env="NODE_CANONICAL_URL", doc="How other nodes reach this one's web server.")

    # -- Agents and replies
    agent_supervisor = _extension("mode.OneForOneSupervisor", "What becomes of an agent's actors when one fails (faustc.supervisors).", env="AGENT_SUPERVISOR")
    create_reply_topic = _switch(False, "APP_REPLY_CREATE_TOPIC", "Create the reply topic at the start; ask() needs it.")
    reply_create_topic = create_reply_topic
    reply_expires = Setting(some_seconds, timedelta(days=1).total_seconds(), env="APP_REPLY_EXPIRES", doc="Seconds that replies are kept.")
    reply_to = Setting[str](text, derive=lambda conf: conf.generated_reply_to(), doc="Topic of the replies to this instance.")
    reply_to_prefix = Setting(text, "f-reply-", env="APP_REPLY_TO_PREFIX", doc="What a generated reply_to begins with.")

    # -- Classes that can be swapped
    Agent = _extension("faust:Agent", "Class of agents.")
    Event = _extension("faust:Event", "Class of events.")
    Schema = _extension("faust:Schema", "Class of schemas.")
    Stream = _extension("faust.Stream", "Class of streams.")
    Table = _extension("faust.Table", "Class of tables.")
    Set = _extension("faust.Set", "Class of tables of sets.")
    SetTable = Set
    GlobalTable = _extension("faust:GlobalTable", "Class of global tables.")
    SetGlobalTable = _extension("faust:SetGlobalTable", "Class of global tables of sets.")
    TableManager = _extension("faust.tables.TableManager", "What manages tables.")
    Serializers = _extension("faust.serializers.Registry", "What turns keys and values into bytes and back.")
    Worker = _extension("faust.worker:Worker", "Class of workers.")
    PartitionAssignor = _extension("faust.assignor:PartitionAssignor", "Assigns partitions to members.")
    LeaderAssignor = _extension("faust.assignor:LeaderAssignor", "Elects the leader.")
    Router = _extension("faust.app.router:Router", "Finds the node that holds a key.")
    Topic = _extension("faust:Topic", "Class of topics.")
    HttpClient = _extension("aiohttp.client:ClientSession", "Class of app.http_client.")
    Monitor = _extension("faust.sensors:Monitor", "The sensor that counts.")
# fmt: on
