"""Topics that belong together: one member has the partitions of one number, of all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from faustc.client.assignors import Assignment, CooperativeSticky, Subscription
from faustc.client.copartitioned import Copartitioned
from faustc.types import TopicPartition

TOPICS = ("t0", "t1", "t2", "t3")


def settle(
    size: int,
    partitions: Mapping[str, int],
    groups: Mapping[str, frozenset[str]],
    held: Mapping[str, Assignment],
) -> dict[str, Assignment]:
    """Let a group of so many members rebalance until nobody lets anything go."""
    for _ in range(4):
        members = {}
        for n in range(size):
            one = Copartitioned()
            one.groups = dict.fromkeys(groups.values(), 0) if n == 0 else {}  # one knows
            owned = held[f"m{n}"].partitions if f"m{n}" in held else ()
            members[f"m{n}"] = Subscription(
                TOPICS, one.user_data(TOPICS, owned, 1), frozenset(owned), 1
            )
        result = Copartitioned().assign(members, partitions)
        for name, share in result.items():
            for other in members:
                taken = set(share.partitions) & members[other].owned
                assert other == name or not taken, "given on before it was free"
        gone = any(members[name].owned - set(result[name].partitions) for name in result)
        held = result
        if not gone:
            return result
    raise AssertionError("does not settle")


counts = st.fixed_dictionaries(dict.fromkeys(TOPICS, st.integers(1, 8)))
sizes = st.integers(1, 5)


@given(first=sizes, second=sizes, partitions=counts, equal=st.integers(1, 8))
def test_one_member_has_what_belongs_together(
    first: int, second: int, partitions: dict[str, int], equal: int
) -> None:
    partitions = {**partitions, "t0": equal, "t1": equal}
    apart = settle(first, partitions, {}, {})
    groups = {"a": frozenset({"t0", "t1"}), "b": frozenset({"t1", "missing"})}
    for result in (
        settle(first, partitions, groups, apart),
        settle(second, partitions, groups, settle(first, partitions, groups, apart)),
    ):
        given_out = Counter(tp for share in result.values() for tp in share.partitions)
        assert given_out == Counter(
            TopicPartition(topic, p) for topic, n in partitions.items() for p in range(n)
        )
        for share in result.values():
            mine = {t: {p for topic, p in share.partitions if topic == t} for t in TOPICS}
            assert mine["t0"] == mine["t1"]


@given(size=sizes, partitions=counts)
def test_without_groups_it_shares_out_as_cooperative_sticky_does(
    size: int, partitions: dict[str, int]
) -> None:
    result = settle(size, partitions, {}, {})
    members = {f"m{n}": Subscription(TOPICS) for n in range(size)}
    expected = CooperativeSticky().assign(members, partitions)
    assert {m: set(a.partitions) for m, a in result.items()} == {
        m: set(a.partitions) for m, a in expected.items()
    }


@given(data=st.binary() | st.sampled_from([b"1", b'{"a":1}', b'[["t0",[]],3,null]', b"\xff"]))
def test_a_strangers_user_data_does_no_harm(data: bytes) -> None:
    members = {"m0": Subscription(TOPICS, data), "m1": Subscription(TOPICS, None)}
    result = Copartitioned().assign(members, {"t0": 4})
    assert sorted(p for share in result.values() for _, p in share.partitions) == [0, 1, 2, 3]
