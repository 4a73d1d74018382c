from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from patience import PATIENCE_S


def _run(code: str) -> str:
    """What a fresh interpreter prints: these settings can't be taken back."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_rights_and_limits_are_given_up() -> None:
    """The kernel shows no_new_privs, the limits and the score of the process."""
    shown = _run(
        "import resource\n"
        "from shazimd.posix import process\n"
        "process.refuse_new_privileges()\n"
        "process.limit({resource.RLIMIT_CORE: 0, resource.RLIMIT_NOFILE: 50})\n"
        "process.prefer_for_oom_kill(700)\n"
        "status = open('/proc/self/status').read().split()\n"
        "print(status[status.index('NoNewPrivs:') + 1], resource.getrlimit(resource.RLIMIT_NOFILE),\n"
        "      resource.getrlimit(resource.RLIMIT_CORE), open('/proc/self/oom_score_adj').read().strip())"
    )
    assert "1 (50, 50) (0, 0) 700" == shown


def test_a_higher_score_of_the_out_of_memory_killer_stays() -> None:
    """As in a Kubernetes pod of the class BestEffort: without root's rights the kernel refuses a lower one."""
    shown = _run(
        "from shazimd.posix import process\n"
        "process.prefer_for_oom_kill(1000)\n"
        "process.drop_capabilities()\n"
        "process.prefer_for_oom_kill(500)\n"
        "print(open('/proc/self/oom_score_adj').read().strip())"
    )
    assert "1000" == shown


def test_without_the_right_to_choose_a_score_all_goes_on() -> None:
    """As where /proc may not be written."""
    shown = _run(
        "import builtins\n"
        "from shazimd.posix import process\n"
        "def refused(*_): raise PermissionError\n"
        "builtins.open = refused\n"
        "process.prefer_for_oom_kill(500); print('done')"
    )
    assert "done" == shown


def test_a_child_ends_with_its_parent() -> None:
    """A parent that is killed takes its child along: the end of standard error, which both hold, shows it."""
    child = (
        "import signal; from shazimd.posix import process as p\n"
        "p.end_with_parent(); print(1, flush=True); signal.pause()"
    )
    parent = (
        "import os, subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', {child!r}], stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\n"
        "os.kill(os.getpid(), 9)"
    )
    process = subprocess.run([sys.executable, "-c", parent], stderr=subprocess.PIPE, check=False, timeout=PATIENCE_S)
    assert -9 == process.returncode


def test_resident_memory_is_counted() -> None:
    """Memory that was written is resident, and mapped files are a part of all. Nothing else frees any meanwhile."""
    grown, of_files, in_all = _run(
        "from shazimd.posix import memory\n"
        "before = memory.resident_bytes()\n"
        "block = bytearray(b'1') * (64 << 20)\n"
        "print(memory.resident_bytes() - before, memory.resident_file_bytes(), memory.resident_bytes())"
    ).split()
    assert int(grown) > 60 << 20
    assert 0 < int(of_files) < int(in_all)


def test_freed_memory_goes_back_on_request() -> None:
    """A process told to keep what it frees holds it until ``trim``."""
    kept, trimmed = _run(
        "from shazimd.posix import memory\n"
        "memory.keep_freed_memory()\n"
        "blocks = [bytearray(b'1') * (1 << 20) for _ in range(20)]\n"
        "blocks.clear(); kept = memory.resident_bytes()\n"
        "memory.trim(); print(kept, memory.resident_bytes())"
    ).split()
    assert int(kept) - int(trimmed) > 15 << 20


def test_a_process_may_keep_some_of_what_it_frees_for_a_while() -> None:
    """Up to a limit, and until it is told to give all back."""
    before, kept, returned = _run(
        "from shazimd.posix import memory\n"
        "memory.return_freed_memory(); memory.keep_freed_memory(8 << 20); before = memory.resident_bytes()\n"
        "blocks = [bytearray(b'1') * (1 << 20) for _ in range(6)]; blocks.clear(); kept = memory.resident_bytes()\n"
        "memory.return_freed_memory(); print(before, kept, memory.resident_bytes())"
    ).split()
    assert int(kept) - int(before) > 4 << 20
    assert int(returned) - int(before) < 2 << 20


def test_the_commands_go_on_without_standard_streams(tmp_path: Path) -> None:
    """A wrong configuration ends them with status 2, as with the streams."""
    mains = ["shazimd.daemon.main", "shazimd.cluster.link"]
    words = ["--config", str(tmp_path / "none.toml")]
    for command in [[sys.executable, "-m", main, *words] for main in mains]:
        closed = ["sh", "-c", '"$@" <&- >&- 2>&-', "sh", *command]
        done = [subprocess.run(each, capture_output=True, check=False) for each in (command, closed)]
        assert [2, 2] == [each.returncode for each in done]
