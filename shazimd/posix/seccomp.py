"""A seccomp filter: which system calls this process may make from now on; see seccomp(2).

A filter is a program of classic BPF. The kernel runs it before each call, on a ``struct seccomp_data``: the call's
number, the architecture, and six arguments. A call that the filter does not list fails with EPERM, so libraries go on
without it, as they do on other kernels.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
from collections.abc import Collection, Mapping
from typing import NamedTuple

from shazimd.posix.process import libc

# <linux/seccomp.h>: SECCOMP_SET_MODE_FILTER, SECCOMP_GET_ACTION_AVAIL, SECCOMP_FILTER_FLAG_TSYNC
_SET_MODE_FILTER, _ALL_THREADS = 1, 1
_KILL, _ERROR, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000  # SECCOMP_RET_KILL_PROCESS, ..._ERRNO, ..._ALLOW
_LOAD, _EQUAL, _AND, _RETURN = 0x20, 0x15, 0x54, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_ALU|AND|K, BPF_RET|K
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16  # offsets in struct seccomp_data


class Architecture(NamedTuple):
    audit: int
    """AUDIT_ARCH_* of <linux/audit.h>"""
    seccomp: int
    """number of the call seccomp"""
    numbers: Mapping[str, int]
    """of the calls that a filter may name"""


class Only(NamedTuple):
    """A condition: the argument has one of these values, compared as 32 bits."""

    argument: int
    values: tuple[int, ...]


class Masked(NamedTuple):
    """A condition: of the bits in ``mask``, the argument has those of ``value`` set and no others."""

    argument: int
    mask: int
    value: int


Condition = Only | Masked

# fmt: off
_ARCHITECTURES = {
    "x86_64": Architecture(0xC000003E, 317, {  # <asm/unistd_64.h>
        "read": 0, "write": 1, "close": 3, "fstat": 5, "poll": 7, "lseek": 8, "mmap": 9, "mprotect": 10, "munmap": 11,
        "brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15, "ioctl": 16, "pread64": 17,
        "readv": 19, "writev": 20, "sched_yield": 24, "mremap": 25, "madvise": 28, "dup": 32, "nanosleep": 35,
        "getitimer": 36, "setitimer": 38, "getpid": 39, "sendto": 44, "recvfrom": 45, "recvmsg": 47, "clone": 56,
        "exit": 60, "uname": 63, "fcntl": 72, "getcwd": 79, "gettimeofday": 96, "getrusage": 98, "sysinfo": 99,
        "times": 100, "sigaltstack": 131, "prctl": 157, "gettid": 186, "futex": 202, "sched_getaffinity": 204,
        "restart_syscall": 219, "clock_gettime": 228, "clock_getres": 229, "clock_nanosleep": 230, "exit_group": 231,
        "tgkill": 234, "ppoll": 271, "set_robust_list": 273, "prlimit64": 302, "getcpu": 309, "getrandom": 318,
        "membarrier": 324, "rseq": 334, "clone3": 435,
    }),
    "aarch64": Architecture(0xC00000B7, 277, {  # <asm-generic/unistd.h>; it has no poll
        "getcwd": 17, "dup": 23, "fcntl": 25, "ioctl": 29, "close": 57, "lseek": 62, "read": 63, "write": 64,
        "readv": 65, "writev": 66, "pread64": 67, "ppoll": 73, "fstat": 80, "exit": 93, "exit_group": 94, "futex": 98,
        "set_robust_list": 99, "nanosleep": 101, "getitimer": 102, "setitimer": 103, "clock_gettime": 113,
        "clock_getres": 114, "clock_nanosleep": 115, "sched_getaffinity": 123, "sched_yield": 124,
        "restart_syscall": 128, "tgkill": 131, "sigaltstack": 132, "rt_sigaction": 134, "rt_sigprocmask": 135,
        "rt_sigreturn": 139, "times": 153, "uname": 160, "getrusage": 165, "prctl": 167, "getcpu": 168,
        "gettimeofday": 169, "getpid": 172, "gettid": 178, "sysinfo": 179, "sendto": 206, "recvfrom": 207,
        "recvmsg": 212, "brk": 214, "munmap": 215, "mremap": 216, "clone": 220, "mmap": 222, "mprotect": 226,
        "madvise": 233, "prlimit64": 261, "getrandom": 278, "membarrier": 283, "rseq": 293, "clone3": 435,
    }),
}
# fmt: on


def architecture() -> Architecture | None:
    """The numbers of this machine's calls; None for a machine that is not known, or a 32-bit program."""
    return _ARCHITECTURES.get(platform.machine()) if ctypes.sizeof(ctypes.c_void_p) == 8 else None


