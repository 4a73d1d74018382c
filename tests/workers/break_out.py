"""A program in a worker's place, as of an attacker who has taken over a decoder: it tries each way out.

``python break_out.py TARGETS`` does the same without confinement, which shows that the ways do lead out.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import mmap
import os
import platform
import resource
import signal
import socket
import sys
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

libc = ctypes.CDLL(None, use_errno=True)

REFUSALS = (errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EAGAIN)
"""Any other error means that the kernel has begun to do it. EAGAIN: no process more, by the limit of processes."""
COLUMN = {"x86_64": 0, "aarch64": 1}.get(platform.machine(), 0)
NUMBERS = {
    "add_key": (248, 217),
    "bpf": (321, 280),
    "clone": (56, 220),
    "clone3": (435, 435),
    "execve": (59, 221),
    "execveat": (322, 281),
    "io_setup": (206, 0),
    "io_uring_setup": (425, 425),
    "kcmp": (312, 272),
    "keyctl": (250, 219),
    "memfd_create": (319, 279),
    "mq_open": (240, 180),
    "msgget": (68, 186),
    "open_by_handle_at": (304, 265),
    "perf_event_open": (298, 241),
    "pidfd_getfd": (438, 438),
    "pidfd_open": (434, 434),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "prlimit64": (302, 261),
    "rt_sigqueueinfo": (129, 138),
    "semget": (64, 190),
    "setpriority": (141, 140),
    "shmget": (29, 194),
    "tgkill": (234, 131),
    "userfaultfd": (323, 282),
}
SWEPT = 500
"""Numbers of system calls; the kernels of today have fewer than 480."""
PROBES = frozenset({335, 336})
"""uretprobe and uprobe of x86-64: Linux lets no filter see them. From where they make no sense they end the process."""


class Targets(NamedTuple):
    folder: str
    """files ``photo``, ``1`` to ``9`` that may be harmed, and the socket ``socket``"""
    daemon: int
    """process number; the daemon listens at an abstract socket with this number in its name"""
    secret: int
    """address of 8 bytes in the daemon's memory"""
    port: int
    """of TCP, on the loopback"""


class _Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


def try_all(folder: str, daemon: int, secret: int, port: int) -> dict[str, bool]:
    """Which ways led out."""
    ways = _ways(Targets(folder, daemon, secret, port))
    return {name: _leads_out(way) for name, way in ways.items()}


def sweep(x32: bool) -> list[int]:
    """The numbers of system calls that do not fail with EPERM or ENOSYS, when called with arguments that mean nothing.

    Those that a worker may make are left out, and would do harm here. ``x32``: also by that architecture's numbers, for
    which the unit's SystemCallArchitectures= ends the process."""
    from shazimd.posix import seccomp
    from shazimd.workers.confinement import calls

    machine = seccomp.architecture()
    assert machine is not None
    allowed = {machine.numbers[name] for name in calls(0) if name in machine.numbers}
    others = range(0x40000000, 0x40000000 + SWEPT) if x32 and platform.machine() == "x86_64" else ()
    tried = [number for number in (*range(SWEPT), *others) if number not in allowed | PROBES]
    return [number for number in tried if not _is_refused(partial(_call, number, *[-1] * 6))]


def _leads_out(way: Callable[[], object]) -> bool:
    return not _is_refused(way)


def _is_refused(way: Callable[[], object]) -> bool:
    try:
        way()
    except (OSError, ValueError) as error:  # setrlimit turns EPERM into a ValueError
        return isinstance(error, ValueError) or error.errno in REFUSALS
    return False


