"""Transactions over a socket: the embedded broker and real Kafka must say the same."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import confluent_kafka
import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka import TopicPartition as ConfluentPartition

from faustc._native.builder import BatchBuilder
from faustc._native.produce import decode_produce, encode_produce
from faustc.client.codes import (
    CONCURRENT_TRANSACTIONS,
    FENCED_INSTANCE_ID,
    ILLEGAL_GENERATION,
    INVALID_PRODUCER_EPOCH,
    INVALID_PRODUCER_ID_MAPPING,
    INVALID_REQUEST,
    INVALID_TRANSACTION_TIMEOUT,
    INVALID_TXN_STATE,
    NONE,
    OPERATION_NOT_ATTEMPTED,
    PRODUCER_FENCED,
    TRANSACTION_ABORTABLE,
    UNKNOWN_MEMBER_ID,
    UNKNOWN_TOPIC_OR_PARTITION,
    UNSTABLE_OFFSET_COMMIT,
)
from tests.broker.raw import Raw
from tests.broker.test_groups import RawMember, make_topic, settled, until

TIMEOUT_MS = 60_000


@pytest.fixture
def topic(bootstrap: str, new_name: Callable[[str], str]) -> str:
    name = new_name("txn")
    make_topic(bootstrap, name, 3)
    return name


@pytest.fixture
def group(new_name: Callable[[str], str]) -> str:
    return new_name("group")


@pytest.fixture
def txn_id(new_name: Callable[[str], str]) -> str:
    return new_name("tid")


@pytest.fixture
def raw(bootstrap: str) -> Iterator[Raw]:
    with Raw(bootstrap) as connection:
        yield connection


class RawProducer:
    """A transactional producer in single requests; each returns its error code."""

    def __init__(self, raw: Raw, txn_id: str) -> None:
        self.raw = raw
        self.txn_id = txn_id
        self.producer_id = -1
        self.epoch = -1
        self.sequence = 0

    def init(self, version: int = 4, **fields: Any) -> int:
        """Initialize; wait, as clients do, while an older transaction is being aborted."""
        give_up_at = time.monotonic() + 15
        while True:
            told = self.raw.ask(
                "InitProducerId",
                version,
                **{
                    "transactional_id": self.txn_id,
                    "transaction_timeout_ms": TIMEOUT_MS,
                    **fields,
                },
            )
            if told.error_code != CONCURRENT_TRANSACTIONS or time.monotonic() > give_up_at:
                break
            time.sleep(0.02)
        if told.error_code == NONE:
            self.producer_id, self.epoch = told.producer_id, told.producer_epoch
            self.sequence = 0
        return int(told.error_code)

    def go_on(self) -> int:
        return self.init(producer_id=self.producer_id, producer_epoch=self.epoch)

    def who(self) -> dict[str, Any]:
        return {
            "transactional_id": self.txn_id,
            "producer_id": self.producer_id,
            "producer_epoch": self.epoch,
        }

    def _patiently(self, ask: Callable[[], int]) -> int:
        # Markers are written after the answer to EndTxn: the next request may be early.
        give_up_at = time.monotonic() + 15
        while (error := ask()) == CONCURRENT_TRANSACTIONS and time.monotonic() < give_up_at:
            time.sleep(0.02)
        return error

    def add(self, topic: str, *partitions: int, version: int = 3) -> int:
        errors = self.add_each([(topic, list(partitions))], version)
        assert len(set(errors.values())) == 1
        return errors.popitem()[1]

    def add_each(self, topics: list[tuple[str, list[int]]], version: int = 3) -> dict[Any, int]:
        who = {f"v3_and_below_{name}": value for name, value in self.who().items()}
        rows = [{"name": name, "partitions": partitions} for name, partitions in topics]
        errors: dict[Any, int] = {}

        def ask() -> int:
            told = self.raw.ask("AddPartitionsToTxn", version, **who, v3_and_below_topics=rows)
            errors.clear()
            for topic in told.results_by_topic_v3_and_below:
                for row in topic.results_by_partition:
                    errors[topic.name, row.partition_index] = row.partition_error_code
            return int(next(iter(errors.values())))

        self._patiently(ask)
        return errors

    def add_group(self, group: str, version: int = 3) -> int:
        return self._patiently(
            lambda: (
                self.raw.ask("AddOffsetsToTxn", version, **self.who(), group_id=group).error_code
            )
        )

    def commit_offset(
        self, group: str, topic: str, offset: int, version: int = 4, **member: Any
    ) -> int:
        row = {"partition_index": 0, "committed_offset": offset, "committed_metadata": ""}
        told = self.raw.ask(
            "TxnOffsetCommit",
            version,
            **self.who(),
            **{"group_id": group, **member},
            topics=[{"name": topic, "partitions": [row]}],
        )
        return int(told.topics[0].partitions[0].error_code)

    def produce(self, topic: str, *values: bytes, partition: int = 0, version: int = 11) -> int:
        builder = BatchBuilder(
            producer_id=self.producer_id,
            producer_epoch=self.epoch,
            base_sequence=self.sequence,
            transactional=True,
        )
        for value in values:
            builder.append(None, value, int(time.time() * 1000))
        frame = encode_produce(
            version,
            77,
            "raw",
            transactional_id=self.txn_id,
            acks=-1,
            timeout_ms=10_000,
            topics=[(topic, bytes(16), [(partition, builder.seal())])],
        )
        (ack,) = decode_produce(self.raw.exchange(frame), version).partitions
        if ack.error == NONE:
            self.sequence += len(values)
        return int(ack.error)

    def end(self, commit: bool = True, version: int = 4) -> int:
        told: Any = None

        def ask() -> int:
            nonlocal told
            told = self.raw.ask("EndTxn", version, **self.who(), committed=commit)
            return int(told.error_code)

        error = self._patiently(ask)
        if version >= 5 and error == NONE:
            if (told.producer_id, told.producer_epoch) != (self.producer_id, self.epoch):
                self.sequence = 0
            self.producer_id, self.epoch = told.producer_id, told.producer_epoch
        return error


@pytest.fixture
def new_producer(raw: Raw, txn_id: str) -> Callable[[], RawProducer]:
    def make() -> RawProducer:
        producer = RawProducer(raw, txn_id)
        assert producer.init() == NONE
        return producer

    return make


def committed_offset(raw: Raw, group: str, topic: str, stable: bool = True) -> int:
    """Return the offset, or the error code, negative and below -1."""
    asked = [{"name": topic, "partition_indexes": [0]}]
    told = raw.ask("OffsetFetch", 7, group_id=group, topics=asked, require_stable=stable)
    row = told.topics[0].partitions[0]
    return -int(row.error_code) if row.error_code else int(row.committed_offset)


def values(
    bootstrap: str, topic: str, count: int, isolation: str = "read_committed"
) -> list[bytes]:
    """Read a topic from its beginning until `count` messages came, and a little on."""
    consumer = confluent_kafka.Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": f"read-{topic}",
            "isolation.level": isolation,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.assign([ConfluentPartition(topic, n, 0) for n in range(3)])
    found: list[bytes] = []
    give_up_at = time.monotonic() + 15
    linger_until = None
    while time.monotonic() < (linger_until or give_up_at):
        message = consumer.poll(0.05)
        if message is not None and not message.error():
            found.append(message.value())
        if linger_until is None and len(found) >= count:
            linger_until = time.monotonic() + 0.3
    consumer.close()
    return found


# -- ids and epochs


@pytest.mark.parametrize("version", range(6))
def test_every_version_of_init_producer_id_gives_ids_and_epochs(raw, txn_id, version):
    first = RawProducer(raw, txn_id)
    assert first.init(version) == NONE
    assert (first.producer_id >= 0, first.epoch) == (True, 0)
    second = RawProducer(raw, txn_id)
    assert second.init(version) == NONE
    assert (second.producer_id, second.epoch) == (first.producer_id, 1)
    plain = RawProducer(raw, txn_id)
    assert plain.init(version, transactional_id=None) == NONE
    assert plain.producer_id != first.producer_id
    assert plain.epoch == 0


def test_bad_initializations_are_refused_by_name(raw, txn_id):
    one = RawProducer(raw, txn_id)
    assert one.init(transactional_id="") == INVALID_REQUEST
    assert one.init(transaction_timeout_ms=0) == INVALID_TRANSACTION_TIMEOUT
    assert one.init(transaction_timeout_ms=900_001) == INVALID_TRANSACTION_TIMEOUT
    assert one.init(producer_id=5, producer_epoch=-1) == INVALID_REQUEST


def test_a_producer_goes_on_as_itself_until_another_one_comes(new_producer):
    first = new_producer()
    before = first.epoch
    assert first.go_on() == NONE
    assert first.epoch == before + 1
    # its answer was lost: it is given again
    lost = first.init(producer_id=first.producer_id, producer_epoch=before)
    assert (lost, first.epoch) == (NONE, before + 1)
    new_producer()
    assert first.go_on() == PRODUCER_FENCED
    fenced = first.init(version=3, producer_id=first.producer_id, producer_epoch=first.epoch)
    assert fenced == INVALID_PRODUCER_EPOCH


@pytest.mark.parametrize("version", range(4))
def test_an_older_producer_is_fenced_in_the_words_of_each_version(new_producer, topic, version):
    old = new_producer()
    new_producer()
    fenced = PRODUCER_FENCED if version >= 2 else INVALID_PRODUCER_EPOCH
    assert old.add(topic, 0, version=version) == fenced
    assert old.add_group("g", version=version) == fenced
    assert old.end(version=version) == fenced
    assert old.produce(topic, b"late") in (INVALID_PRODUCER_EPOCH, INVALID_TXN_STATE)


def test_strangers_are_told_so(new_producer, topic):
    one = new_producer()
    one.producer_id += 1_000_000
    assert one.add(topic, 0) == INVALID_PRODUCER_ID_MAPPING
    assert one.add_group("g") == INVALID_PRODUCER_ID_MAPPING
    assert one.end() == INVALID_PRODUCER_ID_MAPPING
    one.txn_id = "unknown-" + one.txn_id
    assert one.end() == INVALID_PRODUCER_ID_MAPPING


# -- begin and end


@pytest.mark.parametrize("version", range(4))
def test_every_version_commits_and_aborts(bootstrap, new_producer, topic, version):
    one = new_producer()
    for commit, value in ((True, b"a"), (False, b"b"), (True, b"c")):
        assert one.add(topic, 0, 1, version=version) == NONE
        assert one.produce(topic, value) == NONE
        assert one.end(commit, version=version) == NONE
    assert values(bootstrap, topic, 2) == [b"a", b"c"]
    assert values(bootstrap, topic, 3, "read_uncommitted") == [b"a", b"b", b"c"]


def test_ends_that_make_no_sense_are_refused_and_repeated_ones_are_not(new_producer, topic):
    one = new_producer()
    assert one.end() == INVALID_TXN_STATE
    assert one.end(commit=False) == INVALID_TXN_STATE
    one.add(topic, 0)
    assert one.end() == NONE
    assert one.end() == NONE
    assert one.end(commit=False) == INVALID_TXN_STATE
    one.add(topic, 0)
    assert one.end(commit=False) == NONE
    assert one.end(commit=False) == NONE
    assert one.end() == INVALID_TXN_STATE


def test_partitions_are_added_all_or_none(new_producer, topic):
    one = new_producer()
    assert one.add_each([(topic, [0, 99]), (topic + "-unknown", [0])]) == {
        (topic, 0): OPERATION_NOT_ATTEMPTED,
        (topic, 99): UNKNOWN_TOPIC_OR_PARTITION,
        (topic + "-unknown", 0): UNKNOWN_TOPIC_OR_PARTITION,
    }
    assert one.end() == INVALID_TXN_STATE


def test_a_write_outside_of_a_transaction_is_refused(new_producer, topic):
    one = new_producer()
    assert one.produce(topic, b"x", version=10) == INVALID_TXN_STATE
    assert one.produce(topic, b"x", version=11) == TRANSACTION_ABORTABLE
    one.add(topic, 0)
    assert one.produce(topic, b"x", partition=1, version=10) == INVALID_TXN_STATE
    assert one.produce(topic, b"x") == NONE
    assert one.end() == NONE


def test_a_new_producer_aborts_what_the_older_one_left_open(bootstrap, new_producer, topic):
    old = new_producer()
    old.add(topic, 0)
    assert old.produce(topic, b"left") == NONE
    new = new_producer()
    assert new.producer_id == old.producer_id
    assert new.epoch > old.epoch
    assert old.produce(topic, b"late", version=10) in (INVALID_PRODUCER_EPOCH, INVALID_TXN_STATE)
    assert old.end() == PRODUCER_FENCED
    new.add(topic, 0)
    new.produce(topic, b"new")
    assert new.end() == NONE
    assert values(bootstrap, topic, 1) == [b"new"]


# -- version 2 (KIP-890)


def needs_version_2(raw: Raw) -> None:
    if raw.versions(26)[1] < 5:
        pytest.skip("this broker has transactions of version 1 only")


def test_in_version_2_writes_open_and_ends_bump_the_epoch(bootstrap, raw, new_producer, topic):
    needs_version_2(raw)
    one = new_producer()
    epoch = one.epoch
    for commit, value in ((True, b"a"), (False, b"b"), (True, b"c")):
        assert one._patiently(lambda v=value: one.produce(topic, v, version=12)) == NONE
        assert one.end(commit, version=5) == NONE
        epoch += 1
        assert one.epoch == epoch
    assert values(bootstrap, topic, 2) == [b"a", b"c"]


def test_in_version_2_a_repeated_end_is_answered_again_and_nonsense_refused(
    raw, new_producer, topic
):
    needs_version_2(raw)
    one = new_producer()
    assert one.end(version=5) == INVALID_TXN_STATE
    assert one.produce(topic, b"a", version=12) == NONE
    before = one.epoch
    assert one.end(version=5) == NONE
    after, one.epoch = one.epoch, before
    assert one.end(version=5) == NONE
    assert one.epoch == after
    one.epoch = before
    assert one.end(commit=False, version=5) == INVALID_TXN_STATE
    # a late write with the old epoch is fenced
    assert one.produce(topic, b"late", version=12) == INVALID_PRODUCER_EPOCH
    one.epoch = after
    # an abort of nothing bumps
    assert one.end(commit=False, version=5) == NONE
    assert one.epoch == after + 1


def test_in_version_2_offsets_open_a_transaction_too(raw, new_producer, topic, group):
    needs_version_2(raw)
    one = new_producer()
    assert one.commit_offset(group, topic, 9, version=5) == NONE
    assert committed_offset(raw, group, topic) == -UNSTABLE_OFFSET_COMMIT
    assert one.end(version=5) == NONE
    until(lambda: committed_offset(raw, group, topic) == 9)


# -- offsets


@pytest.mark.parametrize("version", range(5))
def test_offsets_show_when_their_transaction_commits(raw, new_producer, topic, group, version):
    one = new_producer()
    for commit, offset, shown in ((True, 3, 3), (False, 5, 3), (True, 7, 7)):
        before = committed_offset(raw, group, topic)
        assert one.add_group(group, version=min(version, 3)) == NONE
        assert one.commit_offset(group, topic, offset, version=version) == NONE
        assert committed_offset(raw, group, topic, stable=False) == before
        assert committed_offset(raw, group, topic) == -UNSTABLE_OFFSET_COMMIT
        assert one.end(commit) == NONE
        until(lambda: committed_offset(raw, group, topic) != -UNSTABLE_OFFSET_COMMIT)
        assert committed_offset(raw, group, topic) == shown


def test_offsets_of_a_group_that_was_not_added_are_refused(new_producer, topic, group):
    one = new_producer()
    assert one.commit_offset(group, topic, 1, version=3) == INVALID_TXN_STATE
    assert one.commit_offset(group, topic, 1, version=4) == TRANSACTION_ABORTABLE


def test_offsets_are_fenced_by_member_and_generation(
    bootstrap, connect, new_producer, topic, group
):
    member = RawMember(connect(bootstrap), group, group_instance_id="i")
    assert member.join() == NONE
    settled(member)
    one = new_producer()
    one.add_group(group)
    who = member.who()

    def commit(**changes: Any) -> int:
        named = {**who, **changes}
        return one.commit_offset(group, topic, 1, **named)

    assert commit() == NONE
    assert commit(generation_id=9) == ILLEGAL_GENERATION
    assert commit(member_id="x") == FENCED_INSTANCE_ID
    assert commit(member_id="x", group_instance_id=None) == UNKNOWN_MEMBER_ID
    assert commit(generation_id=-1, member_id="", group_instance_id=None) == NONE
    assert one.commit_offset(group, topic + "-no", 1, **who) == UNKNOWN_TOPIC_OR_PARTITION
    assert one.end(commit=False) == NONE


# -- librdkafka


def make_producer(bootstrap: str, txn_id: str, **options: Any) -> confluent_kafka.Producer:
    producer = confluent_kafka.Producer(
        {"bootstrap.servers": bootstrap, "transactional.id": txn_id, **options}
    )
    producer.init_transactions(20)
    return producer


def test_librdkafka_commits_aborts_and_goes_on(bootstrap, topic, txn_id):
    producer = make_producer(bootstrap, txn_id)
    for n in range(6):
        producer.begin_transaction()
        for partition in range(3):
            producer.produce(topic, b"%d" % n, partition=partition)
        if n % 3 == 1:
            producer.flush(10)
            producer.abort_transaction(20)
        else:
            producer.commit_transaction(20)
    got = values(bootstrap, topic, 12)
    assert sorted(got) == sorted([b"0", b"2", b"3", b"5"] * 3)


def test_librdkafka_consumes_transforms_and_produces_each_once(
    bootstrap, topic, txn_id, group, new_name
):
    output = new_name("out")
    make_topic(bootstrap, output, 3)
    feed = confluent_kafka.Producer({"bootstrap.servers": bootstrap})
    for n in range(30):
        feed.produce(topic, b"%d" % n, partition=n % 3)
    assert feed.flush(20) == 0

    def run(stop_after: int, *, crash: bool) -> None:
        """Copy messages in transactions of five; maybe die within one."""
        consumer = confluent_kafka.Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": group,
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
            }
        )
        consumer.subscribe([topic])
        producer = make_producer(bootstrap, txn_id)
        copied = 0
        give_up_at = time.monotonic() + 20
        while copied < stop_after and time.monotonic() < give_up_at:
            batch = [m for m in consumer.consume(5, 1.0) if not m.error()]
            if not batch:
                continue
            producer.begin_transaction()
            for message in batch:
                producer.produce(output, message.value(), partition=message.partition())
            positions = consumer.position(consumer.assignment())
            metadata = consumer.consumer_group_metadata()
            producer.send_offsets_to_transaction(
                [p for p in positions if p.offset >= 0], metadata, 20
            )
            copied += len(batch)
            if crash and copied >= stop_after:
                producer.flush(10)
                consumer.close()
                return  # as kill -9 would: the transaction stays open
            producer.commit_transaction(20)
        consumer.close()

    run(10, crash=True)
    run(25, crash=False)
    got = values(bootstrap, output, 30)
    assert sorted(map(int, got)) == list(range(30))


def test_the_older_of_two_librdkafka_producers_is_fenced(bootstrap, topic, txn_id):
    old = make_producer(bootstrap, txn_id)
    old.begin_transaction()
    old.produce(topic, b"old", partition=0)
    old.flush(10)
    new = make_producer(bootstrap, txn_id)
    new.begin_transaction()
    new.produce(topic, b"new", partition=0)
    with pytest.raises(KafkaException) as caught:
        old.commit_transaction(20)
    error = caught.value.args[0]
    assert error.fatal()
    assert error.code() in (KafkaError._FENCED, KafkaError.PRODUCER_FENCED)
    new.commit_transaction(20)
    assert values(bootstrap, topic, 1) == [b"new"]


# -- the embedded broker alone


def test_an_open_transaction_outlives_a_restart_of_the_broker(embedded_private, connect, new_name):
    bootstrap = embedded_private.bootstrap
    topic, group = new_name("txn"), new_name("group")
    make_topic(bootstrap, topic, 3)
    one = RawProducer(connect(bootstrap), new_name("tid"))
    assert one.init() == NONE
    assert one.add(topic, 0, 1) == NONE
    assert one.add_group(group) == NONE
    assert one.produce(topic, b"before") == NONE
    assert one.commit_offset(group, topic, 9) == NONE
    embedded_private.restart()
    one.raw.reconnect()
    # then it is as open as before
    assert committed_offset(one.raw, group, topic) == -UNSTABLE_OFFSET_COMMIT
    assert values(bootstrap, topic, 0) == []
    assert one.produce(topic, b"after") == NONE
    assert one.end() == NONE
    assert committed_offset(one.raw, group, topic) == 9
    assert values(bootstrap, topic, 2)[:2] == [b"before", b"after"]
    # and the next producer has the next epoch, of the same id
    embedded_private.restart()
    new = RawProducer(connect(bootstrap), one.txn_id)
    assert new.init() == NONE
    assert (new.producer_id, new.epoch) == (one.producer_id, one.epoch + 1)


def test_a_transaction_left_open_is_aborted_after_its_time(embedded, connect, new_name):
    # on time: Kafka looks for such ones only every ten seconds
    bootstrap, topic = embedded.bootstrap, new_name("txn")
    make_topic(bootstrap, topic, 3)
    one = RawProducer(connect(bootstrap), new_name("tid"))
    assert one.init(transaction_timeout_ms=300) == NONE
    assert one.add(topic, 0) == NONE
    assert one.produce(topic, b"left") == NONE
    started = time.monotonic()
    # then readers go on after it
    plain = confluent_kafka.Producer({"bootstrap.servers": bootstrap})
    plain.produce(topic, b"next", partition=0)
    plain.flush(10)
    assert values(bootstrap, topic, 1) == [b"next"]
    assert time.monotonic() - started < 20
    assert one.end() == PRODUCER_FENCED
