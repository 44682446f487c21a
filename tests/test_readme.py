"""The README's examples are the programs it says they are."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import faustc
from faustc.client import Consumer, Producer
from tests.conftest import Kafka

README = Path(__file__).parent.parent / "README.md"
APP, CLIENT = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.S)


@pytest.mark.kafka
async def test_the_application_runs_as_it_stands(
    kafka: Kafka, new_name: Callable[[str], str], tmp_path: Path
) -> None:
    # Names of its own, since the cluster is shared; all else is the README's.
    app_id, small, large = new_name("hello"), new_name("orders"), new_name("large")
    text = APP.replace('"hello"', repr(app_id)).replace('"orders"', repr(small))
    text = text.replace('"large-orders"', repr(large))
    text = text.replace("kafka://localhost:9092", f"kafka://{kafka.bootstrap.split(',')[0]}")
    (tmp_path / "hello.py").write_text(text, encoding="utf-8")
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "faustc", "-A", "hello", "worker", "-l", "info",
        cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(README.parent), "WEB_PORT": "0"},
    )  # fmt: skip
    try:
        async with (
            Producer(bootstrap_servers=kafka.bootstrap) as producer,
            Consumer(
                large, bootstrap_servers=kafka.bootstrap, auto_offset_reset="earliest"
            ) as consumer,
        ):
            await producer.send_and_wait(small, b'{"account": "a", "amount": 5}')
            await producer.send_and_wait(small, b'{"account": "b", "amount": 5000}')
            async with asyncio.timeout(60):
                message = await consumer.getone()
        assert message.key == b'"b"'
        assert b"5000" in (message.value or b"")
        worker.terminate()
        async with asyncio.timeout(30):
            assert await worker.wait() == 0
    finally:
        if worker.returncode is None:
            worker.kill()
            await worker.wait()


@pytest.mark.kafka
async def test_the_client_example_runs_as_it_stands(
    kafka: Kafka, new_name: Callable[[str], str]
) -> None:
    text = CLIENT.replace('"greetings"', repr(new_name("greetings")))
    text = text.replace('"readme"', repr(new_name("readme")))
    namespace: dict[str, object] = {"__name__": "readme"}
    exec(compile(text, "README.md", "exec"), namespace)
    main = namespace["main"]
    assert callable(main)
    async with asyncio.timeout(60):
        assert sorted(await main(kafka.bootstrap)) == [b"bonjour", b"hej", b"hello"]


def test_the_import_named_by_the_readme_is_this_package() -> None:
    assert "import faustc as faust" in APP
    assert faustc.App.__module__ == "faustc.app"


def seconds_for(imports: str, cache: Path) -> float:
    code = f"import time; t = time.perf_counter(); {imports}; print(time.perf_counter() - t)"
    # As it is from the second time on: an environment may forbid to keep what was compiled.
    env = {**os.environ, "PYTHONPYCACHEPREFIX": str(cache)}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    return float(subprocess.check_output([sys.executable, "-c", code], env=env, timeout=120))


def test_importing_it_costs_little(tmp_path: Path) -> None:
    # 150 ms on a machine that imports these in 50: most of them it needs as well. The best of
    # some, by turns: the promise is about our work, not about a busy machine.
    theirs = "import asyncio, ssl, json, decimal, inspect, subprocess, zoneinfo, gzip, uuid, pickle"
    taken = [
        (seconds_for("import faustc; faustc.App", tmp_path), seconds_for(theirs, tmp_path))
        for _ in range(7)
    ]
    ours, floor = map(min, zip(*taken, strict=True))
    assert ours < 5 * floor
