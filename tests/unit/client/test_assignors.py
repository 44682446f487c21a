"""The assignors: every partition once, balanced, sticky, and two-step when cooperative."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faustc.client import assignors
from faustc.client.assignors import (
    Assignment,
    Assignor,
    CooperativeSticky,
    Sticky,
    Subscription,
    assignor,
    decode_previous,
    encode_previous,
)
from faustc.exceptions import ImproperlyConfigured
from faustc.types import TopicPartition

NAMES = ["range", "roundrobin", "sticky", "cooperative-sticky"]
TOPICS = ["t0", "t1", "t2", "t3"]

counts = st.dictionaries(st.sampled_from(TOPICS), st.integers(1, 12), min_size=1)
member_ids = st.integers(1, 7)


def uniform(members: int, topics: Mapping[str, int]) -> dict[str, Subscription]:
    return {f"m{n}": Subscription(tuple(sorted(topics))) for n in range(members)}


def all_partitions(counts: Mapping[str, int]) -> set[TopicPartition]:
    return {TopicPartition(t, p) for t, n in counts.items() for p in range(n)}


def given_out(result: Mapping[str, Assignment]) -> Counter[TopicPartition]:
    return Counter(tp for share in result.values() for tp in share.partitions)


def spread(result: Mapping[str, Assignment]) -> int:
    loads = [len(share.partitions) for share in result.values()]
    return max(loads) - min(loads)


@st.composite
def mixed_groups(draw: st.DrawFn) -> tuple[dict[str, Subscription], dict[str, int]]:
    """Members with different subscriptions, some static, some to topics that do not exist."""
    partitions = draw(counts)
    members = {}
    for n in range(draw(member_ids)):
        topics = draw(st.lists(st.sampled_from([*TOPICS, "missing"]), unique=True))
        instance = draw(st.sampled_from([None, f"static-{n}"]))
        members[f"m{n}"] = Subscription(tuple(topics), group_instance_id=instance)
    return members, partitions


@pytest.mark.parametrize("name", NAMES)
@given(group=mixed_groups())
def test_every_wanted_partition_goes_once_to_a_member_that_wants_it(name, group):
    members, partitions = group
    result = assignor(name).assign(members, partitions)
    assert set(result) == set(members)
    wanted = {topic for member in members.values() for topic in member.topics}
    expected = {tp for tp in all_partitions(partitions) if tp.topic in wanted}
    assert given_out(result) == Counter(expected)
    for member, share in result.items():
        assert {tp.topic for tp in share.partitions} <= set(members[member].topics)


@pytest.mark.parametrize("name", ["roundrobin", "sticky", "cooperative-sticky"])
@given(members=member_ids, partitions=counts)
def test_equal_subscriptions_differ_by_at_most_one_partition(name, members, partitions):
    result = assignor(name).assign(uniform(members, partitions), partitions)
    assert spread(result) <= 1


@given(members=member_ids, count=st.integers(1, 20))
def test_range_is_balanced_over_one_topic_and_contiguous(members, count):
    result = assignor("range").assign(uniform(members, {"t0": count}), {"t0": count})
    assert spread(result) <= 1
    for share in result.values():
        numbers = [tp.partition for tp in share.partitions]
        assert not numbers or numbers == list(range(numbers[0], numbers[-1] + 1))


def test_range_gives_topics_of_one_size_the_same_split():
    result = assignor("range").assign(uniform(3, {"a": 7, "b": 7}), {"a": 7, "b": 7})
    for share in result.values():
        mine = {topic: [p for t, p in share.partitions if t == topic] for topic in ("a", "b")}
        assert mine["a"] == mine["b"]


def test_a_static_member_keeps_its_place_under_a_new_member_id():
    before = assignor("range").assign(
        {
            "x": Subscription(("t",), group_instance_id="one"),
            "y": Subscription(("t",), group_instance_id="two"),
        },
        {"t": 4},
    )
    after = assignor("range").assign(
        {
            "zzz": Subscription(("t",), group_instance_id="one"),
            "y": Subscription(("t",), group_instance_id="two"),
        },
        {"t": 4},
    )
    assert before["x"] == after["zzz"]


def rejoin(
    members: Mapping[str, Subscription], held: Mapping[str, Assignment], generation: int
) -> dict[str, Subscription]:
    """What the members say next, having got `held` (cooperative: they own it still)."""
    return {
        name: sub._replace(owned=frozenset(held[name].partitions), generation=generation)
        if name in held
        else sub
        for name, sub in members.items()
    }


def settle(
    members: Mapping[str, Subscription],
    partitions: Mapping[str, int],
    held: Mapping[str, Assignment],
    generation: int = 1,
) -> tuple[dict[str, Assignment], int]:
    """Run cooperative rebalances until nobody lets anything go; count them."""
    rounds = 0
    while True:
        rounds += 1
        assert rounds < 5, "a cooperative rebalance that does not settle"
        said = rejoin(members, held, generation)
        result = CooperativeSticky().assign(said, partitions)
        for name, share in result.items():
            for other, sub in said.items():
                if other != name:
                    taken = set(share.partitions) & sub.owned - said[name].owned
                    assert not taken, f"{name} was given {taken} while {other} owned it"
        let_go = any(said[name].owned - set(result[name].partitions) for name in result)
        held, generation = result, generation + 1
        if not let_go:
            return result, rounds


@given(first=member_ids, second=member_ids, partitions=counts)
def test_cooperative_rebalance_moves_the_fewest_partitions_in_two_steps(first, second, partitions):
    old, _ = settle(uniform(first, partitions), partitions, {})
    new, rounds = settle(uniform(second, partitions), partitions, old)
    assert rounds <= 2
    assert spread(new) <= 1
    assert given_out(new) == Counter(all_partitions(partitions))
    total = sum(partitions.values())
    if second >= first:
        kept = sum(len(set(old[m].partitions) & set(new[m].partitions)) for m in old)
        # Each old member keeps up to its new share, and the larger shares stay with old members.
        floor, extra = divmod(total, second)
        most_first = sorted((len(old[m].partitions) for m in old), reverse=True)
        best = sum(min(n, floor + (i < extra)) for i, n in enumerate(most_first))
        assert kept == best
    else:
        for m in new:
            assert set(old[m].partitions) <= set(new[m].partitions)


@given(first=member_ids, second=member_ids, partitions=counts)
def test_eager_sticky_remembers_through_user_data(first, second, partitions):
    parties: dict[str, Sticky] = {f"m{n}": Sticky() for n in range(max(first, second))}

    def generation(number: int, size: int) -> dict[str, Assignment]:
        topics = tuple(partitions)
        members = {
            f"m{n}": Subscription(topics, parties[f"m{n}"].user_data(topics, (), number))
            for n in range(size)
        }
        result = Sticky().assign(members, partitions)
        for name, share in result.items():
            parties[name].assigned(share, number)
        return result

    old = generation(1, first)
    new = generation(2, second)
    assert spread(new) <= 1
    assert given_out(new) == Counter(all_partitions(partitions))
    if second == first:
        assert new == old
    elif second < first:
        for m in new:
            assert set(old[m].partitions) <= set(new[m].partitions)


@settings(max_examples=200)
@given(group=mixed_groups(), data=st.data())
def test_unequal_subscriptions_leave_no_single_move_that_would_even_out(group, data):
    members, partitions = group
    owners = {
        tp: data.draw(st.sampled_from(sorted(members))) for tp in sorted(all_partitions(partitions))
    }
    shares = assignors.balance(members, partitions, owners)
    for share in shares.values():
        for light, other in shares.items():
            if len(share) - len(other) > 1:
                movable = {tp.topic for tp in share} & set(members[light].topics)
                assert not movable


def test_a_chain_of_moves_evens_out_what_one_move_cannot():
    # a and c have no topic in common: b passes one on.
    members = {
        "a": Subscription(("x",)),
        "b": Subscription(("x", "y")),
        "c": Subscription(("y",)),
    }
    owners = {TopicPartition("x", p): "a" for p in range(3)}
    owners |= {TopicPartition("y", p): "b" for p in range(2)}
    owners |= {TopicPartition("y", 2): "c"}
    shares = assignors.balance(members, {"x": 3, "y": 3}, owners)
    assert sorted(len(share) for share in shares.values()) == [2, 2, 2]


def test_the_newest_generation_is_believed_over_a_zombie():
    p = TopicPartition("t0", 0)
    members = {
        "zombie": Subscription(("t0",), owned=frozenset({p}), generation=3),
        "owner": Subscription(("t0",), owned=frozenset({p}), generation=7),
    }
    result = CooperativeSticky().assign(members, {"t0": 2})
    assert p in result["owner"].partitions
    assert p not in result["zombie"].partitions


def test_two_claims_of_one_generation_count_as_none_and_are_given_to_one_of_them():
    p = TopicPartition("t0", 0)
    members = {
        name: Subscription(("t0",), owned=frozenset({p}), generation=3) for name in ("a", "b")
    }
    result = CooperativeSticky().assign(members, {"t0": 1})
    assert given_out(result) == Counter([p])


def test_an_old_members_generation_is_read_from_its_user_data():
    p = TopicPartition("t0", 0)
    old_java = struct.pack(">i", 9)
    old_librdkafka = encode_previous([p], 9)
    for data in (old_java, old_librdkafka):
        members = {
            "a": Subscription(("t0",), data, owned=frozenset({p})),
            "b": Subscription(("t0",), owned=frozenset({p}), generation=8),
        }
        assert p in CooperativeSticky().assign(members, {"t0": 1})["a"].partitions


# Bytes as the Java StickyAssignor writes them: [{"orders": [0, 2]}], generation 5.
JAVA_V1 = bytes.fromhex("00000001 0006 6f7264657273 00000002 00000000 00000002 00000005")


def test_sticky_user_data_is_what_java_reads_and_writes():
    held = [TopicPartition("orders", 0), TopicPartition("orders", 2)]
    assert encode_previous(held, 5) == JAVA_V1
    assert decode_previous(JAVA_V1) == (held, 5)
    assert decode_previous(JAVA_V1[:-4]) == (held, -1)  # version 0 has no generation


@given(st.binary(max_size=64))
def test_hostile_user_data_never_stops_the_leader(data):
    for name in NAMES:
        members = {"a": Subscription(("t0",), data), "b": Subscription(("t0",))}
        result = assignor(name).assign(members, {"t0": 2})
        assert given_out(result) == Counter(all_partitions({"t0": 2}))


def test_a_truncation_of_user_data_is_not_half_believed():
    for cut in range(len(JAVA_V1) - 4):
        assert decode_previous(JAVA_V1[:cut]) == ([], -1)


def test_an_unknown_assignor_is_refused_with_the_names_there_are():
    with pytest.raises(ImproperlyConfigured, match="cooperative-sticky"):
        assignor("cooperative")


@pytest.mark.parametrize("name", NAMES)
def test_known_assignors_fit_the_protocol(name):
    made: Assignor = assignor(name)
    assert made.name == name
    assert made.cooperative == (name == "cooperative-sticky")