def _call(name: str | int, *arguments: object) -> int:
    number = NUMBERS[name][COLUMN] if isinstance(name, str) else name
    words = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
    result = int(libc.syscall(ctypes.c_long(number), *words))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def _check(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _ways(to: Targets) -> dict[str, Callable[[], object]]:
    return _files(to.folder) | _programs(to.folder) | _processes(to) | _network(to) | _kernel(to.folder)


def _files(folder: str) -> dict[str, Callable[[], object]]:
    photo = f"{folder}/photo"
    return {
        "read a photo": lambda: _read(photo),
        "see that a photo is there": lambda: os.stat(photo),
        "list a folder": lambda: os.listdir(folder),
        "write a photo": lambda: _write(f"{folder}/1"),
        "write a photo by a map": lambda: _write_by_map(f"{folder}/2"),
        "make a file": lambda: _write(f"{folder}/new"),
        "truncate a photo": lambda: os.truncate(f"{folder}/3", 0),
        "delete a photo": lambda: os.unlink(f"{folder}/4"),
        "rename a photo": lambda: os.rename(f"{folder}/5", f"{folder}/6"),
        "link a photo": lambda: os.link(photo, f"{folder}/link"),
        "make a symbolic link": lambda: os.symlink(photo, f"{folder}/symlink"),
        "make a folder": lambda: os.mkdir(f"{folder}/folder"),
        "change a photo's mode": lambda: os.chmod(f"{folder}/7", 0),
        "change a photo's owner": lambda: os.chown(f"{folder}/7", os.getuid(), -1),
        "change a photo's time": lambda: os.utime(f"{folder}/7"),
        "set an attribute": lambda: os.setxattr(f"{folder}/7", "user.x", b"x"),
        "watch a folder": lambda: _check(libc.inotify_init1(0) == -1),
        "change the directory": lambda: os.chdir(folder),
        "open by a handle": lambda: _call("open_by_handle_at", -1, 0, 0),
        "copy within the kernel": lambda: os.copy_file_range(0, 1, 1),
        "use a lock": lambda: _check(libc.flock(0, 8)),
        "make a pipe": os.pipe,
    }


def _programs(folder: str) -> dict[str, Callable[[], object]]:
    return {
        "fork": _fork,
        "fork by clone": lambda: _child_of(_call("clone", signal.SIGCHLD, 0, 0, 0, 0)),
        "fork by clone3": lambda: _call("clone3", 0, 0),
        "run a program": lambda: _call("execve", 0, 0, 0),
        "run an open file": lambda: _call("execveat", -1, 0, 0, 0, 0x1000),
        "run a program in memory": lambda: _call("memfd_create", b"x", 0),
        "memory to write and run": lambda: mmap.mmap(-1, 4096, prot=7),
        "make memory runnable": _make_runnable,
        "load a library": lambda: _load(f"{folder}/8"),
        "persona": lambda: _check(libc.personality(0x0400000) == -1),
    }


def _processes(to: Targets) -> dict[str, Callable[[], object]]:
    here = ctypes.create_string_buffer(b"stolen!!", 8)
    local = _Vector(ctypes.addressof(here), 8)
    remote = _Vector(to.secret, 8)
    both = (ctypes.byref(local), 1, ctypes.byref(remote), 1, 0)
    return {
        "trace the daemon": lambda: _check(libc.ptrace(0x4206, to.daemon, None, None)),  # PTRACE_SEIZE stops nothing
        "read the daemon's memory": lambda: _call("process_vm_readv", to.daemon, *both),
        "write the daemon's memory": lambda: _call("process_vm_writev", to.daemon, *both),
        "open the daemon's memory": lambda: os.close(os.open(f"/proc/{to.daemon}/mem", os.O_RDWR)),
        "read the daemon's environment": lambda: _read(f"/proc/{to.daemon}/environ"),
        "list processes": lambda: os.listdir("/proc"),
        "kill the daemon": lambda: os.kill(to.daemon, 0),
        "kill all": lambda: os.kill(-0x7FFFFFF0, 0),
        "kill a thread of the daemon": lambda: _call("tgkill", to.daemon, to.daemon, 0),
        "queue a signal": lambda: _call("rt_sigqueueinfo", to.daemon, 0, 0),
        "have the kernel send a signal": lambda: _own(to.daemon),
        "a handle of the daemon": lambda: os.close(_call("pidfd_open", to.daemon, 0)),
        "take a descriptor of the daemon": lambda: _call("pidfd_getfd", -1, 0, 0),
        "limit the daemon": lambda: resource.prlimit(to.daemon, resource.RLIMIT_NOFILE),
        "raise its memory": lambda: resource.setrlimit(resource.RLIMIT_DATA, (1 << 50, 1 << 50)),
        "raise a limit": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20)),
        "change the daemon's priority": lambda: _call("setpriority", 0, to.daemon, 0),
        "pin the daemon": lambda: os.sched_setaffinity(to.daemon, os.sched_getaffinity(0)),
        "compare processes": lambda: _call("kcmp", to.daemon, to.daemon, 0, 0, 0),
        "outlive the daemon": lambda: _check(libc.prctl(1, 0, 0, 0, 0)),
        "leave the group": os.setsid,
        "another user": lambda: os.setuid(os.getuid()),
    }


