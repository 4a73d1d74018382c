"""Resident memory of mapped files, in the process of the test."""

from __future__ import annotations

import ctypes
import mmap
from pathlib import Path

import pytest

from shazimd.posix.memory import LibraryCode, library_pages, release, resident_file_bytes

_SIZE = 8 << 20


def _library(path: Path, protection: int) -> mmap.mmap:
    """A file mapped as a library's code or constants are, which is touched."""
    path.write_bytes(bytes(range(256)) * (_SIZE // 256))
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), _SIZE, mmap.MAP_PRIVATE, protection)
    assert len(mapped[:]) == _SIZE
    return mapped


@pytest.mark.parametrize("protection", [mmap.PROT_READ | mmap.PROT_EXEC, mmap.PROT_READ], ids=["code", "constants"])
def test_a_library_is_released_and_read_again(tmp_path: Path, protection: int) -> None:
    """Its pages are no longer resident, and their content comes back."""
    with _library(tmp_path / "library.so", protection) as mapped:
        before = resident_file_bytes()
        release(library_pages())
        assert resident_file_bytes() <= before - _SIZE
        assert mapped[: 1 << 20] == bytes(range(256)) * 4096


@pytest.mark.parametrize(("every_s", "is_due"), [(0.0, True), (60.0, False)])
def test_at_work_code_is_released_now_and_then(tmp_path: Path, every_s: float, is_due: bool) -> None:
    """At rest always."""
    with _library(tmp_path / "library.so", mmap.PROT_READ):
        code, before = LibraryCode(every_s), resident_file_bytes()
        assert is_due == code.release_at_work()
        assert is_due == (resident_file_bytes() <= before - _SIZE)
        code.release()
        assert resident_file_bytes() <= before - _SIZE


def test_a_library_that_differs_from_its_file_is_kept(tmp_path: Path) -> None:
    """The dynamic linker may have written addresses into it, a debugger its breakpoints."""
    path = tmp_path / "library.so"
    path.write_bytes(b"a" * mmap.PAGESIZE)
    with path.open("rb") as file:
        changed = mmap.mmap(file.fileno(), mmap.PAGESIZE, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE)
    with changed:
        changed[0] = ord("b")
        view = (ctypes.c_char * mmap.PAGESIZE).from_buffer(changed)
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.mprotect(ctypes.byref(view), ctypes.c_size_t(mmap.PAGESIZE), mmap.PROT_READ | mmap.PROT_EXEC) == 0
        del view
        release(library_pages())
        assert changed[:2] == b"ba"
