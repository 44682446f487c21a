"""The embedded broker as the launcher starts it; `faustc broker` is for people."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path


def main() -> int:
    """Leave the process that started us, serve its folder, and end when nobody uses it."""
    parser = argparse.ArgumentParser(prog="python -m faustc.broker.detached", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--lock-fd", type=int, required=True, help="broker.lock, held")
    parser.add_argument("--ready-fd", type=int, required=True, help="closed once we listen")
    parser.add_argument("--port-hint", type=int, default=0, help="the port to have if it is free")
    parser.add_argument("--grace-s", type=float, required=True, help="to stay up unused")
    given = parser.parse_args()
    # Before anything has made a thread. Who started us reaps this process at once, and
    # need not reap the broker.
    if os.fork():
        os._exit(0)

    import asyncio
    import logging

    from faustc.broker.folder import Folder
    from faustc.broker.process import Tenure, run
    from faustc.exceptions import FaustError

    logging.basicConfig(level=logging.INFO, format="[%(asctime)s] [%(process)d] %(message)s")
    tenure = Tenure(Folder(given.folder), given.lock_fd)
    serving = run(
        host="127.0.0.1",
        port=0,
        port_hint=given.port_hint,
        tenure=tenure,
        grace_s=given.grace_s,
        on_ready=lambda host, port: os.close(given.ready_fd),
    )
    try:
        asyncio.run(serving)
    except (OSError, FaustError) as exc:
        logging.error("Cannot run the broker: %s", exc)
        return 1
    tenure.release()
    return 0


if __name__ == "__main__":
    sys.exit(main())
