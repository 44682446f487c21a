"""What members of a group and their leader tell each other, beside topics and partitions.

Compressed JSON, since Kafka keeps the whole of a group in one record of a megabyte. What cannot
be read (another program's, another version's) counts as nothing said; unknown names are
passed over. What comes out of a few bytes is bounded.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from faustc.types import TopicPartition

__all__ = ["Share", "Wishes", "decode_share", "decode_wishes", "encode_share", "encode_wishes"]

MAX_BYTES = 4 << 20

Group = frozenset[str]
#: What each worker has, by its web address.
Addresses = Mapping[str, frozenset[TopicPartition]]
NONE: Mapping[Any, Any] = MappingProxyType({})


class Wishes(NamedTuple):
    """What a member tells the leader.

    groups: topics that are kept together, and how many standbys they want; sizes: that all of
    its topics with so many partitions are. url: where its web
    server is. held: the partitions whose tables it has some state of, and how far that goes (the
    sum of positions in their changelogs). following: those whose changelogs it follows as
    a standby; coming: those that it waits for, until their owner has let go, as of generation.
    digest stands for what the member wants to be known of it; nudge makes what it says
    differ, without which Kafka would not rebalance for it. producer is the transactional id
    of its producer, empty without; producers those that it knows of; aborted those of them whose
    transactions it has seen to, as the leader.
    """

    groups: Mapping[Group, int] = NONE
    sizes: Mapping[int, int] = NONE
    url: str = ""
    held: Mapping[TopicPartition, int] = NONE
    following: frozenset[TopicPartition] = frozenset()
    coming: frozenset[TopicPartition] = frozenset()
    generation: int = -1
    digest: str = ""
    nudge: int = 0
    producer: str = ""
    producers: frozenset[str] = frozenset()
    aborted: frozenset[str] = frozenset()


class Share(NamedTuple):
    """What the leader tells a member, beside its partitions.

    standbys: whose changelogs it is to follow. coming: what it is to have once its owner has
    let go. addresses: what every member has; a member without a web server is in there by an
    empty URL. counts: how many partitions topics have. digest: what the leader knew of it.
    producers: the transactional ids of all members. gone: those of former ones, whose
    transactions the leader is to abort.
    """

    standbys: frozenset[TopicPartition] = frozenset()
    coming: frozenset[TopicPartition] = frozenset()
    addresses: Addresses = NONE
    counts: Mapping[str, int] = NONE
    digest: str | None = None
    producers: frozenset[str] = frozenset()
    gone: frozenset[str] = frozenset()


def encode_wishes(wishes: Wishes) -> bytes:
    """Return a member's user data."""
    told: dict[str, Any] = {
        "groups": [[standbys, *sorted(g)] for g, standbys in _by_names(wishes.groups)],
        "sizes": sorted(wishes.sizes.items()),
        "url": wishes.url,
        "following": _by_topic(wishes.following),
        "coming": _by_topic(wishes.coming),
        "generation": wishes.generation,
        "digest": wishes.digest,
        "nudge": wishes.nudge,
        "producer": wishes.producer,
        "producers": sorted(wishes.producers),
        "aborted": sorted(wishes.aborted),
    }
    held: dict[str, list[list[int]]] = {}
    for topic, partition in sorted(wishes.held):
        position = wishes.held[TopicPartition(topic, partition)]
        held.setdefault(topic, []).append([partition, position])
    return _packed({**told, "held": held})


def decode_wishes(data: bytes | None) -> Wishes | None:
    """Return what a member said; None if that cannot be read."""
    said = _unpacked(data)
    if said is None:
        return None
    try:
        return Wishes(
            groups={
                frozenset(_text(topic) for topic in topics): max(_number(standbys), 0)
                for standbys, *topics in said.get("groups", [])
            },
            sizes={
                _number(size): max(_number(standbys), 0) for size, standbys in said.get("sizes", [])
            },
            url=_text(said.get("url", "")),
            held={
                TopicPartition(topic, _number(partition)): _number(position)
                for topic, pairs in said.get("held", {}).items()
                for partition, position in pairs
            },
            following=_partitions(said.get("following", {})),
            coming=_partitions(said.get("coming", {})),
            generation=_number(said.get("generation", -1)),
            digest=_text(said.get("digest", "")),
            producer=_text(said.get("producer", "")),
            producers=frozenset(map(_text, said.get("producers", []))),
            aborted=frozenset(map(_text, said.get("aborted", []))),
        )
    except (TypeError, ValueError, AttributeError):
        return None


def encode_addresses(
    topics: Iterable[tuple[Collection[str], Sequence[str | None]]], urls: Mapping[str, str]
) -> dict[str, Any]:
    """Return who has what, for `encode_share`: of topics that go together, each one's owner."""
    names = sorted(set(urls.values()))
    place = {url: at for at, url in enumerate(names)}
    return {
        "urls": names,
        "topics": [
            [sorted(together), [-1 if who is None else place[urls[who]] for who in owners]]
            for together, owners in topics
        ],
    }


def encode_share(
    standbys: Collection[TopicPartition],
    coming: Collection[TopicPartition],
    addresses: Mapping[str, Any],
    digest: str,
    producers: Collection[str] = (),
    gone: Collection[str] = (),
) -> bytes:
    """Return the user data of a member's assignment."""
    told = {
        "standbys": _by_topic(standbys),
        "coming": _by_topic(coming),
        "digest": digest,
        "producers": sorted(producers),
        "gone": sorted(gone),
    }
    return _packed({**told, **addresses})


def decode_share(data: bytes | None) -> Share:
    """Return what the leader said; nothing, if that cannot be read."""
    said = _unpacked(data)
    if said is None:
        return Share()
    try:
        addresses: dict[str, set[TopicPartition]] = {_text(url): set() for url in said["urls"]}
        in_turn = list(addresses)
        counts = {}
        for topics, owners in said["topics"]:
            counts.update(dict.fromkeys(map(_text, topics), len(owners)))
            for number, at in enumerate(owners):
                if _number(at) >= 0:
                    addresses[in_turn[at]].update(TopicPartition(_text(t), number) for t in topics)
        return Share(
            _partitions(said["standbys"]),
            _partitions(said["coming"]),
            {url: frozenset(has) for url, has in addresses.items()},
            counts,
            _text(said["digest"]),
            frozenset(map(_text, said.get("producers", []))),
            frozenset(map(_text, said.get("gone", []))),
        )
    except (TypeError, ValueError, AttributeError, LookupError):
        return Share()


def _packed(said: Mapping[str, Any]) -> bytes:
    return zlib.compress(json.dumps({"version": 1, **said}, separators=(",", ":")).encode(), 6)


def _unpacked(data: bytes | None) -> dict[str, Any] | None:
    try:
        text = zlib.decompressobj().decompress(data or b"", MAX_BYTES)
        said = json.loads(text)
    except (zlib.error, ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) else None


def _by_names(groups: Mapping[Group, int]) -> list[tuple[Group, int]]:
    return sorted(groups.items(), key=lambda item: sorted(item[0]))


def _by_topic(partitions: Iterable[TopicPartition]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for topic, partition in sorted(partitions):
        found.setdefault(topic, []).append(partition)
    return found


def _partitions(said: Mapping[str, Any]) -> frozenset[TopicPartition]:
    return frozenset(
        TopicPartition(topic, _number(number)) for topic, some in said.items() for number in some
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _number(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r} is no number")
    return value