def _network(to: Targets) -> dict[str, Callable[[], object]]:
    return {
        "ask the daemon": lambda: _connect(socket.AF_UNIX, f"{to.folder}/socket"),
        "connect by TCP": lambda: _connect(socket.AF_INET, ("127.0.0.1", to.port)),
        "listen by TCP": lambda: socket.create_server(("127.0.0.1", 0)).close(),
        "send by UDP": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close(),
        "netlink": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close(),
        "an abstract socket": lambda: _connect(socket.AF_UNIX, f"\0shazimd-test-{to.daemon}"),
        "a pair of sockets": lambda: [end.close() for end in socket.socketpair()],
    }


def _kernel(folder: str) -> dict[str, Callable[[], object]]:
    return {
        "shared memory": lambda: _call("shmget", 0, 4096, 0o1600),
        "a message queue": lambda: _call("msgget", 0, 0o1600),
        "a semaphore": lambda: _call("semget", 0, 1, 0o1600),
        "a POSIX message queue": lambda: _call("mq_open", b"x", os.O_CREAT | os.O_RDWR, 0o600, 0),
        "io_uring": lambda: _call("io_uring_setup", 1, ctypes.create_string_buffer(120)),
        "asynchronous files": lambda: _call("io_setup", 1, ctypes.byref(ctypes.c_ulong(0))),
        "userfaultfd": lambda: os.close(_call("userfaultfd", 1)),
        "a key": lambda: _call("add_key", b"user", b"x", b"x", 1, -3),
        "the keyrings": lambda: _call("keyctl", 0, -3, 1),
        "bpf": lambda: _call("bpf", 0, 0, 0),
        "performance events": lambda: _call("perf_event_open", 0, 0, -1, -1, 0),
        "a namespace": lambda: _check(libc.unshare(0x10000000)),
        "join a namespace": lambda: _check(libc.setns(0, 0)),
        "mount": lambda: _check(libc.mount(b"none", os.fsencode(f"{folder}/absent"), b"tmpfs", 0, None)),
        "change the root": lambda: os.chroot("/"),
        "set the clock": lambda: _check(libc.clock_settime(99, ctypes.byref(ctypes.create_string_buffer(16)))),
        "a timer": lambda: signal.setitimer(signal.ITIMER_REAL, 0),
    }


def _read(path: str) -> None:
    with open(path, "rb") as file:
        file.read(1)


def _write(path: str) -> None:
    with open(path, "wb") as file:
        file.write(b"x")


def _write_by_map(path: str) -> None:
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 1) as mapped:
        mapped[0] = 1


def _load(path: str) -> None:
    try:
        ctypes.CDLL(path)
    except OSError as error:  # without a number: its text tells whether the file was read
        raise OSError(errno.EACCES if "cannot open" in str(error) else errno.ENOEXEC, str(error)) from error


def _make_runnable() -> None:
    memory = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    _check(libc.mprotect(ctypes.c_void_p(address), 4096, 5))


def _fork() -> None:
    _child_of(os.fork())


def _child_of(child: int) -> None:
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


def _own(process: int) -> None:
    fcntl.fcntl(0, fcntl.F_SETOWN, process)


def _connect(family: int, address: str | tuple[str, int]) -> None:
    with socket.socket(family, socket.SOCK_STREAM) as connection:
        connection.connect(address)


if __name__ == "__main__":
    print(json.dumps(try_all(*json.loads(sys.argv[1]))))
