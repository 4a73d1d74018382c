"""Rights and life time of this process: prctl(2), setrlimit(2), namespaces, capabilities, the out-of-memory killer, its
terminal."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from collections.abc import Mapping
from contextlib import suppress

libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38  # <sys/prctl.h>
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000  # <sched.h>
_CAPABILITY_VERSION_3 = 0x20080522  # <linux/capability.h>


def end_with_parent() -> None:
    """Have the kernel kill this process at the end of the thread that started it, even if the parent is killed.

    An earlier end of the parent goes unnoticed: compare ``os.getppid`` afterwards.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def refuse_new_privileges() -> None:
    """Make setuid bits and file capabilities void for this process and its children, for ever."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def leave_network() -> None:
    """Move this process, which has one thread, to an empty network of its own, in a user namespace of its own.

    Raises OSError where the kernel or an administrator allows no user namespaces; see user_namespaces(7)."""
    check(libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET), "unshare")


def has_network() -> bool:
    """Whether there is a network interface other than the loopback; see proc_net(5). Opens no socket."""
    with open("/proc/self/net/dev", encoding="ascii") as file:
        return any(line.partition(":")[0].strip() != "lo" for line in file.readlines()[2:])


def drop_capabilities() -> None:
    """Give up the capabilities of root, and those that come with a user namespace; see capabilities(7).

    Raises OSError."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    held, none = (ctypes.c_uint32 * 6)(), (ctypes.c_uint32 * 6)()
    check(libc.capget(ctypes.byref(header), ctypes.byref(held)), "capget")
    if any(held):  # else nothing is to be done: the unit allows no capset
        check(libc.capset(ctypes.byref(header), ctypes.byref(none)), "capset")


def limit(values: Mapping[int, int]) -> None:
    """Set resource limits, soft and hard, by the constants ``resource.RLIMIT_*``."""
    for kind, value in values.items():
        resource.setrlimit(kind, (value, value))


def prefer_for_oom_kill(score: int) -> None:
    """Choose this process, from 0 to 1000, before others when the machine runs out of memory.

    A higher score stays, as a pod or unit may set: the kernel refuses less than root has set. It is only a preference,
    so a process that may not write its score goes on."""
    with suppress(OSError), open("/proc/self/oom_score_adj", "r+") as file:
        if int(file.read()) < score:
            file.seek(0)
            file.write(str(score))


def has_terminal() -> bool:
    """Whether this process has a controlling terminal, whose closing sends SIGHUP: tty(4)."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def _prctl(option: int, value: int) -> None:
    check(libc.prctl(option, value, 0, 0, 0), f"prctl({option})")


def check(result: int, call: str) -> None:
    """Raise OSError for the result of a system call that has failed."""
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{call}: {os.strerror(error)}")
