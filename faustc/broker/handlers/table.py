"""Which APIs are served, and by whom. A module that is not here is not served."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from faustc.broker.broker import Broker
from faustc.broker.handlers import (
    h00_produce,
    h01_fetch,
    h02_list_offsets,
    h03_metadata,
    h08_offset_commit,
    h09_offset_fetch,
    h10_find_coordinator,
    h11_join_group,
    h12_heartbeat,
    h13_leave_group,
    h14_sync_group,
    h15_describe_groups,
    h16_list_groups,
    h17_sasl_handshake,
    h18_api_versions,
    h19_create_topics,
    h20_delete_topics,
    h21_delete_records,
    h22_init_producer_id,
    h23_offset_for_leader_epoch,
    h24_add_partitions_to_txn,
    h25_add_offsets_to_txn,
    h26_end_txn,
    h28_txn_offset_commit,
    h32_describe_configs,
    h33_alter_configs,
    h36_sasl_authenticate,
    h37_create_partitions,
    h42_delete_groups,
    h44_incremental_alter_configs,
    h47_offset_delete,
    h60_describe_cluster,
)
from faustc.broker.wire import Answer, Api, Call

_MODULES = (
    h00_produce,
    h01_fetch,
    h02_list_offsets,
    h03_metadata,
    h08_offset_commit,
    h09_offset_fetch,
    h10_find_coordinator,
    h11_join_group,
    h12_heartbeat,
    h13_leave_group,
    h14_sync_group,
    h15_describe_groups,
    h16_list_groups,
    h17_sasl_handshake,
    h18_api_versions,
    h19_create_topics,
    h20_delete_topics,
    h21_delete_records,
    h22_init_producer_id,
    h23_offset_for_leader_epoch,
    h24_add_partitions_to_txn,
    h25_add_offsets_to_txn,
    h26_end_txn,
    h28_txn_offset_commit,
    h32_describe_configs,
    h33_alter_configs,
    h36_sasl_authenticate,
    h37_create_partitions,
    h42_delete_groups,
    h44_incremental_alter_configs,
    h47_offset_delete,
    h60_describe_cluster,
)

Handle = Callable[[Broker, Call], Awaitable[Answer | Any | None]]

SERVED: dict[int, Api] = {module.API.key: module.API for module in _MODULES}
HANDLERS: dict[int, Handle] = {module.API.key: module.handle for module in _MODULES}
