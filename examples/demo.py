"""`make demo`: start a real Kafka and let a worker count the words of the standard library.

Kafka runs on free loopback ports and is gone, data and all, when the demo ends.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from tests.kafka_cluster import DEFAULT_VERSION, KafkaCluster, KafkaUnavailable

WORKER = [sys.executable, "-m", "faustc", "-A", "examples.word_count", "worker", "-l", "info"]


def main() -> int:
    try:
        cluster = KafkaCluster()
        print(f"starting Apache Kafka {DEFAULT_VERSION} ...", flush=True)
        cluster.start()
    except KafkaUnavailable as exc:
        print(exc, file=sys.stderr)
        return 2
    try:
        print(
            f"Kafka is up at {cluster.bootstrap}. The table below is the result: the top words.\n"
            "Ctrl-C ends the worker and Kafka. Other files: FAUSTC_DEMO_FOLDER=DIR make demo",
            flush=True,
        )
        environment = {**os.environ, "BROKER_URL": f"kafka://{cluster.bootstrap.split(',')[0]}"}
        with subprocess.Popen(WORKER, env=environment) as worker:
            # Ctrl-C goes to the worker too (one terminal, one group): wait for its clean end.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, lambda *_: worker.terminate())
            return worker.wait()
    finally:
        cluster.stop()


if __name__ == "__main__":
    sys.exit(main())
