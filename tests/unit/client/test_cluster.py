"""A snapshot takes what is newer and keeps what is not older."""

from __future__ import annotations

import contextlib
import random
import uuid
from typing import Any

from faustc.client import codes, wire
from faustc.client.cluster import NO_TOPIC_ID, Cluster, Node
from faustc.exceptions import CorruptFrame
from faustc.types import TopicPartition
from tests.unit.client.wire_server import encode_answer

T0 = TopicPartition("t", 0)
T1 = TopicPartition("t", 1)


def partition(number: int, leader: int = 1, epoch: int = 0, error: int = 0) -> dict[str, Any]:
    return {
        "error_code": error,
        "partition_index": number,
        "leader_id": leader,
        "leader_epoch": epoch,
        "replica_nodes": [1, 2],
        "isr_nodes": [1, 2],
        "offline_replicas": [],
    }


def topic(name: str, *partitions: dict[str, Any], topic_id: int = 7, error: int = 0, **more: Any):
    return {
        "name": name,
        "topic_id": uuid.UUID(int=topic_id),
        "error_code": error,
        "is_internal": False,
        "partitions": list(partitions),
        **more,
    }


def answer(*topics: dict[str, Any], version: int = 12, **fields: Any) -> Any:
    """A Metadata answer that really went through bytes."""
    brokers = [
        {"node_id": 1, "host": "one", "port": 9092, "rack": "r1"},
        {"node_id": 2, "host": "two", "port": 9092, "rack": None},
    ]
    whole = {"brokers": brokers, "cluster_id": "c", "controller_id": 2, "topics": list(topics)}
    return wire.decode(
        "Metadata", version, encode_answer("Metadata", version, 1, **{**whole, **fields})
    )


def test_a_snapshot_tells_brokers_topics_leaders_and_ids():
    found = topic("t", partition(1, leader=2, epoch=4), partition(0, epoch=3))

    cluster = Cluster().updated(answer(found), asked=["t"])

    assert cluster.cluster_id == "c"
    assert cluster.controller_id == 2
    assert cluster.brokers == {1: Node(1, "one", 9092, "r1"), 2: Node(2, "two", 9092)}
    assert cluster.topics() == {"t"}
    assert cluster.partitions("t") == (0, 1)
    assert cluster.leader(T0) == (1, 3)
    assert cluster.leader(T1) == (2, 4)
    assert cluster.topic_id("t") == uuid.UUID(int=7).bytes
    assert cluster.topic_name(uuid.UUID(int=7).bytes) == "t"
    assert cluster.partition(T0).isr == (1, 2)


def test_what_is_not_known_is_none_not_an_error():
    cluster = Cluster()

    assert cluster.partitions("t") is None
    assert cluster.leader(T0) is None
    assert cluster.partition(T0) is None
    assert cluster.topic_id("t") == NO_TOPIC_ID
    assert cluster.topic_name(NO_TOPIC_ID) is None
    assert cluster.topic_error("t") == 0


def test_an_answer_from_a_broker_that_is_behind_does_not_turn_a_leader_back():
    now = Cluster().updated(
        answer(topic("t", partition(0, leader=2, epoch=9), partition(1, leader=1, epoch=1))),
        asked=["t"],
    )

    later = now.updated(
        answer(topic("t", partition(0, leader=1, epoch=8), partition(1, leader=2, epoch=2))),
        asked=["t"],
    )

    assert later.leader(T0) == (2, 9)
    assert later.leader(T1) == (2, 2)


def test_partitions_added_do_not_vanish_again():
    now = Cluster().updated(answer(topic("t", partition(0), partition(1))), asked=["t"])

    assert now.updated(answer(topic("t", partition(0))), asked=["t"]).partitions("t") == (0, 1)


def test_a_topic_made_again_under_its_name_starts_anew():
    now = Cluster().updated(
        answer(topic("t", partition(0, epoch=9), partition(1, epoch=9))), asked=["t"]
    )

    later = now.updated(answer(topic("t", partition(0, leader=2), topic_id=8)), asked=["t"])

    assert later.partitions("t") == (0,)
    assert later.leader(T0) == (2, 0)
    assert later.topic_name(uuid.UUID(int=7).bytes) is None
    assert later.topic_name(uuid.UUID(int=8).bytes) == "t"


def test_a_broker_without_topic_ids_may_tell_fewer_partitions():
    two = answer(topic("t", partition(0), partition(1)), version=9)
    one = answer(topic("t", partition(0)), version=9)

    cluster = Cluster().updated(two, asked=["t"])

    assert cluster.topic_id("t") == NO_TOPIC_ID
    assert cluster.topic_names == {}
    assert cluster.updated(one, asked=["t"]).partitions("t") == (0,)


