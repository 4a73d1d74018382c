"""A file system in user space with faults: one directory of files whose reads fail, or that stalls altogether.

It speaks the kernel's protocol (linux/fuse.h, 7.31) over /dev/fuse, since nothing else needs a library for it. Mounting
takes root. Files are given in memory, and the kernel caches nothing.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import stat
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

_HEADER = struct.Struct("<IIQQIIII")
_REPLY = struct.Struct("<IiQ")
_ATTRIBUTES = struct.Struct("<6Q10I")
_READ = struct.Struct("<QQI")
_BUFFER_BYTES = 1 << 20
_ROOT = 1
_UNANSWERED = frozenset({2, 36, 42})
"""FORGET, INTERRUPT, BATCH_FORGET"""
_DETACH = 2


class _Request(NamedTuple):
    opcode: int
    number: int
    node: int
    body: bytes


class FaultyFileSystem:
    """``files`` by name; ``faults`` are the errors of their reads, by name. Both may change at any time."""

    def __init__(self, point: Path) -> None:
        self.point = point
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, int] = {}
        self._flowing = threading.Event()
        self._flowing.set()
        self._nodes: dict[str, int] = {}
        self._changed = time.time_ns()
        self._device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        self._stop = os.eventfd(0, os.EFD_CLOEXEC)
        self._verbs: dict[int, Callable[[_Request], bytes]] = {
            1: self._look_up,
            3: lambda request: struct.pack("<QII", 0, 0, 0) + self._attributes(request.node),
            14: lambda _: struct.pack("<QII", 0, 1, 0),  # OPEN, with direct I/O: each read comes here
            15: self._read,
            17: lambda _: struct.pack("<5Q4I24x", 0, 0, 0, 0, 0, 4096, 255, 4096, 0),
            18: lambda _: b"",
            25: lambda _: b"",
            26: lambda _: struct.pack("<4I2HII2H32x", 7, 31, 0, 0, 1, 1, 4096, 1, 1, 0),
            27: lambda _: struct.pack("<QII", 0, 0, 0),
            28: self._list,
            29: lambda _: b"",
        }
        self._mount()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def stall(self) -> None:
        """Answer nothing from now on: whoever asks hangs in the kernel, until it is killed."""
        self._flowing.clear()

    def is_asked(self) -> bool:
        """Whether somebody waits for an answer."""
        return bool(select.select([self._device], [], [], 0)[0])

    def flow(self) -> None:
        self._flowing.set()

    def close(self) -> None:
        """Unmount, and end the thread. The mount may live on in another process's namespace, and a thread that went on
        would read the requests of the next file system by the same number of a descriptor."""
        self.flow()
        _libc().umount2(os.fsencode(self.point), _DETACH)
        os.eventfd_write(self._stop, 1)
        self._thread.join()
        os.close(self._device)
        os.close(self._stop)

    def _mount(self) -> None:
        options = f"fd={self._device},rootmode=40755,user_id=0,group_id=0,allow_other".encode()
        if _libc().mount(b"faulty", os.fsencode(self.point), b"fuse.faulty", 0, options) != 0:
            error = ctypes.get_errno()
            os.close(self._device)
            os.close(self._stop)
            raise OSError(error, os.strerror(error), str(self.point))

    def _serve(self) -> None:
        poller = select.poll()
        poller.register(self._device, select.POLLIN)
        poller.register(self._stop, select.POLLIN)
        while self._stop not in [descriptor for descriptor, _ in poller.poll()]:
            self._flowing.wait()  # a request that was read could not be killed, nor could the process that made it
            try:
                data = os.read(self._device, _BUFFER_BYTES)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.EINTR, errno.EAGAIN):  # the asker gave up
                    continue
                return  # unmounted
            _, opcode, number, node, *_ = _HEADER.unpack_from(data)
            if opcode not in _UNANSWERED:
                self._answer(_Request(opcode, number, node, data[_HEADER.size :]))

    def _answer(self, request: _Request) -> None:
        try:
            code, body = 0, self._verbs.get(request.opcode, _unknown)(request)
        except OSError as error:
            code, body = -(error.errno or errno.EIO), b""
        try:
            os.write(self._device, _REPLY.pack(_REPLY.size + len(body), code, request.number) + body)
        except OSError as error:
            if error.errno != errno.ENOENT:  # the asker gave up
                raise

    def _look_up(self, request: _Request) -> bytes:
        name = os.fsdecode(request.body.rstrip(b"\0"))
        if name not in self.files:
            raise OSError(errno.ENOENT, name)
        node = self._nodes.setdefault(name, _ROOT + 1 + len(self._nodes))
        return struct.pack("<4QII", node, 0, 0, 0, 0, 0) + self._attributes(node)

    def _read(self, request: _Request) -> bytes:
        name = self._name(request.node)
        if name in self.faults:
            raise OSError(self.faults[name], name)
        _, offset, size = _READ.unpack_from(request.body)
        return self.files[name][offset : offset + size]

    def _list(self, request: _Request) -> bytes:
        _, offset, size = _READ.unpack_from(request.body)
        listed = b""
        for position, name in enumerate(sorted(self.files)[offset:], offset + 1):
            raw = os.fsencode(name)
            entry = struct.pack("<QQII", 1 << 32, position, len(raw), stat.S_IFREG >> 12) + raw
            entry += bytes(-len(entry) % 8)
            if len(listed) + len(entry) > size:
                break
            listed += entry
        return listed

    def _attributes(self, node: int) -> bytes:
        size = 0 if node == _ROOT else len(self.files[self._name(node)])
        mode = stat.S_IFDIR | 0o755 if node == _ROOT else stat.S_IFREG | 0o644
        seconds, nanoseconds = divmod(self._changed, 10**9)
        times = (seconds, seconds, seconds), (nanoseconds, nanoseconds, nanoseconds)
        return _ATTRIBUTES.pack(node, size, 1, *times[0], *times[1], mode, 1, 0, 0, 0, 4096, 0)

    def _name(self, node: int) -> str:
        name = next((name for name, number in self._nodes.items() if number == node), None)
        if name not in self.files:
            raise OSError(errno.ESTALE, "gone")
        assert name is not None
        return name


def _unknown(request: _Request) -> bytes:
    raise OSError(errno.ENOSYS, f"operation {request.opcode}")


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


@contextmanager
def faulty_file_system(point: Path) -> Iterator[FaultyFileSystem]:
    """Raises OSError where there is no /dev/fuse, or mounting is not allowed."""
    point.mkdir()
    made = FaultyFileSystem(point)
    try:
        yield made
    finally:
        made.close()
