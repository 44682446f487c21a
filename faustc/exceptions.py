"""Every error faustc raises, in one tree.

Who is at fault is the first branch::

    FaustError
    ├── ImproperlyConfigured        the application: a setting, a name, a definition
    │   └── PartitionsMismatch      a topic has not as many partitions as a table
    ├── ValidationError             the application's data does not fit its model
    ├── SecurityError               a protected value (models.tags) used where it may not be
    ├── DecodeError                 a message does not decode
    │   ├── KeyDecodeError
    │   ├── ValueDecodeError
    │   └── DecodeLater             not before a schema has found something out
    ├── NotReady                    asked of something not started, or already stopped
    │   ├── ConsumerNotStarted
    │   └── ProducerClosed
    ├── SchemaRegistryError         a schema registry refused, or was not reached
    ├── StoreError                  the local state of a table cannot be read or written
    │   ├── DataFolderInUse         another process works with the same folder
    │   └── StoreDamaged            what is stored is not what was written
    ├── Skip                        raised by a processor: drop this event
    ├── RequestFailed               an agent raised while it worked on what it was asked
    ├── NoReply                     a request has no reply, and there will be none
    ├── SameNode                    the worker that has a key is this one
    ├── Unrouted                    no worker is known to have a key just now
    ├── OutsideStream               a table is changed where no event is in hand
    └── KafkaError                  the cluster, or the way to it
        ├── ConnectionLost          a socket was refused, cut or closed
        │   └── NoBrokersAvailable  no bootstrap server could be reached
        ├── KafkaTimeout            nobody answered in time
        ├── AuthenticationFailed    one side did not accept who the other is
        ├── CorruptFrame            bytes that are not what they claim to be
        ├── UnsupportedCodec        a compression codec nobody registered
        ├── UnsupportedVersion      the broker lacks an API (version) that we need
        ├── MessageTooLarge         larger than max_request_size
        ├── OffsetOutOfRange        no committed offset, or one the log no longer has
        ├── CommitFailed            the group moved on: these partitions are not ours
        ├── DeliveryFailed          a produced message was given up
        ├── TransactionAborted      the transaction cannot be committed: do its work again
        ├── ProducerFenced          another producer has our transactional id now
        └── BrokerError             the broker answered with an error code
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable


class FaustError(Exception):
    """The root: catching it catches everything faustc raises on purpose."""


class ImproperlyConfigured(FaustError):
    """A setting, name or definition of the application cannot work."""


class PartitionsMismatch(ImproperlyConfigured):
    """A table is changed for an event of a topic that has not as many partitions as the table."""


class OutsideStream(FaustError, TypeError):
    """A table is changed where no event is in hand, so nothing says which partition is meant."""


class ValidationError(FaustError, ValueError):
    """Data does not fit the model it was given for; field is its descriptor, where known."""

    def __init__(self, reason: str, *, field: object = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.field = field


class SecurityError(FaustError):
    """A protected value was used where it may not be, or would be protected twice."""


class SecurityWarning(UserWarning):
    """Something asked for by name lets who writes to a topic run code here."""


class AlreadyConfiguredWarning(UserWarning):
    """Settings are given to an app that was configured already."""


class Skip(FaustError):
    """Raised by a stream processor to drop the current event (it is still acknowledged)."""


class RequestFailed(FaustError):
    """An agent raised while it worked on a request: what `ask` raises then.

    agent is its name; error_type the name of the exception's class, detail its text.
    """

    def __init__(self, *, agent: str, error_type: str, detail: str) -> None:
        super().__init__(f"agent {agent} raised {error_type}{': ' if detail else ''}{detail}")
        self.agent = agent
        self.error_type = error_type
        self.detail = detail


class NoReply(FaustError):
    """A request has no reply, and there will be none: the app stopped, or reply_expires passed."""


class SameNode(FaustError):
    """The worker that has a key is this one: raised by `app.router` instead of asking itself."""


class Unrouted(FaustError, KeyError):
    """No worker is known to have a key just now: the group rebalances, or nobody reads it."""

    def __str__(self) -> str:
        return str(self.args[0])


class DecodeError(FaustError):
    """A message does not decode; carries where it is.

    topic, partition and offset are None when the bytes did not come from Kafka.
    """

    def __init__(
        self,
        reason: str,
        *,
        topic: str | None = None,
        partition: int | None = None,
        offset: int | None = None,
    ) -> None:
        super().__init__(reason)
        self.topic = topic
        self.partition = partition
        self.offset = offset

    def at(self, topic: str | None, partition: int | None, offset: int | None) -> DecodeError:
        """Fill in where the message is, unless that is known; return self."""
        if self.topic is None:
            self.topic, self.partition, self.offset = topic, partition, offset
        return self

    def __str__(self) -> str:
        return _located(self.args[0], self.topic, self.partition, self.offset)


class KeyDecodeError(DecodeError):
    """The key of a message does not decode."""


class ValueDecodeError(DecodeError):
    """The value of a message does not decode."""


class DecodeLater(DecodeError):
    """A message does not decode yet: a schema has to find something out first.

    Await `wait()`, then decode it again. Raised by schemas, and dealt with by streams
    and channels; who decodes by hand without waiting sees it as a DecodeError.
    """

    def __init__(self, reason: str, wait: Callable[[], Awaitable[None]]) -> None:
        super().__init__(reason)
        self.wait = wait


class SchemaRegistryError(FaustError):
    """A schema registry refused something, or was not reached; says which and why.

    status is the HTTP status, None if there was no answer; error_code the registry's own.
    """

    def __init__(
        self, reason: str, *, status: int | None = None, error_code: int | None = None
    ) -> None:
        super().__init__(reason)
        self.status = status
        self.error_code = error_code

    @property
    def retriable(self) -> bool:
        """Whether the same may succeed later: nobody answered, or the registry is in trouble."""
        return self.status is None or self.status == 429 or self.status >= 500


class StoreError(FaustError):
    """The local state of a table cannot be read or written; says where, and why."""


class DataFolderInUse(StoreError):
    """Another process works with the tables in this folder; says which, where that is known.

    folder is the path; pid and host are of the other process, None if it did not leave them.
    """

    def __init__(
        self, reason: str, *, folder: str, pid: int | None = None, host: str | None = None
    ) -> None:
        super().__init__(reason)
        self.folder = folder
        self.pid = pid
        self.host = host


class StoreDamaged(StoreError):
    """What a store reads is not what was written to it.

    It is set aside, and filled anew from its changelog, when it is next opened.
    """


class NotReady(FaustError, RuntimeError):
    """Asked of something that is not started yet, or already stopped."""


class ConsumerNotStarted(NotReady):
    """The consumer is not running."""


class ProducerClosed(NotReady):
    """The producer is not running."""


class KafkaError(FaustError):
    """Anything that went wrong between us and a Kafka cluster.

    retriable says whether the same call may succeed later.
    """

    retriable: bool = False


class ConnectionLost(KafkaError, ConnectionError):
    """A broker's socket was refused, cut or closed."""

    retriable = True


