"""Answering requests: what an agent yields goes back to who asked."""

from __future__ import annotations

import concurrent.futures
import logging
from typing import Any

from faustc.exceptions import BrokerError, DecodeError, KafkaTimeout, MessageTooLarge
from faustc.reqrep import ReqRepResponse, Request, error_to, request_in, response_to

__all__ = ["Answers", "refuse", "send_reply"]

logger = logging.getLogger(__name__)


class Answers:
    """Answers the requests in what one actor reads: a reply for each value it yields."""

    def __init__(self, agent: Any, stream: Any) -> None:
        self.agent = agent
        self.stream = stream
        self._answered: Any = None  # the message that has a reply already

    def request(self) -> Request | None:
        """Return the request that the event in hand is, None if it is none."""
        message = self.stream.in_use.in_hand
        return None if message is None else self._request_of(message)

    def _request_of(self, message: Any) -> Request | None:
        headers = message.headers
        if headers and (request := request_in(headers)) is not None:
            return request
        envelopes = self.agent.envelopes
        return envelopes.request_in(message.value, headers or ()) if envelopes.seen else None

    async def give(self, request: Request, value: Any) -> None:
        """Reply to a request with a value; raises TypeError if there is no JSON for it."""
        await self.agent.send_reply(request, response_to(request, self._key(), value))
        self._answered = self.stream.in_use.in_hand

    async def fail(self, error: BaseException) -> None:
        """Reply that the agent raised, to all it has in hand and who care, if not replied to."""
        for _, message in self.stream.in_use.in_hand_with_ledgers:
            request = self._request_of(message)
            if request is not None and request.takes_errors and message is not self._answered:
                await self.agent.send_reply(request, error_to(request, self.agent.name, error))

    def _key(self) -> Any:
        try:
            event = self.stream.in_use.current_event
        except DecodeError:
            return None
        key = None if event is None else event.key
        # As Faust has it: JSON knows no bytes.
        return str(key) if isinstance(key, bytes) else key


def refuse(agent: Any, message: Any, error: BaseException) -> None:
    """Reply, in time for the next commit, that a request does not decode."""
    request = request_in(message.headers or ())
    if request is None or not request.takes_errors:
        return
    response = error_to(request, agent.name, error)
    sent: concurrent.futures.Future[Any] = concurrent.futures.Future()
    agent.app.runner.send_later(sent, lambda: agent.send_reply(request, response))


async def send_reply(app: Any, request: Request, response: ReqRepResponse) -> None:
    """Send a reply; one that cannot be delivered is dropped and said, it is the asker's loss."""
    value = response.dumps()
    try:
        await app.runner.home.run(_send_here, app, request.reply_to, value)
    except (BrokerError, KafkaTimeout, MessageTooLarge) as exc:
        logger.warning(
            "The reply to request %s cannot be delivered to %s: %s",
            request.correlation_id,
            request.reply_to,
            exc,
        )


async def _send_here(app: Any, topic: str, value: bytes) -> None:
    engine = await app.runner.sending_engine()
    await engine.courier.send(topic, value)
