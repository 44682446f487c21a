"""Asking coordinators for what a transaction needs, and what their refusals mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from faustc.client import codes
from faustc.client.backoff import Backoff, Deadline
from faustc.client.client import TXN, Client
from faustc.client.identity import Persona
from faustc.client.verdict import CONCURRENT_BACKOFF_S
from faustc.exceptions import (
    BrokerError,
    CommitFailed,
    ConnectionLost,
    CorruptFrame,
    KafkaError,
    KafkaTimeout,
    ProducerFenced,
    TransactionAborted,
)

__all__ = ["FENCED", "Asking", "abort_transaction_of", "added_errors", "commit_errors"]

# One attempt; a coordinator that has died is noticed by its connection, one that hangs by this.
ATTEMPT_S = 10.0

FENCED = {codes.PRODUCER_FENCED, codes.INVALID_PRODUCER_EPOCH}
_UNDONE = {
    codes.TRANSACTION_ABORTABLE,
    codes.UNKNOWN_PRODUCER_ID,
    codes.INVALID_PRODUCER_ID_MAPPING,
    codes.OPERATION_NOT_ATTEMPTED,
    codes.TOPIC_AUTHORIZATION_FAILED,
    codes.GROUP_AUTHORIZATION_FAILED,
}
_NOT_MEMBER = {codes.UNKNOWN_MEMBER_ID, codes.ILLEGAL_GENERATION, codes.FENCED_INSTANCE_ID}


class Asking:
    """Asks in the name of one producer, whoever that is just then, again until there is an answer.

    timeout_ms is how long its transactions may be open.
    """

    def __init__(
        self, client: Client, persona: Persona, transactional_id: str, timeout_ms: int
    ) -> None:
        self.transactional_id = transactional_id
        self.timeout_ms = timeout_ms
        self._client = client
        self._persona = persona

    async def ask(
        self,
        name: str,
        kind: str,
        key: str,
        deadline: Deadline,
        *,
        lost: Callable[[], None] = lambda: None,
        errors: Callable[[Any], set[int]] | None = None,
        **fields: Any,
    ) -> Any:
        """Ask a coordinator until it answers; `lost` is called for each answer that did not come.

        Raises KafkaTimeout, ProducerFenced, TransactionAborted, CommitFailed, BrokerError.
        """
        who = self._persona.current
        common = {
            "transactional_id": self.transactional_id,
            "producer_id": who.producer_id,
            "producer_epoch": who.epoch,
        }
        if name == "AddPartitionsToTxn":  # the names of its fields, as we speak it
            common = {f"v3_and_below_{field}": value for field, value in common.items()}
        backoff = Backoff(0.05, 1.0)
        cause: Exception | None = None
        while True:
            if cause is not None and deadline.expired():
                raise KafkaTimeout(
                    f"{name} of {self.transactional_id} was not done within {deadline.timeout_s:g} "
                    f"s: {cause}"
                ) from cause
            try:
                answer = await self._client.request(
                    name,
                    node=(kind, key),
                    timeout_s=max(min(deadline.left(), ATTEMPT_S), 0.001),
                    retry=False,
                    **{**common, **fields},
                )
            except (ConnectionLost, KafkaTimeout, CorruptFrame) as exc:
                lost()
                self._client.forget_coordinator(kind, key)
                self._client.request_refresh()
                cause = exc
                await deadline.sleep(backoff.next())
                continue
            except BrokerError as exc:  # who coordinates it could not be found out
                if not exc.retriable:
                    raise
                cause = exc
                await deadline.sleep(backoff.next())
                continue
            found = {answer.error_code} if errors is None else errors(answer)
            found.discard(codes.NONE)
            if not found:
                return answer
            code = min(found, key=codes.retriable)
            known = codes.lookup(code)
            error = codes.error_for(code, f"{name} of {self.transactional_id}")
            if not known.retriable:
                raise self._judge(code, error)
            if known.refresh == "coordinator":
                self._client.forget_coordinator(kind, key)
            cause = error
            if code == codes.CONCURRENT_TRANSACTIONS:
                await deadline.sleep(CONCURRENT_BACKOFF_S)
            else:
                await deadline.sleep(backoff.next())

    def _judge(self, code: int, error: BrokerError) -> KafkaError:
        """Return what a refusal means."""
        if code in FENCED:
            return self.fenced_by(error)
        if code in _NOT_MEMBER:
            failed = CommitFailed(f"the group has moved on: {error}")
            failed.__cause__ = error
            return failed
        if code in _UNDONE or code == codes.INVALID_TXN_STATE:
            aborted = TransactionAborted(str(error))
            aborted.__cause__ = error
            return aborted
        return error

    def fenced_by(self, error: KafkaError) -> ProducerFenced:
        fenced = ProducerFenced(
            f"{self.transactional_id}: another producer goes by this id, or the coordinator has "
            f"aborted the transaction, which was open for too long ({self.timeout_ms} ms): {error}"
        )
        fenced.__cause__ = error
        return fenced


async def abort_transaction_of(client: Client, transactional_id: str, timeout_s: float) -> None:
    """Abort what the producer of an id left open; should it live, it can do nothing more.

    Raises KafkaTimeout, BrokerError.
    """
    asking = Asking(client, Persona(idempotent=True, transactional=True), transactional_id, 60_000)
    await asking.ask(
        "InitProducerId",
        TXN,
        transactional_id,
        Deadline(timeout_s),
        transaction_timeout_ms=asking.timeout_ms,
    )


def added_errors(answer: Any) -> set[int]:
    """Return the codes in an answer to AddPartitionsToTxn."""
    return {
        part.partition_error_code
        for topic in answer.results_by_topic_v3_and_below
        for part in topic.results_by_partition
    }


def commit_errors(answer: Any) -> set[int]:
    """Return the codes in an answer to TxnOffsetCommit."""
    return {part.error_code for topic in answer.topics for part in topic.partitions}
