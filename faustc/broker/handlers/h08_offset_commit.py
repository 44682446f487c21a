"""OffsetCommit (8), versions 2 to 9. Left out: topic ids (10), and retention times (2 to 4)."""

from __future__ import annotations

from faustc.broker import wire
from faustc.broker.broker import Broker
from faustc.broker.groups import Committer
from faustc.broker.groups_requests import CommitRows
from faustc.broker.wire import Answer, Api, Call
from faustc.client.codes import INVALID_GROUP_ID, NONE

API = Api("OffsetCommit", 8, 2, 9)


async def handle(broker: Broker, call: Call) -> Answer:
    """Commit for a member of a group, or for a consumer that is in none."""
    request = call.request
    rows = CommitRows(broker, request.topics)
    who = Committer(
        request.group_id,
        request.generation_id_or_member_epoch,
        request.member_id,
        request.group_instance_id,
    )
    error = INVALID_GROUP_ID if request.group_id is None else NONE
    if not error and not rows.refused:
        error = broker.coordinators.groups.commit(who, rows.offsets, is_old=call.version < 9)
    return wire.answer(call, topics=rows.answer(error))
