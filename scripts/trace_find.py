"""Print the modules and functions of shazimd that a `shazimctl find` runs, in the client and in the daemon.

    python scripts/trace_find.py [--functions]

A daemon with a few drawn pictures runs in a temporary folder. ``sys.setprofile`` traces finds after the first: without
start-up, imports and worker processes. Each module more is one more to read before changing a search. Only some finds
give memory back (``posix/memory``: every 32nd transaction of the store), so several are traced.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import inspect
import io
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from PIL import Image, ImageDraw

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGE = os.path.join(REPOSITORY, "shazimd", "")
PATIENCE_S = 60.0
FINDS = 16
"""Of some three transactions each."""
THREADS = ("server", "AnyIO worker thread", "worker-")
"""Of the daemon, by the beginnings of their names: those that work on a question. Others watch, scan and compare."""


class Trace:
    """Calls of the package's functions, while ``on``, in threads whose names begin like this."""

    def __init__(self, *threads: str) -> None:
        self.on = False
        self._threads = threads
        self.calls: set[tuple[str, str]] = set()

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        is_function = code.co_flags & inspect.CO_OPTIMIZED  # neither a module's body nor a class's
        if self.on and event == "call" and is_function and code.co_filename.startswith(PACKAGE) and self._is_wanted():
            name = code.co_qualname.split(".<locals>.<")[0]  # a comprehension counts as its function
            if not name.startswith("<"):
                self.calls.add((code.co_filename.removeprefix(PACKAGE), name))

    def _is_wanted(self) -> bool:
        return not self._threads or threading.current_thread().name.startswith(self._threads)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--functions", action="store_true", help="print the functions of each module")
    parser.add_argument("--daemon", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)  # OUTPUT and shazimd's arguments
    options = parser.parse_args()
    sys.path.insert(0, str(REPOSITORY))
    if options.daemon:
        sys.exit(run_daemon(*options.daemon))
    with tempfile.TemporaryDirectory(prefix="sz-") as folder:
        client, daemon = trace(Path(folder))
    show("client", client, options.functions)
    show("daemon", daemon, options.functions)
    both = client | daemon
    print(f"{len({module for module, _ in both})} modules, {len(both)} functions in all")


def run_daemon(output: str, *arguments: str) -> int:
    """Run shazimd; SIGUSR1 starts the trace, SIGUSR2 writes the calls to ``output``."""
    trace = Trace(*THREADS)

    def begin(*_: object) -> None:
        trace.on = True
        Path(f"{output}.begun").touch()

    def end(*_: object) -> None:
        trace.on = False
        Path(f"{output}.new").write_text(json.dumps(sorted(trace.calls)))
        os.replace(f"{output}.new", output)

    signal.signal(signal.SIGUSR1, begin)
    signal.signal(signal.SIGUSR2, end)
    threading.setprofile(trace)
    scripts = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["scripts"]
    module, main = scripts["shazimd"].split(":")
    status: int = getattr(importlib.import_module(module), main)(arguments)
    return status


def trace(folder: Path) -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
    """The calls of one find, in the client and in the daemon."""
    root, output, socket = folder / "root", folder / "calls", str(folder / "s")
    root.mkdir()
    for seed in range(4):
        draw(seed).save(root / f"{seed}.png")
    draw(1).resize((300, 225)).save(folder / "query.jpg")
    arguments = [str(root), "--store", str(folder / "store"), "--socket", socket, "--model", "none"]
    command = [sys.executable, __file__, "--daemon", str(output), *arguments, "--log-level", "error"]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(REPOSITORY)})
    try:
        wait_for(lambda: os.path.exists(socket))
        shazimctl("--socket", socket, "wait")
        shazimctl("--socket", socket, "find", str(folder / "query.jpg"))
        process.send_signal(signal.SIGUSR1)
        wait_for(Path(f"{output}.begun").exists)
        client = Trace()
        sys.setprofile(client)
        client.on = True
        for _ in range(FINDS):
            shazimctl("--socket", socket, "find", str(folder / "query.jpg"))
        sys.setprofile(None)
        process.send_signal(signal.SIGUSR2)
        wait_for(output.exists)
    finally:
        process.terminate()
        process.wait()
    return client.calls, {(module, name) for module, name in json.loads(output.read_text())}


def shazimctl(*arguments: str) -> None:
    with contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO())):
        status = importlib.import_module("shazimd.cli").run(arguments)
    if status:
        sys.exit(f"shazimctl {' '.join(arguments)}: exit status {status}")


def draw(seed: int) -> Image.Image:
    """A picture with many corners, different for each seed."""
    chance = random.Random(seed)  # noqa: S311  # no secret
    picture = Image.new("RGB", (400, 300), "white")
    pen = ImageDraw.Draw(picture)
    for _ in range(60):
        x, y = chance.randrange(360), chance.randrange(260)
        colour = tuple(chance.randrange(256) for _ in range(3))
        pen.rectangle((x, y, x + chance.randrange(10, 60), y + chance.randrange(10, 60)), colour)
    return picture


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            sys.exit("timed out; the daemon's log is above")
        time.sleep(0.02)


def show(side: str, calls: set[tuple[str, str]], with_functions: bool) -> None:
    modules: defaultdict[str, list[str]] = defaultdict(list)
    for module, name in sorted(calls):
        modules[module].append(name)
    print(f"{side}: {len(modules)} modules, {len(calls)} functions")
    for module, names in modules.items():
        print(f"  {len(names):3d}  {module}" + (f"  {', '.join(names)}" if with_functions else ""))


if __name__ == "__main__":
    main()
