"""Tries every way out of the sandbox, and writes what worked as JSON. It stands in the daemon's place, in its unit."""

import ctypes
import json
import mmap
import os
import socket
import subprocess
import sys
from collections.abc import Callable

libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWUSER = 0x10000000
PHOTOS = sys.argv[1]
STORE = os.environ["STATE_DIRECTORY"]


def write(path: str) -> None:
    with open(path, "w") as file:
        file.write("x")


def call(result: int) -> None:
    """What a C function returned; -1 is refusal."""
    if result == -1:
        raise OSError(ctypes.get_errno(), "refused")


def read(path: str) -> None:
    with open(path, "rb") as file:
        file.read(1)


def set_suid() -> None:
    write(f"{STORE}/suid")
    os.chmod(f"{STORE}/suid", 0o4755)


def run_from_store() -> None:
    path = os.path.join(STORE, "tool")
    with open(path, "w") as file:
        file.write("#!/bin/sh\n")
    os.chmod(path, 0o755)
    subprocess.run([path], check=True)


def see_others() -> None:
    if not any(name.isdigit() and os.stat(f"/proc/{name}").st_uid == 0 for name in os.listdir("/proc")):
        raise OSError("none seen")


def list_home() -> None:
    if not os.listdir("/home"):
        raise OSError("empty")


TRIES = {
    "can read the photos": lambda: read(f"{PHOTOS}/1.png"),
    "can write the store": lambda: write(f"{STORE}/probe"),
    "write a photo": lambda: write(f"{PHOTOS}/1.png"),
    "delete a photo": lambda: os.unlink(f"{PHOTOS}/2.png"),
    "write /etc": lambda: write("/etc/shazimd/config.toml"),
    "write /usr": lambda: write("/usr/local/bin/x"),
    "write /run": lambda: write("/run/shazimd/x"),
    "see homes": list_home,
    "read a home": lambda: read("/home/member/secret"),
    "read shadow": lambda: read("/etc/shadow"),
    "a network socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
    "netlink": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
    "another user": lambda: os.setuid(0),
    "a namespace": lambda: call(libc.unshare(CLONE_NEWUSER)),
    "mount": lambda: call(libc.mount(b"none", b"/tmp", b"tmpfs", 0, None)),
    "memory to write and execute": lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC),
    "run from the store": run_from_store,
    "set a suid bit": set_suid,
    "real time": lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)),
    "set the clock": lambda: __import__("time").clock_settime(0, 1e9),
    "set the host's name": lambda: socket.sethostname("x"),
    "write a kernel setting": lambda: write("/proc/sys/vm/swappiness"),
    "kernel log": lambda: read("/dev/kmsg"),
    "raw disk": lambda: os.mknod("/tmp/disk", 0o60600, os.makedev(8, 0)),
    "trace a process": lambda: call(libc.ptrace(0, 0, 0, 0)),
    "see other users' processes": see_others,
    "raise priority": lambda: os.setpriority(os.PRIO_PROCESS, 0, -5),
    "persona": lambda: call(libc.personality(0x0400000)),
}


def could(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except Exception:
        return False
    return True


print(json.dumps({what: could(attempt) for what, attempt in TRIES.items()}))
