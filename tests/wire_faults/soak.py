"""A worker for a long time while a connection of its is cut every second.

python -m tests.wire_faults.soak --minutes 30: memory, descriptors and tasks after the warm-up
are compared with those at the end, and every record that went in must have come out.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import signal
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import confluent_kafka

from faustc.client.admin import Admin, NewTopic
from tests.kafka_cluster import KafkaCluster
from tests.proxy import Proxies
from tests.wire_faults.soak_worker import APP, EVERY_S, PARTITIONS, SOURCE, TABLE, TARGET

KEYS = 1000
GROWTH = 0.05
DRAIN_S = 120
REPORT_S = 60


class Feed(threading.Thread):
    """Writes numbered records by librdkafka, past the proxy, until told to stop."""

    def __init__(self, bootstrap: str, rate: int) -> None:
        super().__init__(name="feed", daemon=True)
        self.sent = 0
        self.by_key: dict[bytes, int] = {}
        self._rate = rate
        self._ending = threading.Event()
        self._producer = confluent_kafka.Producer(
            {"bootstrap.servers": bootstrap, "enable.idempotence": True}
        )

    def run(self) -> None:
        turn_s = 0.1
        while not self._ending.wait(turn_s):
            for _ in range(max(1, int(self._rate * turn_s))):
                key = b"k%d" % random.randrange(KEYS)
                self._producer.produce(SOURCE, b"%d" % self.sent, key)
                self.sent += 1
                self.by_key[key] = self.by_key.get(key, 0) + 1
            self._producer.poll(0)
        left = self._producer.flush(60)
        assert left == 0, f"{left} records were not written by the feed"

    def end(self) -> None:
        self._ending.set()
        self.join(90)


class Output(threading.Thread):
    """Reads what the worker wrote, and what its table's changelog says."""

    def __init__(self, bootstrap: str) -> None:
        super().__init__(name="output", daemon=True)
        self.seen: dict[int, int] = {}
        self.table: dict[bytes, int] = {}
        self._ending = threading.Event()
        self._consumer = confluent_kafka.Consumer(
            {"bootstrap.servers": bootstrap, "group.id": "soak-check", "fetch.wait.max.ms": 100}
        )
        self._changelog = f"{APP}-{TABLE}-changelog"
        self._consumer.assign(
            [
                confluent_kafka.TopicPartition(topic, p, 0)
                for topic in (TARGET, self._changelog)
                for p in range(PARTITIONS)
            ]
        )

    def run(self) -> None:
        while not self._ending.is_set():
            for message in self._consumer.consume(1000, 0.5):
                if message.error() is not None:
                    continue  # the topics may not be there yet
                if message.topic() == TARGET:
                    number = int(message.value())
                    self.seen[number] = self.seen.get(number, 0) + 1
                elif message.value() is not None:
                    self.table[message.key()] = int(message.value())
        self._consumer.close()

    def end(self) -> None:
        self._ending.set()
        self.join(30)


