"""What is resident of a process, by the kind of its mappings: see proc_pid_smaps(5)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

KINDS = ("own memory", "libraries", "store's map", "index and words", "other files")
"""The store's map, index and words are files of the store: their pages are the kernel's cache, shared and given back
where memory is short, and still count as resident."""


class Resident(NamedTuple):
    """KiB."""

    rss: Counter[str]
    """by kind"""
    pss: int
    """with pages that n processes have mapped counted as 1/n"""

    def row(self) -> list[str]:
        """Cells in MiB: each kind, the sum, the sum without the files of the store, and the share of the machine's."""
        own = [self.rss[kind] for kind in KINDS]
        cache = self.rss["store's map"] + self.rss["index and words"]
        return [f"{value / 1024:.0f}" for value in (*own, sum(own), sum(own) - cache, self.pss)]


COLUMNS = (*KINDS, "resident", "without files of the store", "proportional")


def resident_of(pid: int) -> Resident:
    """Raises FileNotFoundError for a process that has ended."""
    rss: Counter[str] = Counter()
    pss, kind = 0, ""
    for line in Path(f"/proc/{pid}/smaps").read_text(errors="surrogateescape").splitlines():
        fields = line.split(maxsplit=5)
        if not fields[0].endswith(":"):
            kind = _kind(fields[5] if len(fields) > 5 else "")
        elif fields[0] == "Rss:":
            rss[kind] += int(fields[1])
        elif fields[0] == "Pss:":
            pss += int(fields[1])
    return Resident(rss, pss)


def table(processes: Iterable[tuple[str, int]]) -> list[list[str]]:
    """A row for each process that is left: its name, and the cells of ``Resident.row``."""
    return [[name, *resident_of(pid).row()] for name, pid in processes if Path(f"/proc/{pid}/smaps").exists()]


def printed(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _kind(path: str) -> str:
    if not path.startswith("/") or path.startswith("/memfd:"):
        return KINDS[0]
    if path.endswith("data.mdb"):
        return KINDS[2]
    if "/index/" in path and "/store/" in path:
        return KINDS[3]
    return KINDS[1] if ".so" in path or "/bin/" in path else KINDS[4]
