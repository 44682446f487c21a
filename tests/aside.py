"""Programs of others, each in a virtual environment of its own, kept in .cache between runs."""

from __future__ import annotations

import fcntl
import subprocess
import sys
import venv
from pathlib import Path

CACHE = Path(__file__).resolve().parent.parent / ".cache" / "aside"
INSTALL_TIMEOUT_S = 300


def python_with(*requirements: str) -> Path:
    """Return the Python of an environment that has these packages; it is made when it is missing.

    Raises RuntimeError with what pip said if they cannot be installed.
    """
    name = "-".join(requirements).replace("==", "-")
    folder = CACHE / name
    python, ready = folder / "bin" / "python", folder / ".ready"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready.exists():
            print(f"installing {', '.join(requirements)} ...", file=sys.stderr)
            venv.create(folder, with_pip=True, clear=True)
            done = subprocess.run(
                [python, "-m", "pip", "install", "-q", *requirements],
                capture_output=True,
                text=True,
                timeout=INSTALL_TIMEOUT_S,
                check=False,
            )
            if done.returncode != 0:
                raise RuntimeError(
                    f"{', '.join(requirements)} cannot be installed beside faustc: the package "
                    f"index must be reachable.\n{done.stderr}"
                )
            ready.touch()
    return python