class Soak:
    def __init__(self, minutes: float, rate: int, seed: int) -> None:
        self._length_s = minutes * 60
        self._warm_up_s = min(180.0, self._length_s / 4)
        self._rate = rate
        self._chance = random.Random(seed)
        self._samples: list[dict[str, float]] = []
        self._ended: dict[str, Any] = {}
        self._ready = asyncio.Event()
        self._cuts = 0

    async def run(self) -> int:
        cluster = KafkaCluster(listeners={"PROXY": "PLAINTEXT"}, proxied=["PROXY"])
        await asyncio.to_thread(cluster.start)
        try:
            async with Admin(cluster.bootstrap) as admin:
                names = (SOURCE, TARGET, f"{APP}-{TABLE}-changelog")
                await admin.create_topics([NewTopic(n, PARTITIONS, 1, {}) for n in names])
            async with Proxies(cluster, "PROXY") as proxies:
                with tempfile.TemporaryDirectory(prefix="soak-") as folder:
                    return await self._soak(cluster, proxies, folder)
        finally:
            await asyncio.to_thread(cluster.stop)

    async def _soak(self, cluster: KafkaCluster, proxies: Proxies, folder: str) -> int:
        log = Path(folder, "worker.log")
        with log.open("w") as errors:  # noqa: ASYNC230 - nothing else runs yet
            worker = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.wire_faults.soak_worker"),
                *(proxies.bootstrap, folder),
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
            )
        listening = asyncio.create_task(self._listen(worker))
        feed, output = Feed(cluster.bootstrap, self._rate), Output(cluster.bootstrap)
        try:
            async with asyncio.timeout(60):
                await self._ready.wait()
            feed.start()
            output.start()
            try:
                await self._cut(proxies, worker, output, feed)
            except RuntimeError:
                print((await asyncio.to_thread(log.read_text))[-10_000:])
                raise
            await asyncio.to_thread(feed.end)
            await self._drain(feed, output)
            worker.send_signal(signal.SIGTERM)
            async with asyncio.timeout(60):
                code = await worker.wait()
                await listening
        finally:
            with contextlib.suppress(ProcessLookupError):
                worker.kill()
            await asyncio.to_thread(output.end)
        good = self._judge(feed, output, code)
        if not good:
            print((await asyncio.to_thread(log.read_text))[-5000:])
        return 0 if good else 1

    async def _listen(self, worker: asyncio.subprocess.Process) -> None:
        assert worker.stdout is not None
        async for line in worker.stdout:
            said = json.loads(line)
            if "rss_mib" in said:
                self._samples.append(said)
            elif "ready" in said:
                self._ready.set()
            else:
                self._ended = said

    async def _cut(
        self,
        proxies: Proxies,
        worker: asyncio.subprocess.Process,
        output: Output,
        feed: Feed,
    ) -> None:
        """Cut a connection every second, by FIN or by RST, and say how it goes every minute."""
        began = reported = time.monotonic()
        while (now := time.monotonic()) < began + self._length_s:
            await asyncio.sleep(1)
            if worker.returncode is not None:
                raise RuntimeError(f"the worker ended with {worker.returncode}")
            wires = proxies.wires
            if wires:
                self._chance.choice(wires).cut(reset=self._chance.random() < 0.5)
                self._cuts += 1
            if now >= reported + REPORT_S and self._samples:
                reported = now
                s = self._samples[-1]
                print(
                    f"{(now - began) / 60:5.1f} min: {s['rss_mib']:.1f} MiB, "
                    f"{s['descriptors']} descriptors, {s['tasks']} tasks, {s['threads']} threads; "
                    f"{self._cuts} cuts, {feed.sent} in, {len(output.seen)} out",
                    flush=True,
                )

    async def _drain(self, feed: Feed, output: Output) -> None:
        """Wait until all that went in came out."""
        give_up = time.monotonic() + DRAIN_S
        while len(output.seen) < feed.sent and time.monotonic() < give_up:  # noqa: ASYNC110
            await asyncio.sleep(0.2)
        await asyncio.sleep(2)  # what the changelog still gets

    def _judge(self, feed: Feed, output: Output, code: int) -> bool:
        minute = max(1, int(min(60.0, self._warm_up_s) / EVERY_S))
        warm = [s for s in self._samples if s["at_s"] >= self._warm_up_s]
        first, last = warm[:minute], warm[-minute:]
        lost = feed.sent - len(output.seen)
        repeated = sum(output.seen.values()) - len(output.seen)
        short = sum(output.table.get(k, 0) < n for k, n in feed.by_key.items())
        surplus = sum(output.table.values()) - feed.sent
        print(
            f"{self._cuts} cuts in {self._length_s / 60:g} minutes; {feed.sent} records in, "
            f"{lost} lost, {repeated} repeated; {short} keys of the table too low, "
            f"{surplus} counted twice; worker ended with {code} {self._ended}"
        )
        good = lost == 0 and short == 0 and code == 0 and not self._ended.get("crashed", True)
        for name, unit, allowed in (
            ("rss_mib", "MiB", GROWTH),
            ("descriptors", "", 0.0),
            ("tasks", "", 0.0),
            ("threads", "", 1.0),  # the loops' own pools grow as names are looked up
        ):
            then, now = (statistics.median(s[name] for s in part) for part in (first, last))
            highest = max(s[name] for s in warm)
            growth = now / then - 1
            flat = growth <= allowed
            good = good and flat
            print(
                f"{name}: {then:.1f} {unit} after the warm-up, {now:.1f} at the end "
                f"({growth:+.1%}), {highest:.1f} at most{'' if flat else '   <-- not flat'}"
            )
        return good


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.wire_faults.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--rate", type=int, default=200, help="records a second")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    return asyncio.run(Soak(args.minutes, args.rate, args.seed).run())


if __name__ == "__main__":
    sys.exit(main())
