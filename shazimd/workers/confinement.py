"""Confinement of a worker: with its libraries and models loaded, and before its first job, it gives up all the rest.

A hostile picture may take over its decoder. From then on the attacker's program is the worker. To decode is to compute
on memory, and to read and write one socket, so the kernel is told to refuse the rest. Three layers do so, each without
the others:

Landlock    every file by its name, TCP, abstract Unix sockets, signals to other processes
seccomp     every system call but those of ``calls``
network     an empty network namespace, in a user namespace: few threads, no capabilities

A layer that the kernel, a container or an administrator does not allow is reported, and the others stand.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import resource
import termios

from shazimd.posix import landlock, process, seccomp

_THREADS_MAX = 64
"""Decoders and models are told to use one thread; this is room for a library that starts some all the same."""
_CLONE_THREAD = 0x10000  # <sched.h>
_PR_SET_NAME = 15  # <sys/prctl.h>
_ITIMER_PROF = 2  # <sys/time.h>
_FCNTL = fcntl.F_GETFD, fcntl.F_SETFD, fcntl.F_GETFL, fcntl.F_SETFL, fcntl.F_DUPFD_CLOEXEC

MEMORY = "brk madvise mremap munmap"
DESCRIPTORS = "close dup fstat lseek poll ppoll pread64 read readv recvfrom recvmsg sendto write writev"
THREADS = "exit exit_group futex gettid membarrier rseq sched_getaffinity sched_yield set_robust_list getcpu"
SIGNALS = "restart_syscall rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack"
CLOCKS = "clock_getres clock_gettime clock_nanosleep gettimeofday nanosleep times"
FACTS = "getcwd getpid getrandom getrusage sysinfo uname"


def calls(pid: int) -> dict[str, seccomp.Condition | None]:
    """The system calls that the worker with this process number may make."""
    free = " ".join((MEMORY, DESCRIPTORS, THREADS, SIGNALS, CLOCKS, FACTS)).split()
    return dict.fromkeys(free) | {
        # No code but what is loaded: neither a library nor made-up instructions.
        "mmap": seccomp.Masked(2, mmap.PROT_EXEC, 0),
        "mprotect": seccomp.Masked(2, mmap.PROT_EXEC, 0),
        # A thread, never a process.
        "clone": seccomp.Masked(0, _CLONE_THREAD, _CLONE_THREAD),
        # abort(3) raises its signal so. Other processes get none.
        "tgkill": seccomp.Only(0, (pid,)),
        # Never F_SETOWN: with F_SETSIG it makes the kernel send any signal to any process of this user.
        "fcntl": seccomp.Only(1, _FCNTL),
        "ioctl": seccomp.Only(1, (termios.FIONBIO,)),
        "prctl": seccomp.Only(0, (_PR_SET_NAME,)),
        # The bounds of a job's cost, see ``imaging.effort``: its processor time, and soft limits of this process alone.
        "getitimer": seccomp.Only(0, (_ITIMER_PROF,)),
        "setitimer": seccomp.Only(0, (_ITIMER_PROF,)),
        "prlimit64": seccomp.Only(0, (0,)),
    }


ABSENT = ("clone3",)
"""Its flags lie in memory, where a filter can't look: the C library uses clone instead."""


def confine() -> list[str]:
    """Give up all that a job does not need, for ever; the layers that could not be had, each with the reason.

    The process has one thread. Needs ``process.refuse_new_privileges`` before."""
    layers = ("network namespace", _leave_network), ("Landlock", _forbid_files), ("seccomp", _filter_calls)
    return [f"{name} ({reason})" for name, layer in layers if (reason := layer())]


def _leave_network() -> str:
    """Why the network can still be reached; empty if it can't."""
    try:
        process.leave_network()
    except OSError as error:
        process.drop_capabilities()
        return str(error) if process.has_network() else ""  # under the unit the service's own network is empty
    process.drop_capabilities()
    # Only in a user namespace are a process's own threads counted, and not all that its user runs.
    process.limit({resource.RLIMIT_NPROC: _THREADS_MAX})
    return ""


def _forbid_files() -> str:
    if not landlock.abi():
        return "this kernel has none, or it is disabled; Linux 5.13 has it, with lsm=landlock"
    try:
        landlock.forbid_everything()
    except OSError as error:
        return str(error)
    return ""


def _filter_calls() -> str:
    try:
        seccomp.allow_only(calls(os.getpid()), ABSENT)
    except OSError as error:
        return str(error)
    return ""
