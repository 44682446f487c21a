"""A store whose process was killed claims no more than it holds (I7)."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from faustc.imports import symbol_by_name
from faustc.testing.stores import changelog
from tests.unit.stores.crashing import CHANGES, KEYS, TP, change, state_at

KILLS = 10  # in each of two ways
ROOT = Path(__file__).parents[3]


drivers = pytest.mark.parametrize(
    "path", ["faustc.stores.rocksdb.RocksDBStore", "faustc.stores.rocksdict.RocksDictStore"]
)
ways = pytest.mark.parametrize("how", ["write", "load"])


@ways
@drivers
def test_killed_at_any_moment(tmp_path: Path, path: str, how: str) -> None:
    chance = random.Random(path + how)
    for _ in range(KILLS):
        # Told, not timed, how far it is; the kill comes somewhere in what it does next.
        confirmed = run_and_kill(tmp_path / "store", path, how, rounds=chance.randrange(4))
        recover(tmp_path / "store", path, confirmed)
    assert [p.name for p in tmp_path.iterdir()] == ["store"], "nothing was set aside"


@ways
@drivers
def test_killed_between_any_two_batches_of_the_database(
    tmp_path: Path, path: str, how: str
) -> None:
    ahead = set()
    for batches in range(1, 8):
        confirmed = run_and_kill(tmp_path / "store", path, how, batches=batches)
        ahead.add(recover(tmp_path / "store", path, confirmed) > 0)
    if how == "write":
        assert ahead == {True, False}, "some of them were in the middle of a write"


@drivers
def test_a_full_disk_is_no_damage(tmp_path: Path, path: str) -> None:
    folder = tmp_path / "store"
    command = [sys.executable, "-m", "tests.unit.stores.crashing", path, str(folder), "full"]
    done = subprocess.run(
        command, capture_output=True, cwd=ROOT, text=True, timeout=120, check=False
    )
    assert done.returncode == 1, done.stderr
    assert "StoreError: the store" in done.stderr
    assert "cannot write" in done.stderr
    told = done.stdout.split()
    confirmed = int(told[-1]) if len(told) > 1 else 0
    assert confirmed > 0
    recover(folder, path, confirmed)
    assert [p.name for p in tmp_path.iterdir()] == ["store"], "nothing was set aside"


def run_and_kill(folder: Path, path: str, how: str, *, rounds: int = 0, batches: int = 0) -> int:
    """Let a child write until it is dead, and return the position that it had told before.

    With batches it kills itself after so many, else we do when it has told rounds of them.
    """
    command = [sys.executable, "-m", "tests.unit.stores.crashing", path, str(folder), how]
    with subprocess.Popen(
        [*command, str(batches)], stdout=subprocess.PIPE, cwd=ROOT, text=True
    ) as child:
        assert child.stdout is not None
        told = [child.stdout.readline() for _ in range(1 + rounds)]
        if not batches:
            child.kill()
        told += child.stdout.readlines()
    assert told[0] == "open\n"
    assert child.returncode == -signal.SIGKILL
    return int(told[-1]) if len(told) > 1 else 0


def recover(folder: Path, path: str, confirmed: int) -> int:
    """Check what a store holds after a crash, and make it whole; return how far ahead it was."""
    store = symbol_by_name(path)(TP, folder, {})
    position = store.position or 0
    assert position >= confirmed, "what was written is there: the process died, not the disk"
    ahead = check_claim(dict(store.items()), position)
    assert ahead <= CHANGES
    # What the changelog repeats from the position on makes it whole.
    end = position + CHANGES
    store.load(changelog([change(offset) for offset in range(position, end)], start=position))
    assert dict(store.items()) == state_at(end)
    assert store.position == end
    store.close()
    return ahead


def check_claim(held: dict[bytes, bytes], position: int) -> int:
    """See that a store holds at least what its position claims; return how far ahead it is.

    A key may have a newer value, from the write that was under way: never an older one.
    """
    claimed = state_at(position)
    ahead = 0
    for number in range(KEYS):
        key = b"%d" % number
        value, expected = held.get(key), claimed.get(key)
        if value == expected:
            continue
        # Which change beyond the position gives what is there?
        candidates = range(position, position + KEYS)
        found = [o for o in candidates if o % KEYS == number and change(o) == (key, value)]
        assert found, f"{key!r} is {value!r}; at {position} it is {expected!r}"
        ahead = max(ahead, found[0] + 1 - position)
    return ahead
