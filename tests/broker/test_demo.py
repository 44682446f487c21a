"""`make demo` on the embedded broker: it counts right, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def test_the_demo_counts_on_the_embedded_broker_and_leaves_nothing(tmp_path: Path) -> None:
    texts, temporary, counts = tmp_path / "texts", tmp_path / "tmp", tmp_path / "counts.json"
    texts.mkdir()
    temporary.mkdir()
    (texts / "one.py").write_text("to be or not to be\n" * 1000)
    done = subprocess.run(
        [sys.executable, "-m", "examples.demo"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        env={
            **os.environ,
            "TMPDIR": str(temporary),
            "DATADIR": str(tmp_path / "data"),
            "FAUSTC_DEMO_FOLDER": str(texts),
            "FAUSTC_DEMO_EXIT": "1",
            "FAUSTC_DEMO_COUNTS": str(counts),
        },
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(counts.read_text()) == {"to": 2000, "be": 2000, "or": 1000, "not": 1000}
    first = done.stdout.splitlines()[0]
    assert first.startswith("The embedded broker is up at 127.0.0.1:")
    assert first.endswith("The same on a real Kafka (Java 17, Maven): make demo-kafka")
    assert "Traceback" not in done.stderr
    assert list(temporary.iterdir()) == []
