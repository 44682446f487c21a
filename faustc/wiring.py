"""The settings of an app as what its engine, and the engine's clients, are told."""

from __future__ import annotations

from typing import Any

from faustc.auth import client_options
from faustc.engine.options import EngineOptions
from faustc.setting_types import ProcessingGuarantee

__all__ = ["engine_options"]

# What brokers allow, unless told otherwise (transaction.max.timeout.ms).
MAX_TRANSACTION_S = 900.0

# How often a transaction is ended, unless commit_interval says otherwise: others see what was
# sent in it only then.
EXACTLY_ONCE_COMMIT_S = 0.1


def engine_options(conf: Any) -> EngineOptions:
    """Translate the settings of an app into what the engine and its client take."""
    security = client_options(conf)
    producer = {
        **security,
        "client_id": conf.client_id,
        "acks": conf.producer_acks,
        "compression_type": conf.producer_compression_type,
        "linger_ms": conf.producer_linger * 1000,
        "delivery_timeout_ms": int(conf.producer_request_timeout * 1000),
        "metadata_max_age_ms": conf.producer_metadata_max_age_ms,
        "connections_max_idle_ms": conf.producer_connections_max_idle_ms,
        "partitioner": conf.producer_partitioner,
    }
    # The client's own sizes are those its speed was measured with.
    for name in ("max_batch_size", "max_request_size"):
        if conf.is_set(f"producer_{name}"):
            producer[name] = getattr(conf, f"producer_{name}")
    consumer = {
        **security,
        "group_id": conf.id,
        "client_id": conf.client_id,
        "group_instance_id": conf.consumer_group_instance_id,
        "auto_offset_reset": conf.consumer_auto_offset_reset,
        "enable_auto_commit": False,
        "max_partition_fetch_bytes": conf.consumer_max_fetch_size,
        "max_decompressed_bytes": conf.consumer_max_decompressed_size,
        "check_crcs": conf.broker_check_crcs,
        "session_timeout_ms": int(conf.broker_session_timeout * 1000),
        "heartbeat_interval_ms": int(conf.broker_heartbeat_interval * 1000),
        "rebalance_timeout_ms": int(conf.broker_rebalance_timeout * 1000),
        "max_poll_interval_ms": int(conf.broker_max_poll_interval * 1000),
        "request_timeout_ms": int(conf.broker_request_timeout * 1000),
        "metadata_max_age_ms": conf.consumer_metadata_max_age_ms,
        "client_options": {"connections_max_idle_ms": conf.consumer_connections_max_idle_ms},
    }
    exactly_once = conf.processing_guarantee is ProcessingGuarantee.EXACTLY_ONCE
    if exactly_once:
        consumer["isolation_level"] = "read_committed"
    often = exactly_once and not conf.is_set("commit_interval")
    return EngineOptions(
        exactly_once=exactly_once,
        commit_interval_s=EXACTLY_ONCE_COMMIT_S if often else conf.commit_interval,
        # An event that takes longer is undone; and so is one that is said to be stuck.
        transaction_timeout_s=min(
            conf.stream_processing_timeout if conf.is_set("stream_processing_timeout") else 60.0,
            MAX_TRANSACTION_S,
        ),
        commit_every=conf.broker_commit_every,
        # Half of the session: what is left is for the commit, and the rebalance itself.
        drain_timeout_s=conf.broker_session_timeout / 2 if conf.stream_wait_empty else 0.0,
        stuck_after_s=conf.stream_processing_timeout,
        outage_s=conf.broker_outage_timeout,
        livelock_after_s=conf.broker_commit_livelock_soft_timeout,
        recovery_delay_s=conf.stream_recovery_delay,
        allow_declare=conf.topic_allow_declare,
        standbys=conf.table_standby_replicas,
        consumer=consumer,
        producer=producer,
        admin={**security, "client_id": conf.client_id},
    )