def allow_only(calls: Mapping[str, Condition | None], absent: Collection[str] = ()) -> None:
    """Refuse all calls but these, under their conditions, in all threads and for ever.

    A call that the architecture lacks is passed over. Those in ``absent`` fail with ENOSYS, as on an older kernel.
    Needs ``refuse_new_privileges`` before. Raises OSError if the kernel takes no filter."""
    found = architecture()
    if found is None:
        raise OSError(errno.ENOSYS, f"seccomp: the calls of {platform.machine()} are not known")
    steps = _program(found, calls, absent)
    program = _FilterProgram(len(steps), (_Instruction * len(steps))(*(_Instruction(*step) for step in steps)))
    result = libc.syscall(found.seccomp, _SET_MODE_FILTER, _ALL_THREADS, ctypes.byref(program))
    if result != 0:  # -1, or the number of a thread that can't be filtered
        error = ctypes.get_errno() or errno.ESRCH
        raise OSError(error, f"seccomp: {os.strerror(error)}")


class _Instruction(ctypes.Structure):
    """struct sock_filter"""

    _fields_ = (
        ("code", ctypes.c_uint16),
        ("if_true", ctypes.c_uint8),
        ("if_false", ctypes.c_uint8),
        ("k", ctypes.c_uint32),
    )


class _FilterProgram(ctypes.Structure):
    """struct sock_fprog"""

    _fields_ = (("length", ctypes.c_uint16), ("instructions", ctypes.POINTER(_Instruction)))


_Step = tuple[int, int, int, int]


def _program(machine: Architecture, calls: Mapping[str, Condition | None], absent: Collection[str]) -> list[_Step]:
    """Each call is a block that ends in a return, so that no jump is longer than a block."""
    steps: list[_Step] = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_EQUAL, 1, 0, machine.audit),
        (_RETURN, 0, 0, _KILL),  # a call by another architecture's table has other numbers
        (_LOAD, 0, 0, _NUMBER_AT),
    ]
    for name, condition in calls.items():
        if name in machine.numbers:
            block = _block(condition)
            steps += [(_EQUAL, 0, len(block), machine.numbers[name]), *block]
    for name in absent:
        steps += [(_EQUAL, 0, 1, machine.numbers[name]), (_RETURN, 0, 0, _ERROR | errno.ENOSYS)]
    return [*steps, (_RETURN, 0, 0, _ERROR | errno.EPERM)]


def _block(condition: Condition | None) -> list[_Step]:
    if condition is None:
        return [(_RETURN, 0, 0, _ALLOW)]
    load = (_LOAD, 0, 0, _ARGUMENTS_AT + 8 * condition.argument)  # the low half, on little-endian machines
    refuse, allow = (_RETURN, 0, 0, _ERROR | errno.EPERM), (_RETURN, 0, 0, _ALLOW)
    if isinstance(condition, Masked):
        return [load, (_AND, 0, 0, condition.mask), (_EQUAL, 1, 0, condition.value), refuse, allow]
    count = len(condition.values)
    found = [(_EQUAL, count - place, 0, value) for place, value in enumerate(condition.values)]
    return [load, *found, refuse, allow]