def test_a_partition_without_leader_has_none():
    lost = partition(0, leader=-1, epoch=4, error=codes.LEADER_NOT_AVAILABLE)

    cluster = Cluster().updated(answer(topic("t", lost)), asked=["t"])

    assert cluster.leader(T0) is None
    assert cluster.partitions("t") == (0,)
    assert cluster.partition(T0).error == codes.LEADER_NOT_AVAILABLE


def test_a_deleted_topic_is_gone_and_its_error_is_told():
    now = Cluster().updated(answer(topic("t", partition(0))), asked=["t"])

    gone = topic("t", error=codes.UNKNOWN_TOPIC_OR_PARTITION, topic_id=0)
    later = now.updated(answer(gone), asked=["t"])

    assert later.partitions("t") is None
    assert later.topics() == frozenset()
    assert later.topic_error("t") == codes.UNKNOWN_TOPIC_OR_PARTITION


def test_a_passing_error_keeps_the_leaders():
    now = Cluster().updated(answer(topic("t", partition(0, epoch=3))), asked=["t"])

    passing = topic("t", error=codes.LEADER_NOT_AVAILABLE, topic_id=0)
    later = now.updated(answer(passing), asked=["t"])

    assert later.leader(T0) == (1, 3)
    assert later.topic_id("t") == uuid.UUID(int=7).bytes
    assert later.topic_error("t") == codes.LEADER_NOT_AVAILABLE


def test_topics_not_asked_for_stay_unless_all_were():
    now = Cluster().updated(answer(topic("t", partition(0))), asked=["t"])
    other = answer(topic("u", partition(0), topic_id=9))

    assert now.updated(other, asked=["u"]).topics() == {"t", "u"}
    assert now.updated(other, asked=None).topics() == {"u"}
    assert now.updated(other, asked=["u"]).without(["t"]).topics() == {"u"}


def test_a_snapshot_does_not_change_under_its_reader():
    now = Cluster().updated(answer(topic("t", partition(0, epoch=1))), asked=["t"])

    now.updated(answer(topic("t", partition(0, leader=2, epoch=2))), asked=["t"])
    now.with_leaders({T0: (2, 5)})

    assert now.leader(T0) == (1, 1)


def test_leaders_told_by_other_answers_count_only_when_newer():
    now = Cluster().updated(answer(topic("t", partition(0, epoch=5), partition(1))), asked=["t"])
    third = Node(3, "three", 9092)

    later = now.with_leaders(
        {T0: (3, 6), T1: (3, 0), TopicPartition("x", 0): (3, 1)}, nodes=[third]
    )

    assert later.leader(T0) == (3, 6)
    assert later.leader(T1) == (1, 0)
    assert later.brokers[3] == third
    assert later.partitions("x") is None


def test_brokers_that_cannot_be_dialled_are_left_out():
    odd = [
        {"node_id": 1, "host": "", "port": 9092, "rack": None},
        {"node_id": 2, "host": "two", "port": 0, "rack": None},
        {"node_id": 3, "host": "three", "port": 70000, "rack": None},
        {"node_id": 4, "host": "four", "port": 9092, "rack": None},
    ]

    assert set(Cluster().updated(answer(brokers=odd), asked=[]).brokers) == {4}


def test_an_answer_that_knows_no_brokers_does_not_take_ours():
    now = Cluster().updated(answer(), asked=[])

    assert set(now.updated(answer(brokers=[]), asked=[]).brokers) == {1, 2}


def test_a_damaged_answer_makes_a_snapshot_or_is_refused_and_never_breaks():
    choose = random.Random(11)
    good = answer(topic("t", partition(0), partition(1)), topic("u", partition(0), topic_id=9))
    known = Cluster().updated(good, asked=["t", "u"])
    body = encode_answer(
        "Metadata",
        12,
        1,
        brokers=[{"node_id": 1, "host": "one", "port": 9092, "rack": "r1"}],
        topics=[topic("t", partition(0), partition(1)), topic("u", partition(0), topic_id=9)],
    )
    taken = 0
    for _ in range(3000):
        mutant = bytearray(body)
        for _ in range(choose.randint(1, 3)):
            mutant[choose.randrange(5, len(mutant))] = choose.choice([0, 1, 2, 0x7F, 0x80, 0xFF])
        with contextlib.suppress(CorruptFrame):
            later = known.updated(wire.decode("Metadata", 12, bytes(mutant)), asked=["t"])
            for name in later.topics():
                later.leader(TopicPartition(name, 0))
            taken += 1
    assert taken
