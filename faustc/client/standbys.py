"""Who follows the changelogs of whose partitions, to take over when those go.

Pure computation. A standby goes to who is one already, then to who has the most current state,
then to the least loaded, counting partitions and standbys together: so idle members come first.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from faustc.types import TopicPartition

__all__ = ["place_standbys"]

Held = dict[str, set[TopicPartition]]


def place_standbys(
    wanted: Mapping[TopicPartition, int],
    active: Mapping[TopicPartition, str],
    able: Mapping[str, Sequence[str]],
    preferred: Mapping[TopicPartition, Sequence[str]],
    following: Mapping[str, Collection[TopicPartition]],
    loads: Mapping[str, int],
) -> Held:
    """Return the standbys of each member.

    wanted: how many each partition is to have. active: who has it itself, and therefore never
    is its standby. able: who may be one, by topic, in order. preferred: who is or could be one at
    once, the best first; following: who is. loads: what each member has to do already.
    A partition gets as many as there are others; loads end up within one of each other as
    far as moves allow.
    """
    return _Placing(wanted, active, able, preferred, following, loads).done()


class _Placing:
    def __init__(
        self,
        wanted: Mapping[TopicPartition, int],
        active: Mapping[TopicPartition, str],
        able: Mapping[str, Sequence[str]],
        preferred: Mapping[TopicPartition, Sequence[str]],
        following: Mapping[str, Collection[TopicPartition]],
        loads: Mapping[str, int],
    ) -> None:
        self.able = {topic: dict.fromkeys(members) for topic, members in able.items()}
        self.active = active
        self.preferred = preferred
        self.following = following
        self.loads = {m: loads.get(m, 0) for members in able.values() for m in members}
        self.order = {member: place for place, member in enumerate(sorted(self.loads))}
        self.held: Held = {member: set() for member in loads}
        self.who: dict[TopicPartition, set[str]] = {}
        self.left = {
            unit: min(count, len(self.able[unit.topic].keys() - {active.get(unit, "")}))
            for unit, count in sorted(wanted.items())
            if count > 0 and unit.topic in self.able
        }

    def done(self) -> Held:
        self._keep()
        self._fill()
        self._even_out()
        return self.held

    def _may(self, member: str, unit: TopicPartition) -> bool:
        return (
            member in self.able[unit.topic]
            and member != self.active.get(unit)
            and member not in self.who.get(unit, ())
        )

    def _add(self, member: str, unit: TopicPartition) -> None:
        self.held[member].add(unit)
        self.who.setdefault(unit, set()).add(member)
        self.loads[member] += 1

    def _keep(self) -> None:
        """Let who is a standby go on; who has the state becomes one, up to a fair share."""
        total = sum(self.loads.values()) + sum(self.left.values())
        fair = -(-total // len(self.loads)) if self.loads else 0
        for unit in self.left:
            for member in self.preferred.get(unit, ()):
                if not self.left[unit] or not self._may(member, unit):
                    continue
                if self.loads[member] < fair or unit in self.following.get(member, ()):
                    self._add(member, unit)
                    self.left[unit] -= 1

    def _fill(self) -> None:
        for unit, missing in self.left.items():
            owner = self.active.get(unit)
            for _ in range(missing):
                member = min(
                    (m for m in self.able[unit.topic] if self._may(m, unit)),
                    # Not all that one member has by one other: when it goes, all share it.
                    key=lambda m: (self.loads[m], self._of_one(owner, m), self.order[m]),
                )
                self._add(member, unit)

    def _of_one(self, owner: str | None, member: str) -> int:
        """Return how many of a member's standbys are of one other's partitions."""
        return sum(self.active.get(unit) == owner for unit in self.held[member])

    def _even_out(self) -> None:
        # Every round lowers the sum of squared loads, so it ends.
        while True:
            for heavy in sorted(self.loads, key=lambda m: (-self.loads[m], self.order[m])):
                chain = self._chain_to_lighter(heavy)
                if chain:
                    break
            else:
                return
            for giver, unit, taker in chain:
                self.held[giver].remove(unit)
                self.who[unit].remove(giver)
                self.loads[giver] -= 1
                self._add(taker, unit)

    def _chain_to_lighter(self, heavy: str) -> list[tuple[str, TopicPartition, str]]:
        """Find moves (giver, standby, taker) from heavy to a member with two fewer, or []."""
        if self.loads[heavy] - min(self.loads.values()) < 2:
            return []
        came_by: dict[str, tuple[str, TopicPartition]] = {}
        frontier = [heavy]
        while frontier:
            reached: list[str] = []
            for giver in frontier:
                for unit in self._dearest_last(giver):
                    for taker in self._takers(unit, heavy, came_by):
                        came_by[taker] = (giver, unit)
                        reached.append(taker)
            lightest = min(reached, key=lambda m: (self.loads[m], self.order[m]), default=None)
            if lightest is not None and self.loads[heavy] - self.loads[lightest] > 1:
                chain: list[tuple[str, TopicPartition, str]] = []
                taker = lightest
                while taker != heavy:
                    giver, unit = came_by[taker]
                    chain.append((giver, unit, taker))
                    taker = giver
                return chain
            frontier = reached
        return []

    def _takers(self, unit: TopicPartition, heavy: str, seen: Collection[str]) -> list[str]:
        return [
            m for m in self.able[unit.topic] if m not in seen and m != heavy and self._may(m, unit)
        ]

    def _dearest_last(self, member: str) -> list[TopicPartition]:
        """Return a member's standbys, those that it has the state of last."""
        return sorted(
            self.held[member], key=lambda unit: (member in self.preferred.get(unit, ()), unit)
        )
