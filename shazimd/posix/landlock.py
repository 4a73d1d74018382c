"""Landlock: this thread, and all that it starts, may use no file by its name and no TCP port; see landlock(7).

Files that are open already stay usable. Nor may it reach abstract Unix sockets and signal other processes, as far as
the kernel can forbid them. Paths of Unix sockets, file modes and the mere existence of files are not Landlock's matter.
"""

from __future__ import annotations

import ctypes
import os

from shazimd.posix.process import check, libc

_CREATE_RULESET, _RESTRICT_SELF = 444, 446  # the same on every architecture: <asm-generic/unistd.h>
_VERSION_FLAG = 1

_FILE_RIGHTS_BY_ABI = ((1, 13), (2, 14), (3, 15), (5, 16))
"""(first ABI, number of rights), from <linux/landlock.h>: REFER, TRUNCATE and IOCTL_DEV came later."""
_TCP_ABI, _TCP_RIGHTS = 4, 0b11
_SCOPES_ABI, _SCOPES = 6, 0b11
"""Abstract Unix sockets, and signals, of processes outside."""


class _Ruleset(ctypes.Structure):
    """struct landlock_ruleset_attr; an older kernel accepts it while the fields that it lacks are 0."""

    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scopes", ctypes.c_uint64))


def abi() -> int:
    """The kernel's version of Landlock, 0 if it has none or has it disabled."""
    return max(0, int(libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION_FLAG))))


def forbid_everything() -> None:
    """Forbid all that the kernel's Landlock can, for ever. Needs ``refuse_new_privileges`` before.

    Other threads of the process are not restricted. Raises OSError if the kernel has no Landlock."""
    version = abi()
    rights = max((count for since, count in _FILE_RIGHTS_BY_ABI if version >= since), default=0)
    rules = _Ruleset((1 << rights) - 1, _TCP_RIGHTS * (version >= _TCP_ABI), _SCOPES * (version >= _SCOPES_ABI))
    ruleset = libc.syscall(
        _CREATE_RULESET, ctypes.byref(rules), ctypes.c_size_t(ctypes.sizeof(rules)), ctypes.c_uint32(0)
    )
    check(ruleset, "landlock_create_ruleset")
    try:
        check(libc.syscall(_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0)), "landlock_restrict_self")
    finally:
        os.close(ruleset)
