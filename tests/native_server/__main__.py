"""`python -m tests.native_server`: run the server until it is told to stop."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from pathlib import Path

from tests.native_server.engine import Engine
from tests.native_server.server import Server

WATCH = 1.0  # seconds


def main() -> None:
    """Serve a folder. Says on one line of standard output where, once it takes connections."""
    parser = argparse.ArgumentParser(prog="python -m tests.native_server", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="where the engine keeps its files")
    parser.add_argument("--port", type=int, default=0, help="of loopback; 0: one that is free")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds that pass before each statement is run")
    parser.add_argument("--until-stdin-ends", action="store_true", help="stop when standard input is closed")
    options = parser.parse_args()
    engine = Engine(options.folder)
    server = Server(engine, options.port, options.delay)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    threading.Thread(target=server.run, daemon=True).start()
    threading.Thread(target=_watch, args=(engine, stop), daemon=True).start()
    if options.until_stdin_ends:
        threading.Thread(target=_stop_with_stdin, args=(stop,), daemon=True).start()
    print(f"clickhouse://127.0.0.1:{server.port}", flush=True)
    stop.wait()
    if not server.stop():
        os._exit(1)  # a statement does not end: the engine cannot be closed under it
    engine.close()


def _watch(engine: Engine, stop: threading.Event) -> None:
    """Merges go on in the background; what they replace is removed only minutes later."""
    while not stop.wait(WATCH):
        engine.end_if_unwritten()


def _stop_with_stdin(stop: threading.Event) -> None:
    # Not through sys.stdin: a thread that waits in it keeps the interpreter from ending.
    while os.read(sys.stdin.fileno(), 1):
        pass
    stop.set()


if __name__ == "__main__":
    main()
