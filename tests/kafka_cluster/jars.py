"""Fetch Apache Kafka's jars through Maven, once per version, into the git-ignored cache."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
CACHE = ROOT / ".cache" / "kafka"
POM = Path(__file__).with_name("pom.xml")
FETCH_TIMEOUT_S = 900

_NAMED = re.search(r"<kafka\.version>([^<]+)<", POM.read_text(encoding="utf-8"))
assert _NAMED is not None
DEFAULT_VERSION = os.environ.get("FAUSTC_TEST_KAFKA_VERSION") or _NAMED.group(1)


class KafkaUnavailable(Exception):
    """Kafka cannot run here; the message says in one line what is missing and how to get it."""


def java() -> str:
    """Return the java to run; raise KafkaUnavailable when none of version 17 or newer is there."""
    home = os.environ.get("JAVA_HOME")
    found = str(Path(home, "bin", "java")) if home else shutil.which("java")
    if found is None or not Path(found).exists():
        raise KafkaUnavailable(
            "Java 17 is missing: install it (Debian: apt-get install openjdk-17-jre-headless, "
            "macOS: brew install openjdk@17) or set JAVA_HOME"
        )
    said = subprocess.run([found, "-version"], capture_output=True, text=True, timeout=60).stderr
    version = re.search(r'version "(\d+)', said)
    if version is None or int(version.group(1)) < 17:
        raise KafkaUnavailable(
            f"Kafka 4 needs Java 17 or newer and {found} is {said.splitlines()[:1]}: set JAVA_HOME"
        )
    return found


def jars(version: str = DEFAULT_VERSION) -> Path:
    """Return the folder with Kafka's jars, fetched by Maven when it is not there yet."""
    folder = CACHE / version
    done = folder / ".complete"
    if done.exists():
        return folder
    maven = shutil.which("mvn")
    if maven is None:
        raise KafkaUnavailable(
            "Maven is missing: install it "
            "(Debian: apt-get install maven, macOS: brew install maven)"
        )
    java()
    print(f"fetching Apache Kafka {version} (about 43 MB, once) ...", flush=True)
    try:
        subprocess.run(
            [
                maven,
                "-B",
                "-q",
                "-f",
                str(POM),
                f"-Dkafka.version={version}",
                "dependency:copy-dependencies",
                f"-DoutputDirectory={folder}",
            ],
            check=True,
            timeout=FETCH_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    except subprocess.CalledProcessError as exc:
        last = (exc.stdout or "").strip().splitlines()[-1:] or ["no output"]
        raise KafkaUnavailable(f"Maven could not fetch Kafka {version}: {last[0]}") from exc
    done.touch()
    return folder
