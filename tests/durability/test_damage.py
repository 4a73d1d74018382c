"""Truncations, flipped bits and pages of zeros in the store, at random: each is seen, named, and repaired or refused.

A longer run, and another one:

    SHAZIMD_DAMAGES=500 pytest -s tests/durability/test_damage.py
    SHAZIMD_SEED=17 pytest tests/durability/test_damage.py     # 0: others each time
"""

from __future__ import annotations

import os
import random
import shutil
import sys
from collections import Counter
from operator import methodcaller
from pathlib import Path
from typing import Any

import lmdb
import pytest
from patience import PATIENCE_S
from store_faults import KINDS
from world import picture, world

sys.path.append(str(Path(__file__).parents[1] / "store" / "fixtures"))
from make_store import fill, rows

from shazimd.errors import StoreDamaged
from shazimd.store import child, inspection, maintenance
from shazimd.store.lmdb_store import open_store
from shazimd.store.report import Report, unreported
from shazimd.store.tables import TABLES_MAX
from shazimd.text import readable

DAMAGES = int(os.environ.get("SHAZIMD_DAMAGES", "60"))
SEED = int(os.environ.get("SHAZIMD_SEED", "4242")) or random.SystemRandom().getrandbits(32)
MIB = 1 << 20


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    """A store with rows in every table that is written today, changed in many transactions."""
    store = open_store(str(tmp_path / "golden"), 16 * MIB)
    store.write(fill)
    for n in range(4):
        store.write(methodcaller("set", f"n{n % 3}", [n] * 1000 * n))  # free pages, and values on pages of their own
    store.close()
    return tmp_path / "golden"


def in_this_process(verb: str, *arguments: str, report: Report = unreported) -> list[str]:
    """As ``child.run``."""
    return inspection.WORK[verb](*arguments, report=report)


def contents(path: Path) -> dict[str, Any]:
    store = open_store(str(path), 16 * MIB)
    with store.read() as reader:
        found = rows(reader)
    store.close()
    return found


def judged(path: Path, golden: dict[str, Any], found: list[str]) -> str:
    """The outcome of a damaged store, in a word. Raises AssertionError for one that breaks the promise."""
    if not found:
        assert contents(path) == golden, "rows have changed, but check is clean"
        return "harmless"
    with pytest.raises(StoreDamaged):
        open_store(str(path), 16 * MIB)
    try:
        maintenance.repair(str(path), 16 * MIB)
    except StoreDamaged as error:
        if "restore a backup" in str(error):
            return "refused"
        raise
    assert maintenance.check(str(path)) == []
    told = "\n".join(found)
    repaired = contents(path)
    before, after = ({row[0]: row[1:] for row in each["files"]} for each in (golden, repaired))
    for file, row in before.items():
        is_in_range = "files, from" in told or (row[1] == "failed" and "files that failed, from" in told)
        is_named = is_in_range or readable(bytes.fromhex(file)) in told
        assert after.get(file) == row or is_named, f"{file} is not named"
    assert after.keys() <= before.keys()
    for content, row in repaired["contents"].items():
        lost = golden["contents"][content]
        assert row["digest"] == lost["digest"]
        for name in ("pictures", "pixels", "features", "vectors"):
            names = [readable(bytes.fromhex(file)) for file in lost["files"]]
            is_named = not names or "files, from" in told or any(name in told for name in names)
            assert row[name] == lost[name] or is_named, f"{name} of content {content} is not named"
    return "repaired"


@pytest.mark.slow
@pytest.mark.timeout(60 + 10 * DAMAGES)
def test_every_damage_is_seen_and_repaired_or_refused(
    golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store in which check finds nothing has every row; another is refused at the start, and repaired but for files
    that check names. Nothing of it raises a signal: all is done in this process, which is faster, too."""
    monkeypatch.setattr(child, "run", in_this_process)
    chance, expected = random.Random(SEED), contents(golden)
    outcomes: Counter[tuple[str, str]] = Counter()
    for number in range(DAMAGES):
        kind = list(KINDS)[number % len(KINDS)]
        path = tmp_path / "damaged"
        shutil.copytree(golden, path)
        done = KINDS[kind](path / "data.mdb", chance)
        try:
            found = maintenance.check(str(path))
            outcomes[kind, judged(path, expected, found)] += 1
        except BaseException as error:
            error.add_note(f"SHAZIMD_SEED={SEED}, damage {number}: {done}")
            raise
        shutil.rmtree(path)
    print(dict(outcomes))


def spoil(store: Path, table: str, position: int) -> None:
    """Flip a bit of a stored value."""
    with lmdb.open(str(store), max_dbs=TABLES_MAX) as env, env.begin(write=True) as txn:
        handle = env.open_db(table.encode(), txn=txn, create=False)
        key, stored = list(txn.cursor(handle))[position]
        txn.put(key, stored[:-1] + bytes([stored[-1] ^ 4]), db=handle)


@pytest.mark.slow
def test_the_daemon_makes_again_what_repair_did_not_keep(tmp_path: Path) -> None:
    """Lost contents are decoded, a lost row is read; the rest is neither. Then the store equals the disk."""
    with world(tmp_path) as running:
        for number in range(20):
            (running.root / f"{number}.ppm").write_bytes(picture(number))
        running.start()
        running.rest()
        running.stop()
        for table, position in (("contents", 3), ("contents", 11), ("files", 7), ("holders", 15)):
            spoil(running.store, table, position)
        running.spawn().wait(PATIENCE_S)
        assert "shazimctl store repair" in running.events("stopped")[0]["reason"]
        assert running.ctl("store", "--store", str(running.store), "repair").returncode == 0
        running.start()
        running.rest()
        assert 2 == sum(event["decoded"] for event in running.events("image_indexed"))
        assert running.on_disk() == running.known().files
        running.stop()
    assert maintenance.check(str(running.store)) == []
