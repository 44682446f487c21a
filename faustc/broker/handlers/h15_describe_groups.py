"""DescribeGroups (15), versions 0 to 6. Left out: access control, so that all is allowed."""

from __future__ import annotations

from typing import Any

from faustc.broker import wire
from faustc.broker.broker import Broker
from faustc.broker.group_state import Member, State
from faustc.broker.wire import Answer, Api, Call
from faustc.client.codes import GROUP_ID_NOT_FOUND, NONE

API = Api("DescribeGroups", 15, 0, 6)

# Numbers of Kafka's AclOperation that there are for a group: READ, DELETE, DESCRIBE,
# DESCRIBE_CONFIGS, ALTER_CONFIGS. kafka-python makes the bit field of the set.
_ALL_OPERATIONS = frozenset({3, 6, 8, 10, 11})


async def handle(broker: Broker, call: Call) -> Answer:
    """Describe groups by name; a name that is unknown is a dead group, or an error (6)."""
    request = call.request
    allowed = _ALL_OPERATIONS if request.include_authorized_operations else None
    groups = [
        {**_describe(broker, name, call.version), "authorized_operations": allowed}
        for name in request.groups
    ]
    return wire.answer(call, groups=groups)


def _describe(broker: Broker, name: str, version: int) -> dict[str, Any]:
    group = broker.coordinators.groups.find(name)
    if group is None:
        missing = version >= 6
        return {
            "error_code": GROUP_ID_NOT_FOUND if missing else NONE,
            "error_message": f"Group {name} not found." if missing else None,
            "group_id": name,
            "group_state": State.DEAD.value,
            "protocol_type": "",
            "protocol_data": "",
            "members": [],
        }
    # What a member subscribes to and got is of a generation: it has to be complete.
    agreed = group.protocol if group.state is State.STABLE else None
    return {
        "error_code": NONE,
        "error_message": None,
        "group_id": name,
        "group_state": group.state.value,
        "protocol_type": group.protocol_type or "",
        "protocol_data": agreed or "",
        "members": [_member(member, agreed) for member in group.members.values()],
    }


def _member(member: Member, agreed: str | None) -> dict[str, Any]:
    return {
        "member_id": member.member_id,
        "group_instance_id": member.instance_id,
        "client_id": member.client_id,
        "client_host": member.client_host,
        "member_metadata": member.protocols.get(agreed, b"") if agreed else b"",
        "member_assignment": member.assignment if agreed else b"",
    }
