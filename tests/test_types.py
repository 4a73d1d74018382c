"""The types that several packages share."""

from __future__ import annotations

import subprocess
import sys

FIRST_DECODES = """
import sys, threading, time, typing
import msgspec
from shazimd.types import decodable

sys.setswitchinterval(1e-6)
fields = {f"f{n}": "typing.Annotated[int, msgspec.Meta(ge=0)] | None" for n in range(20)}
data = msgspec.msgpack.encode([*range(20)])
decoded = []


def decode(kind, together, delay_s):
    together.wait()
    end = time.perf_counter() + delay_s
    while time.perf_counter() < end:
        pass
    decoded.append(msgspec.msgpack.decode(data, type=decodable(kind)).f19)


for n in range(400):
    body = {"__annotations__": fields, "__module__": "__main__"}
    kind, together = type(msgspec.Struct)(f"Kind{n}", (msgspec.Struct,), body, array_like=True), threading.Barrier(2)
    threads = [threading.Thread(target=decode, args=(kind, together, delay_s)) for delay_s in (0, n % 40 * 5e-5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
print(len(decoded), set(decoded))
"""


def test_two_threads_decode_a_class_for_the_first_time() -> None:
    """Neither meets msgspec's description of the class half made, which ends the process."""
    done = subprocess.run([sys.executable, "-c", FIRST_DECODES], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "800 {19}\n"), done.stderr
