"""One to three Kafka nodes on free loopback ports, as one cluster."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Collection
from pathlib import Path
from types import TracebackType

from .jars import DEFAULT_VERSION
from .node import Node, free_ports

# Small and quick, where that changes no behaviour that a client sees.
SETTINGS = {
    "num.network.threads": "2",
    "num.io.threads": "4",
    "background.threads": "2",
    "num.partitions": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "4",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "broker.heartbeat.interval.ms": "500",
    "broker.session.timeout.ms": "4000",
    "log.retention.hours": "-1",
    "log.cleaner.dedupe.buffer.size": "4194304",
    "log.cleaner.threads": "1",
}


class KafkaCluster:
    """A cluster of our own: start it, kill a node, start that node again, stop it.

    settings override the broker's; transaction_version sets that feature when the
    storage is formatted (0: as brokers before Kafka 4). listeners are those that each
    node has besides the one in the clear: name -> security protocol; how they check who
    connects is up to settings. A listener in proxied advertises a port that is left free
    for a proxy (see tests/proxy.py). Its data is gone when it stops.
    """

    def __init__(
        self,
        nodes: int = 1,
        *,
        version: str = DEFAULT_VERSION,
        transaction_version: int | None = None,
        settings: dict[str, str] | None = None,
        listeners: dict[str, str] | None = None,
        proxied: Collection[str] = (),
        ports: list[int] | None = None,
        heap: str = "512m",
    ) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="faustc-kafka-"))
        chosen = ports or free_ports(nodes)
        controllers = free_ports(nodes)
        ids = range(1, nodes + 1)
        voters = ",".join(f"{i}@127.0.0.1:{p}" for i, p in zip(ids, controllers, strict=True))
        replicas = {
            "offsets.topic.replication.factor": str(nodes),
            "transaction.state.log.replication.factor": str(nodes),
            "transaction.state.log.min.isr": str(min(2, nodes)),
        }
        self.version = version
        self.nodes = {
            i: Node(
                i,
                version=version,
                folder=self._folder / f"node-{i}",
                port=port,
                controller_port=controller,
                voters=voters,
                settings={**SETTINGS, **replicas, **(settings or {})},
                listeners=listeners or {},
                proxied=proxied,
                transaction_version=transaction_version,
                heap=heap,
            )
            for i, port, controller in zip(ids, chosen, controllers, strict=True)
        }

    @property
    def bootstrap(self) -> str:
        return ",".join(node.address for node in self.nodes.values())

    def at(self, listener: str) -> str:
        """Return the bootstrap servers of one of the other listeners."""
        return ",".join(f"127.0.0.1:{n.listener_ports[listener]}" for n in self.nodes.values())

    def start(self) -> KafkaCluster:
        """Start every node and wait until each sees all the others."""
        try:
            for node in self.nodes.values():
                node.spawn()
            for node in self.nodes.values():
                node.wait_ready(len(self.nodes))
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Kill every node (its data is thrown away) and remove the data."""
        for node in self.nodes.values():
            node.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def kill(self, node_id: int) -> None:
        """kill -9 one node."""
        self.nodes[node_id].kill()

    def restart(self, node_id: int) -> None:
        """Start a stopped or killed node again on its old data and port; wait until it is up."""
        node = self.nodes[node_id]
        if node.running:
            node.stop()
        node.spawn()
        node.wait_ready(sum(n.running for n in self.nodes.values()))

    def __enter__(self) -> KafkaCluster:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
