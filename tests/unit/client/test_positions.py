"""Finding where cursors begin: answers that come when nobody wants them any more."""

from __future__ import annotations

import asyncio
from typing import Any

from faustc.client.cursors import Budget, Cursor, State
from faustc.client.positions import Positions
from faustc.types import TopicPartition


async def test_a_cursor_closed_before_it_is_asked_about_is_left_alone() -> None:
    asked: list[Any] = []

    async def committed(wanted: Any) -> Any:
        asked.append(sorted(wanted))
        return dict.fromkeys(wanted)

    budget = Budget(1000, lambda: None)
    gone, stays = (Cursor(TopicPartition("t", n), budget) for n in range(2))
    positions = Positions(
        Any, policy=0, isolation_level=0, committed=committed, settled=lambda cursor: None
    )  # type: ignore[arg-type]
    # Given: a job for both, which has not begun
    job = positions._serve(State.COMMITTED, [gone, stays])
    # When one is not ours any more
    gone.close()
    await job
    # Then only the other is asked about, and placed
    assert asked == [[TopicPartition("t", 1)]]
    assert (gone.state, stays.state) == (State.CLOSED, State.RESET)
    await asyncio.sleep(0)
