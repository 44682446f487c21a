"""Who gets what, over the whole grid of workers, partitions and standbys, as they come and go."""

from __future__ import annotations

import time
import zlib
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faustc.client.copartitioned import Copartitioned
from faustc.client.userdata import Wishes, decode_share, decode_wishes, encode_wishes
from faustc.types import TopicPartition
from tests.unit.client.shared_group import Group, Member

TABLES = frozenset({"a", "b"})  # two topics that change one table
ALL = ("a", "b", "c", "d")


def worker(name: str, standbys: int = 1, **options: object) -> Member:
    return Member(name, ALL, {TABLES: standbys, frozenset({"c"}): 0}, **options)  # type: ignore[arg-type]


def group_of(workers: int, partitions: int, standbys: int, others: int = 0) -> Group:
    counts = {"a": partitions, "b": partitions}
    group = Group({**counts, "c": others, "d": others} if others else counts)
    for n in range(workers):
        group.join(worker(f"w{n}", standbys))
    group.settle()
    return group


def check(group: Group, standbys: int) -> None:
    """What holds of every group that has settled, all members reading the same."""
    expected = Counter(
        TopicPartition(topic, p) for topic, n in group.partitions.items() for p in range(n)
    )
    assert Counter(tp for m in group.members.values() for tp in m.owned) == expected
    readable = {name for name, m in group.members.items() if m.readable}
    if not readable:
        return  # then nobody says what belongs together
    units: Counter[str] = Counter(dict.fromkeys(group.members, 0))
    for topic in group.partitions.keys() - {"b"}:
        of_topic = {
            name: sum(tp.topic == topic for tp in m.owned) for name, m in group.members.items()
        }
        assert max(of_topic.values()) - min(of_topic.values()) <= 1, f"{topic}: {of_topic}"
        units.update(of_topic)
    assert max(units.values()) - min(units.values()) <= 1, units
    for number in range(group.partitions["a"]):
        unit = TopicPartition("a", number)
        owner = group.owner(unit)
        assert owner == group.owner(TopicPartition("b", number)), "they do not meet"
        following = group.standbys(unit)
        assert owner not in following
        assert len(following) == min(standbys, len(readable - {owner}))
    loads = {name: units[name] + len(group.members[name].share.standbys) for name in readable}
    for heavy in readable:
        for light in readable:
            if loads[heavy] - loads[light] > 1:
                for unit in group.members[heavy].share.standbys:
                    assert light == group.owner(unit) or light in group.standbys(unit), loads
    if len(readable) == len(group.members) and "c" not in group.partitions:
        forced = standbys >= len(group.members) - 1  # then everybody has everything
        assert forced or max(loads.values()) - min(loads.values()) <= 1, loads
    for member in group.members.values():
        if member.readable:
            known = {tp: url for url, has in member.share.addresses.items() for tp in has}
            for tp in expected:
                owner = group.owner(tp)
                assert owner is not None
                url = f"http://{owner}" if group.members[owner].readable else ""
                assert known[tp] == url


def as_it_is(group: Group) -> dict[str, tuple[object, object]]:
    return {name: (m.owned, m.share.standbys) for name, m in group.members.items()}


@settings(deadline=None)
@given(
    workers=st.integers(1, 6),
    partitions=st.integers(1, 12),
    standbys=st.integers(0, 3),
    others=st.integers(0, 5),
    moves=st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.booleans()), max_size=4),
    lag=st.sampled_from([0, 5_000, 50_000]),
)
def test_whoever_comes_and_goes_it_is_whole_even_and_settled_after_two_generations(
    workers: int,
    partitions: int,
    standbys: int,
    others: int,
    moves: list[tuple[bool, int, bool]],
    lag: int,
) -> None:
    group = group_of(workers, partitions, standbys, others)
    check(group, standbys)
    gone: list[Member] = []
    for number, (joins, which, readable) in enumerate(moves):
        if joins or len(group.members) == 1:
            back = gone.pop() if gone and which % 2 else worker(f"n{number}", standbys)
            fresh = worker(back.name, standbys, disk=back.disk, readable=readable)
            fresh.disk = {tp: end - lag for tp, end in fresh.disk.items()}
            group.join(fresh)
        else:
            gone.append(group.leave(sorted(group.members)[which % len(group.members)]))
        # Who says nothing does not say what it waits for, so that is thought of anew.
        silent = not all(m.readable for m in group.members.values())
        assert group.settle() <= 2 + silent, "a cooperative move takes two generations"
        check(group, standbys)
        before = as_it_is(group)
        assert group.settle() == 1
        assert as_it_is(group) == before, "nothing has changed, so nothing moves"


