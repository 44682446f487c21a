"""Keeps one connection logged in: a login is good for a time, and renewed before it ends (KIP-368).

A broker cuts a connection that goes on after its login ended. It takes a new
login on the same connection at any time, after it answered what was sent before.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Callable

from faustc.client.auth import Ask, Conversation, Login
from faustc.exceptions import ConnectionLost

logger = logging.getLogger(__name__)

# When to renew, as a share of the time that a login is good for; as Kafka's own
# client does. A broker takes it no more often than once a second.
SHARE = (0.85, 0.95)
MIN_INTERVAL_S = 1.1


class Renewal:
    """The login of one connection. Traffic renews it, no timer: an idle connection may end.

    While `alone` is true, nothing but the login's own requests may be sent.
    on_done is called when a renewal ended, with the error that no longer lets
    the connection be used, or None. Owns its task.
    """

    def __init__(
        self, login: Login, broker: str, ask: Ask, on_done: Callable[[BaseException | None], None]
    ) -> None:
        self.alone = False
        self._login = login
        self._broker = broker
        self._ask = ask
        self._on_done = on_done
        self._loop = asyncio.get_running_loop()
        self._due_at = self._ends_at = math.inf
        self._task: asyncio.Task[None] | None = None

    async def log_in(self) -> None:
        """Log in for the first time; raises AuthenticationFailed and what requests raise."""
        await self._carry_out(await self._login.begin(self._broker))

    def look(self, now: float) -> None:
        """Begin to renew if it is time; called with the loop's time before each send."""
        if now < self._due_at:
            return
        self._due_at = math.inf
        self.alone = now >= self._ends_at
        self._task = self._loop.create_task(self._renew(), name=f"login at {self._broker}")
        self._task.add_done_callback(self._done)

    def close(self) -> None:
        """Give up a renewal that is under way."""
        self._due_at = math.inf
        if self._task is not None:
            self._task.cancel()

    async def wait_closed(self) -> None:
        """Wait until its task has ended."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _carry_out(self, conversation: Conversation) -> None:
        good_for_s = await self._login.carry_out(conversation, self._ask, self._broker)
        if good_for_s:
            now = self._loop.time()
            self._due_at = now + max(MIN_INTERVAL_S, random.uniform(*SHARE) * good_for_s)
            self._ends_at = now + good_for_s

    async def _renew(self) -> None:
        try:
            # To fetch a token can take long: what is sent meanwhile is still within the old login.
            conversation = await self._login.begin(self._broker)
        except ConnectionLost as exc:
            left_s = self._ends_at - self._loop.time()
            if left_s < MIN_INTERVAL_S:
                raise
            logger.warning("Not renewed yet, the login ends in %.0f s: %s", left_s, exc)
            self._due_at = self._loop.time() + left_s / 2
            return
        self.alone = True
        await self._carry_out(conversation)

    def _done(self, task: asyncio.Task[None]) -> None:
        self.alone = False
        if not task.cancelled():
            self._on_done(task.exception())
