"""Count the words of a folder of text files, through two agents and two topics.

    faustc -A examples.word_count worker -l info

Each line of each file becomes a message keyed by its file. One agent splits lines
into words and sends each word, keyed by itself, to a second topic; another
agent counts what arrives there. So equal words meet in one partition, and with
more workers each would count its own share of the words.

The counts are a plain Counter in memory, hence every run starts from nothing,
with an app id and topics of its own. Variables of the environment:

    BROKER_URL           where Kafka is (kafka://localhost:9092)
    FAUSTC_DEMO_FOLDER   the folder to read (the sources of Python's standard library)
    FAUSTC_DEMO_SUFFIX   which files (.py)
    FAUSTC_DEMO_RUN      the name of the run (made up)
    FAUSTC_DEMO_EXIT     1: end once everything is counted
    FAUSTC_DEMO_COUNTS   a file to write the counts to, as JSON, before that
"""

import asyncio
import json
import os
import re
import secrets
import sysconfig
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

import faustc as faust

FOLDER = Path(os.environ.get("FAUSTC_DEMO_FOLDER") or sysconfig.get_path("stdlib"))
SUFFIX = os.environ.get("FAUSTC_DEMO_SUFFIX") or ".py"
RUN = os.environ.get("FAUSTC_DEMO_RUN") or secrets.token_hex(4)
EXIT = os.environ.get("FAUSTC_DEMO_EXIT") == "1"
COUNTS = os.environ.get("FAUSTC_DEMO_COUNTS")
WORD = re.compile(r"\w+")

app = faust.App(
    f"word-count-{RUN}",
    autodiscover=False,
    worker_redirect_stdouts=False,  # the table is drawn on the terminal, not in the log
)
lines_topic = app.topic(f"word-count-{RUN}-lines", key_type=str, value_type=str)
words_topic = app.topic(f"word-count-{RUN}-words", key_type=str, value_type=str)


class Progress:
    """How far the run is: what was sent, and what of it has arrived."""

    files = 0
    all_read = False
    lines_sent = 0
    lines_split = 0
    words_sent = 0
    words_counted = 0

    @property
    def waiting(self) -> int:
        """Messages that were sent and are not worked on yet: the lag."""
        return self.lines_sent - self.lines_split + self.words_sent - self.words_counted

    @property
    def done(self) -> bool:
        return self.all_read and self.waiting == 0


progress = Progress()
counts: Counter[str] = Counter()
begun = asyncio.Event()  # lines arrive, or there are none


def files(folder: Path = FOLDER, suffix: str = SUFFIX) -> Iterator[Path]:
    """Yield the files to count, without those that were installed into the folder."""
    for path in sorted(folder.rglob(f"*{suffix}")):
        if path.is_file() and "site-packages" not in path.parts:
            yield path


def read_lines(path: Path) -> list[str]:
    """Return the lines of a file; what is no UTF-8 in it becomes question marks."""
    return path.read_text(encoding="utf-8", errors="replace").splitlines()


@app.agent(lines_topic)
async def split(stream: faust.Stream) -> None:
    """Send every word of every line on, keyed by itself."""
    async for lines in stream.take(1_000, within=0.05):
        begun.set()
        words = WORD.findall("\n".join(lines))
        if words:
            await words_topic.send_many(words, keys=words)
        progress.words_sent += len(words)
        progress.lines_split += len(lines)


@app.agent(words_topic)
async def count(stream: faust.Stream) -> None:
    """Count words."""
    async for word in stream:
        counts[word] += 1
        progress.words_counted += 1


@app.task
async def read() -> None:
    """Send every line of every file, keyed by the file."""
    for path in files():
        lines = read_lines(path)
        if lines:
            name = path.relative_to(FOLDER).as_posix()
            await lines_topic.send_many(lines, keys=[name] * len(lines))
        progress.lines_sent += len(lines)
        progress.files += 1
    progress.all_read = True
    if not progress.lines_sent:
        begun.set()


@app.task
async def show() -> None:
    """Draw the table until everything is counted, then say so."""
    began = time.monotonic()
    await begun.wait()  # until partitions are assigned, the terminal is the log's
    with Live(picture(0.0), refresh_per_second=4) as live:
        while not progress.done:
            await asyncio.sleep(0.25)
            live.update(picture(time.monotonic() - began))
        seconds = time.monotonic() - began
        live.update(picture(seconds))
    print(
        f"\nCaught up: {counts.total():,} words ({len(counts):,} different) in "
        f"{progress.lines_sent:,} lines of {progress.files:,} files, counted in {seconds:.1f} s.",
        flush=True,
    )
    if COUNTS:
        await asyncio.to_thread(Path(COUNTS).write_text, json.dumps(counts))
    if EXIT:
        await app.stop()
    else:
        print("Press Ctrl-C to end.", flush=True)


def picture(seconds: float) -> Group:
    """Return the table of the moment."""
    table = Table()
    table.add_column("word", min_width=20)
    table.add_column("count", justify="right", min_width=12)
    for word, number in counts.most_common(20):
        table.add_row(word, f"{number:,}")
    handled = progress.lines_split + progress.words_counted
    rate = handled / seconds if seconds else 0.0
    return Group(
        Text(f"The top 20 words of {FOLDER}"),
        table,
        Text(f"{handled:,} messages, {rate:,.0f} a second, lag {progress.waiting:,}"),
    )


if __name__ == "__main__":
    app.main()
