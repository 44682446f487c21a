"""`make demo`: let a worker count the words of the standard library, on the embedded broker.

`make demo-kafka` does the same on a real Kafka. Either listens on free loopback
ports and is gone, data and all, when the demo ends.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from faustc.broker.folder import Folder
from faustc.broker.launcher import attach
from faustc.exceptions import FaustError
from tests.kafka_cluster import DEFAULT_VERSION, KafkaCluster, KafkaUnavailable

WORKER = [
    sys.executable,
    "-m",
    "faustc",
    "-A",
    "examples.word_count",
    "worker",
    "-l",
    "info",
    "--without-web",
]
STOP_S = 10.0


@contextlib.contextmanager
def embedded() -> Iterator[tuple[str, str]]:
    """Run the embedded broker in a folder of its own; give its URL and what to say of it."""
    path = Path(tempfile.mkdtemp(prefix="faustc-demo-"))
    try:
        hold = attach(path, grace_s=0.0)
        try:
            yield (
                f"embedded://{path}",
                f"The embedded broker is up at {hold.address}. "
                "The same on a real Kafka (Java 17, Maven): make demo-kafka",
            )
        finally:
            hold.release()
            give_up = time.monotonic() + STOP_S
            while Folder(path).read_address() is not None and time.monotonic() < give_up:
                time.sleep(0.05)
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def kafka() -> Iterator[tuple[str, str]]:
    """Run Apache Kafka; give its URL and what to say of it."""
    cluster = KafkaCluster()
    print(f"starting Apache Kafka {DEFAULT_VERSION} ...", flush=True)
    cluster.start()
    try:
        yield f"kafka://{cluster.bootstrap.split(',')[0]}", f"Kafka is up at {cluster.bootstrap}."
    finally:
        cluster.stop()


def main() -> int:
    try:
        with kafka() if "--kafka" in sys.argv[1:] else embedded() as (url, where):
            print(
                f"{where}\nThe table below is the result: the top 20 words. Ctrl-C ends the worker "
                "and the broker. Other files: FAUSTC_DEMO_FOLDER=DIR make demo",
                flush=True,
            )
            with subprocess.Popen(WORKER, env={**os.environ, "BROKER_URL": url}) as worker:
                # Ctrl-C goes to the worker too (one terminal, one group): wait for its clean end.
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                signal.signal(signal.SIGTERM, lambda *_: worker.terminate())
                return worker.wait()
    except (KafkaUnavailable, FaustError) as exc:
        print(exc, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