class NoBrokersAvailable(ConnectionLost):
    """None of the bootstrap servers could be reached; names each and why."""


class KafkaTimeout(KafkaError, TimeoutError):
    """A request, or an operation made of several, was not answered in time."""

    retriable = True


class AuthenticationFailed(KafkaError):
    """A broker refused our credentials, or did not prove that it is who it should be.

    broker is its address; mechanism SASL's name, or TLS. Never holds a secret.
    """

    def __init__(self, reason: str, *, broker: str = "", mechanism: str = "") -> None:
        super().__init__(reason)
        self.broker = broker
        self.mechanism = mechanism

    def __str__(self) -> str:
        if not self.broker:
            return str(self.args[0])
        return f"{self.broker}: {self.mechanism} authentication failed: {self.args[0]}"


class CorruptFrame(KafkaError):
    """Bytes from a broker are not what they claim to be.

    topic, partition and offset are None where they are not known; whoever
    learns them fills them in (`at`), so the message always says what is known.
    """

    def __init__(
        self,
        reason: str,
        *,
        topic: str | None = None,
        partition: int | None = None,
        offset: int | None = None,
    ) -> None:
        super().__init__(reason)
        self.topic = topic
        self.partition = partition
        self.offset = offset

    def at(self, topic: str | None, partition: int | None, offset: int | None) -> CorruptFrame:
        """Fill in what is not known yet; return self."""
        if self.topic is None:
            self.topic = topic
            self.partition = partition
        if self.offset is None:
            self.offset = offset
        return self

    def __str__(self) -> str:
        return _located(self.args[0], self.topic, self.partition, self.offset)


class UnsupportedCodec(KafkaError):
    """A batch is compressed by a codec that nobody registered."""


class UnsupportedVersion(KafkaError):
    """The broker does not serve an API, or no version of it that we speak."""


class MessageTooLarge(KafkaError):
    """A message is larger than the producer or the topic allows."""


class OffsetOutOfRange(KafkaError):
    """There is no committed offset, or the log no longer has it, and no reset policy is set.

    offset is the one that was wanted, None when there was none.
    """

    def __init__(
        self,
        reason: str,
        *,
        topic: str | None = None,
        partition: int | None = None,
        offset: int | None = None,
    ) -> None:
        super().__init__(reason)
        self.topic = topic
        self.partition = partition
        self.offset = offset

    def __str__(self) -> str:
        return _located(self.args[0], self.topic, self.partition, self.offset)


class CommitFailed(KafkaError):
    """The group has moved on; these partitions are not ours to commit."""


class DeliveryFailed(KafkaError):
    """A produced message was given up: its delivery timeout passed, or the broker refused it.

    topic and partition say where it was bound to; __cause__ is the last error seen.
    """

    def __init__(
        self, reason: str, *, topic: str | None = None, partition: int | None = None
    ) -> None:
        super().__init__(reason)
        self.topic = topic
        self.partition = partition


class TransactionAborted(KafkaError):
    """The transaction was, or can only be, aborted: none of it is seen; do its work again.

    __cause__ is why.
    """


class ProducerFenced(KafkaError):
    """The producer can do nothing more: another one goes by its transactional id.

    So does its coordinator, when it aborts a transaction that was open for too long.
    """


class BrokerError(KafkaError):
    """A broker answered with an error code (see client/codes.py for the table).

    code is Kafka's number, name its constant, for example 6 and NOT_LEADER_OR_FOLLOWER.
    """

    def __init__(self, code: int, name: str, detail: str = "", *, retriable: bool = False) -> None:
        super().__init__(f"[{code}] {name}" + (f": {detail}" if detail else ""))
        self.code = code
        self.name = name
        self.detail = detail
        self.retriable = retriable


def _located(reason: str, topic: str | None, partition: int | None, offset: int | None) -> str:
    where = []
    if topic is not None:
        where.append(topic if partition is None else f"{topic}/{partition}")
    if offset is not None:
        where.append(f"offset {offset}")
    return f"{reason} ({' '.join(where)})" if where else reason
