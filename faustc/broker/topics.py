"""The topics of the broker: their names, ids, partitions and settings.

What must outlive the process is one small JSON file, replaced as a whole. A topic's
folder carries its id, so that a deleted topic of the same name leaves nothing behind.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from faustc.broker.log import Log
from faustc.broker.partition import Partition
from faustc.broker.segment import Segment
from faustc.broker.storage import OpenFiles
from faustc.broker.topic_config import TopicConfig
from faustc.types import TopicPartition

logger = logging.getLogger(__name__)

MAX_NAME = 249
MAX_PARTITIONS = 10_000
_LEGAL = re.compile(r"[a-zA-Z0-9._-]+\Z")
_FILE = "topics.json"
_FOLDER = "topics"


def name_problem(name: str) -> str | None:
    """Say why a topic cannot have this name, as Kafka does; None if it can."""
    if not name:
        return "the empty string is not allowed"
    if name in (".", ".."):
        return f"'{name}' is not allowed"
    if len(name) > MAX_NAME:
        return f"the length of '{name}' is longer than the max allowed length {MAX_NAME}"
    if not _LEGAL.match(name):
        return (
            f"'{name}' contains one or more characters other than "
            "ASCII alphanumerics, '.', '_' and '-'"
        )
    return None


class Topic:
    """A topic and its partitions, in order."""

    def __init__(self, name: str, topic_id: uuid.UUID, config: TopicConfig) -> None:
        self.name = name
        self.id = topic_id
        self.config = config
        self.partitions: list[Partition] = []


class Topics:
    """All topics. folder None keeps everything in memory."""

    def __init__(
        self,
        folder: Path | None,
        now_ms: Callable[[], int],
        *,
        on_write: Callable[[Path], None] | None = None,
        on_close: Callable[[Segment], None] | None = None,
    ) -> None:
        self._folder = folder
        self._now_ms = now_ms
        self._on_write = on_write
        self._on_close = on_close
        self._files = OpenFiles()
        self._by_name: dict[str, Topic] = {}
        self._by_id: dict[uuid.UUID, Topic] = {}
        self.cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")

    def __iter__(self) -> Iterator[Topic]:
        return iter(list(self._by_name.values()))

    def __len__(self) -> int:
        return len(self._by_name)

    def get(self, name: str) -> Topic | None:
        """Return a topic by its name, None if there is none."""
        return self._by_name.get(name)

    def by_id(self, topic_id: uuid.UUID | bytes | None) -> Topic | None:
        """Return a topic by its id, None if there is none."""
        if isinstance(topic_id, bytes):
            topic_id = uuid.UUID(bytes=topic_id)
        return None if topic_id is None else self._by_id.get(topic_id)

    def partition(self, name: str, index: int) -> Partition | None:
        """Return a partition, None if there is none."""
        topic = self._by_name.get(name)
        if topic is None or not 0 <= index < len(topic.partitions):
            return None
        return topic.partitions[index]

    def partitions(self) -> Iterator[Partition]:
        """Yield every partition."""
        for topic in self:
            yield from topic.partitions

    # -- opening

    def open(self) -> None:
        """Read what the folder holds and open every log; raises OSError."""
        if self._folder is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            stored = json.loads((self._folder / _FILE).read_text())
        except FileNotFoundError:
            self.save()
            stored = {"topics": {}, "cluster_id": self.cluster_id}
        self.cluster_id = stored["cluster_id"]
        for name, about in stored["topics"].items():
            topic = Topic(name, uuid.UUID(about["id"]), TopicConfig(about["config"]))
            self._add(topic, about["partitions"])
        self._remove_leftovers()

    def _remove_leftovers(self) -> None:
        """Remove folders of topics that were deleted when the process died."""
        assert self._folder is not None
        known = {self._topic_folder(topic) for topic in self}
        if (self._folder / _FOLDER).is_dir():
            for found in (self._folder / _FOLDER).iterdir():
                if found not in known:
                    logger.info("Remove the leftovers of a deleted topic: %s", found.name)
                    shutil.rmtree(found, ignore_errors=True)

    def _topic_folder(self, topic: Topic) -> Path | None:
        if self._folder is None:
            return None
        # A name may fill a file name by itself.
        return self._folder / _FOLDER / f"{topic.name[:200]}.{topic.id.hex[:12]}"

    def _add(self, topic: Topic, partitions: int) -> None:
        self._extend(topic, partitions)
        self._by_name[topic.name] = topic
        self._by_id[topic.id] = topic

    def _extend(self, topic: Topic, partitions: int) -> None:
        folder = self._topic_folder(topic)
        for index in range(len(topic.partitions), partitions):
            log = Log(
                folder / str(index) if folder else None,
                self._files,
                topic.config,
                on_write=self._on_write,
                on_close=self._on_close,
            )
            tp = TopicPartition(topic.name, index)
            partition = Partition(tp, log, topic.config, self._now_ms)
            partition.open()
            topic.partitions.append(partition)

    # -- changing; the caller has checked names and numbers

    def create(self, name: str, partitions: int, config: Mapping[str, str] | None = None) -> Topic:
        """Make a topic; raises OSError, and there is none."""
        topic = Topic(name, uuid.uuid4(), TopicConfig(config))
        self._add(topic, partitions)
        try:
            self.save()
        except OSError:
            del self._by_name[name]
            del self._by_id[topic.id]
            raise
        return topic

    def extend(self, topic: Topic, partitions: int) -> None:
        """Give a topic more partitions; raises OSError, and it has as many as before."""
        before = len(topic.partitions)
        self._extend(topic, partitions)
        try:
            self.save()
        except OSError:
            del topic.partitions[before:]
            raise

    def delete(self, topic: Topic) -> None:
        """Remove a topic and all that it held; who waits for it is woken."""
        del self._by_name[topic.name]
        del self._by_id[topic.id]
        self.save()
        for partition in topic.partitions:
            partition.close()
        folder = self._topic_folder(topic)
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)

    def save(self) -> None:
        """Write down what topics there are; raises OSError, and the old file stays."""
        if self._folder is None:
            return
        content: dict[str, Any] = {
            "cluster_id": self.cluster_id,
            "topics": {
                topic.name: {
                    "id": str(topic.id),
                    "partitions": len(topic.partitions),
                    "config": topic.config.overrides,
                }
                for topic in self
            },
        }
        fresh = self._folder / f"{_FILE}.tmp"
        with open(fresh, "w") as file:
            json.dump(content, file, indent=1)
            file.flush()
            os.fdatasync(file.fileno())
        os.replace(fresh, self._folder / _FILE)

    def close(self) -> None:
        """Wake who waits for a partition and close every file."""
        for partition in self.partitions():
            partition.close()
        self._files.close_all()
