"""Two stores have the same fingerprint exactly if they hold the same."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from faustc.stores.fingerprint import fingerprint, fingerprint_of_changelog
from faustc.testing.stores import changelog

states = st.dictionaries(st.binary(max_size=4), st.binary(max_size=4), max_size=6)


@given(first=states, second=states, seed=st.integers())
def test_the_same_exactly_if_the_state_is(
    first: dict[bytes, bytes], second: dict[bytes, bytes], seed: int
) -> None:
    shuffled = list(first.items())
    random.Random(seed).shuffle(shuffled)
    assert fingerprint(first.items()) == fingerprint(shuffled)
    assert (fingerprint(first.items()) == fingerprint(second.items())) == (first == second)


def test_no_byte_moves_from_key_to_value_unseen() -> None:
    same = [{b"ab": b"c"}, {b"a": b"bc"}, {b"": b"abc"}, {b"abc": b""}]
    assert len({fingerprint(state.items()) for state in same}) == 4
    assert fingerprint({b"a": b"1", b"b": b"2"}.items()) != fingerprint(
        {b"a": b"2", b"b": b"1"}.items()
    )


def test_it_stays_what_it_is_from_version_to_version() -> None:
    """It may be compared between workers, which are not all updated at once."""
    assert fingerprint([]) == 0
    assert fingerprint([(b"key", b"value")]) == 0x117B58C9B333465D74B3555489959B92
    assert 0 <= fingerprint((b"%d" % n, b"") for n in range(100)) < 1 << 128


def test_a_changelog_has_the_fingerprint_of_the_state_it_leads_to() -> None:
    records: list[tuple[bytes | None, bytes | None]] = [
        (b"a", b"1"),
        (b"b", b"2"),
        (None, b"3"),
        (b"a", b"4"),
        (b"b", None),
    ]
    assert fingerprint_of_changelog(changelog(records, per_batch=2)) == fingerprint([(b"a", b"4")])