@settings(deadline=None)
@given(
    workers=st.integers(2, 6),
    partitions=st.integers(1, 12),
    standbys=st.integers(1, 3),
    which=st.integers(0, 5),
)
def test_when_one_goes_its_standbys_take_over_and_the_others_keep_what_they_have(
    workers: int, partitions: int, standbys: int, which: int
) -> None:
    group = group_of(workers, partitions, standbys)
    name = f"w{which % workers}"
    orphans = {tp for tp in group.members[name].owned if tp.topic == "a"}
    standing = {tp: group.standbys(tp) for tp in orphans}
    kept = {other: m.owned for other, m in group.members.items() if other != name}
    group.leave(name)
    assert group.settle() == 1, "what is free is given at once"
    loads = {other: len(m.owned) // 2 for other, m in group.members.items()}
    for other, before in kept.items():
        assert before <= group.members[other].owned
    for tp in orphans:
        owner = group.owner(tp)
        assert owner is not None
        if owner not in standing[tp]:
            assert all(loads[other] >= loads[owner] for other in standing[tp]), "not promoted"


@settings(deadline=None)
@given(
    workers=st.integers(1, 6),
    partitions=st.integers(1, 12),
    standbys=st.integers(0, 3),
)
def test_only_what_a_newcomer_gets_moves(workers: int, partitions: int, standbys: int) -> None:
    group = group_of(workers, partitions, standbys)
    before = {name: m.owned for name, m in group.members.items()}
    group.join(worker("z", standbys))
    group.settle()
    for name, had in before.items():
        assert group.members[name].owned <= had


def test_idle_workers_hold_the_standbys() -> None:
    group = group_of(workers=5, partitions=2, standbys=1)
    idle = [m for m in group.members.values() if not m.owned]
    assert len(idle) == 3
    assert sum(len(m.share.standbys) for m in idle) == 2


def test_who_comes_back_is_given_what_it_has_on_its_disk() -> None:
    group = group_of(workers=3, partitions=9, standbys=0)
    before = group.members["w1"].owned
    gone = group.leave("w1")
    group.settle()
    group.join(worker("w1-again", 0, disk=gone.disk))
    assert group.settle() == 2
    assert group.members["w1-again"].owned == before


def test_the_most_current_state_wins() -> None:
    group = group_of(workers=3, partitions=1, standbys=0)
    unit = TopicPartition("a", 0)
    owner = group.owner(unit)
    assert owner is not None
    far, near = sorted(group.members.keys() - {owner})
    group.members[far].disk = {unit: 1_000}
    group.members[near].disk = {unit: 900_000}
    group.leave(owner)
    group.settle()
    assert group.owner(unit) == near


def test_who_waits_for_a_partition_follows_its_tables_until_its_owner_has_let_go() -> None:
    group = group_of(workers=1, partitions=4, standbys=1)
    group.join(worker("z"))
    assert group.rebalance()  # w0 lets go
    assert not group.members["z"].owned
    coming = group.members["z"].share.coming
    assert len(coming) == 2
    assert coming <= group.members["z"].share.standbys
    group.rebalance()
    assert {tp for tp in group.members["z"].owned if tp.topic == "a"} == coming


def test_a_unit_is_not_split_between_two_for_a_moment() -> None:
    """Topics that come together while two members have one each: two would change its tables."""
    group = Group({"a": 1, "b": 1})
    for name, topic in (("x", "a"), ("y", "b")):
        member = Member(name, ("a", "b"), {TABLES: 0})
        member.owned = frozenset({TopicPartition(topic, 0)})
        group.join(member)
    group.rebalance()
    assert sum(len(m.owned) for m in group.members.values()) == 1
    group.rebalance()
    assert sorted(len(m.owned) for m in group.members.values()) == [0, 2]


@settings(deadline=None)
@given(
    partitions=st.integers(1, 8),
    standbys=st.integers(0, 2),
    moves=st.lists(
        st.tuples(st.sampled_from(["a", "b", "ab", "go"]), st.integers(0, 5)),
        min_size=1,
        max_size=6,
    ),
)
def test_who_reads_but_some_topics_of_a_table_has_no_part_in_it(
    partitions: int, standbys: int, moves: list[tuple[str, int]]
) -> None:
    """A worker that starts may not know yet of the topic that group_by sends to."""
    group = Group({"a": partitions, "b": partitions})
    whole = Member("whole", ("a", "b"), {TABLES: standbys})
    group.join(whole)
    group.settle()
    for number, (topics, which) in enumerate(moves):
        others = sorted(group.members.keys() - {"whole"})
        if topics != "go":
            group.join(Member(f"m{number}", tuple(topics), {TABLES: standbys}))
        elif others:
            group.leave(others[which % len(others)])
        for _ in range(3):
            again = group.rebalance()
            for n in range(partitions):
                first, second = (group.owner(TopicPartition(t, n)) for t in "ab")
                assert first == second, "two would change one table"
                assert first is None or len(group.members[first].topics) == 2
            if not again:
                break
        group.work()
        assert all(group.owner(TopicPartition("a", n)) for n in range(partitions))
    # Once all read all, all have their part.
    for member in group.members.values():
        member.topics = ("a", "b")
    group.settle()
    parts = [len(m.owned) for m in group.members.values()]
    assert max(parts) - min(parts) <= 2


def test_topics_of_which_nobody_reads_all_go_to_who_reads_them() -> None:
    group = Group({"a": 2, "b": 2})
    group.join(Member("x", ("a",), {TABLES: 0}))
    group.join(Member("y", ("b",), {TABLES: 0}))
    group.settle()
    assert {name: {tp.topic for tp in m.owned} for name, m in group.members.items()} == {
        "x": {"a"},
        "y": {"b"},
    }


def test_a_static_member_that_comes_back_with_another_address_has_it_shared_out_anew() -> None:
    group = group_of(workers=2, partitions=4, standbys=1)
    before = group.members["w1"]
    answer = Copartitioned().assign(
        {name: m.subscription(1) for name, m in group.members.items()}, group.partitions
    )["w1"]
    assert before.assignor.assigned(answer, 1) is None
    back = worker("w1")
    back.assignor.url = "http://elsewhere"
    first = back.subscription(-1)
    # The broker answers with what its former self had.
    assert back.assignor.assigned(answer, 1) is not None
    back.owned = frozenset(answer.partitions)
    # It says something else now, or the broker would not rebalance.
    assert back.subscription(1)._replace(owned=first.owned) != first
    group.members["w1"] = back
    group.rebalance()
    assert back.stale is None
    assert "http://elsewhere" in group.members["w0"].share.addresses


@given(
    data=st.binary(max_size=60)
    | st.sampled_from([b"", b"x\x9cK", encode_wishes(Wishes())[:-3], encode_wishes(Wishes())])
)
def test_what_cannot_be_read_counts_as_nothing_said(data: bytes) -> None:
    group = Group({"a": 3, "b": 3})
    group.join(worker("w0"))
    stranger = worker("w1")
    group.join(stranger)
    said = {name: m.subscription(0) for name, m in group.members.items()}
    said["w1"] = said["w1"]._replace(user_data=data)
    result = Copartitioned().assign(said, group.partitions)
    assert sorted(tp for share in result.values() for tp in share.partitions) == [
        TopicPartition(topic, n) for topic in ("a", "b") for n in range(3)
    ]
    decode_share(data)


@pytest.mark.parametrize(
    "said",
    ['{"groups":[[1,2]]}', '{"held":{"a":[[true,1]]}}', '{"url":1}', "[]", "1", '{"groups":{}}1'],
)
def test_a_word_that_is_none_spoils_what_is_said(said: str) -> None:
    assert decode_wishes(zlib.compress(said.encode())) is None


def test_a_newer_version_may_say_more() -> None:
    said = decode_wishes(zlib.compress(b'{"url":"http://x","hobby":"chess"}'))
    assert said is not None
    assert said.url == "http://x"


def test_a_bomb_is_not_unpacked() -> None:
    bomb = zlib.compress(b'{"url":"' + b"x" * (64 << 20) + b'"}')
    assert decode_wishes(bomb) is None


def test_a_hundred_members_share_a_thousand_partitions_out_in_a_moment() -> None:
    group = Group({"a": 500, "b": 500, "c": 500})
    group.join(worker("first", 2))
    group.settle()
    for n in range(99):
        group.join(worker(f"w{n}", 2))
    began = time.process_time()
    group.rebalance()  # which assigns twice, and decodes for a hundred
    assert time.process_time() - began < 10.0
    group.settle()
    check(group, 2)
    size = sum(len(m.sent or b"") for m in group.members.values())
    assert size < 200_000
