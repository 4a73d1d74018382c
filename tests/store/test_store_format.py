"""FORMAT.md says what is on the disk."""

from __future__ import annotations

import re
from pathlib import Path

import lmdb
import msgspec
import pytest
from first_hashes import first_hashes

from shazimd.fingerprint import Fingerprint, Signals
from shazimd.store import records, schema
from shazimd.store.base import Store, Writer
from shazimd.store.tables import SCHEMA, TABLES_MAX, Tables, number, raw_rows, scan
from shazimd.types import FileRow, FileState, Stat

FORMAT = (Path(__file__).resolve().parents[2] / "shazimd/store/FORMAT.md").read_text()


def section(title: str) -> str:
    return re.split(r"^##+ ", FORMAT.partition(f"## {title}")[2], flags=re.MULTILINE)[0]


def first_column(text: str) -> list[str]:
    return [name for row in re.findall(r"^\| (`.*?) \|", text, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)]


def test_every_table_is_described() -> None:
    """In the order of the code, for the present schema."""
    assert first_column(section(f"Tables, schema {SCHEMA}")) == list(Tables._fields)


def test_every_version_is_in_the_history() -> None:
    """So is each one that can be migrated."""
    versions = [int(n) for n in re.findall(r"^\| (\d+) \|", section("Versions"), re.MULTILINE)]
    assert versions == [*range(1, SCHEMA + 1)] == [*schema.MIGRATIONS, SCHEMA]


@pytest.fixture
def example(store: Store) -> dict[str, list[tuple[bytes, bytes]]]:
    """The rows of the store that FORMAT.md shows."""

    def fill(w: Writer) -> None:
        fingerprint = Fingerprint(
            Signals(first_hashes(1, 2), None), None, 640, 480, "PNG", b"p" * 32, features=b"\x02" * 6000
        )
        content = w.add_content(b"d" * 32, fingerprint)
        w.put_file(b"/srv/a.png", FileRow(Stat(68000, 1764115200000000000, 1311), FileState.INDEXED, content))
        w.put_file(b"/srv/b/a.png", FileRow(Stat(68000, 1764115209000000000, 1312), FileState.INDEXED, content))

    store.write(fill)
    path = store.info()["path"]
    store.close()
    with lmdb.open(path, readonly=True, max_dbs=TABLES_MAX) as env, env.begin() as txn:
        tables = {name: env.open_db(name.encode(), txn=txn) for name in Tables._fields}
        rows = {name: list((raw_rows if name == "features" else scan)(txn, tables[name], b"")) for name in tables}
        assert list(txn.cursor(tables["digests"])) == [(b"d" * 32, bytes.fromhex("0000000000000001" + "4fb0b7cf"))]
        return rows


def test_the_example_is_what_is_written(example: dict[str, list[tuple[bytes, bytes]]]) -> None:
    """Row for row; tables that the example does not show are empty."""
    assert [row for row in example["numbers"] if row[0] != b"seen"] == [
        (b"content", number(1)),
        (b"directory", number(2)),
        (b"schema", number(SCHEMA)),
    ]
    assert example["directories"] == [(number(0) + b"srv", number(1)), (number(1) + b"b", number(2))]
    assert example["directory_names"] == [(number(1), number(0) + b"srv"), (number(2), number(1) + b"b")]
    assert [(key, msgspec.msgpack.decode(raw)) for key, raw in example["files"]] == [
        (number(1) + b"a.png", [68000, 1764115200000000000, 1311, 1, b"", 0, 0]),
        (number(2) + b"a.png", [68000, 1764115209000000000, 1312, 1, b"", 0, 0]),
    ]
    assert example["files"][0][0].hex() == "0000000000000001" + "612e706e67"
    ((key, raw),) = example["contents"]
    record = [b"d" * 32, 1, 2, 640, 480, "PNG", b"p" * 32, False, 2, b"", False]
    assert (key, msgspec.msgpack.decode(raw)) == (number(1), record)
    assert example["digests"] == [(b"d" * 32, number(1))]
    assert example["pixels"] == [(b"p" * 32 + number(1), b"")]
    assert example["holders"] == [(number(1) + number(n) + b"a.png", b"") for n in (1, 2)]
    assert [(key, len(raw)) for key, raw in example["features"]] == [
        (number(1) + bytes([0, n]), size) for n, size in enumerate((1338, 1338, 1338, 1338, 652))
    ]
    assert first_column(section("Example")) == [name for name, rows in example.items() if rows]


def test_rows_are_written_with_checksums_only() -> None:
    """The tables' functions write and read them; migrations alone write the rows of earlier schemas."""
    sources = Path(schema.__file__).parent.glob("*.py")
    others = [path for path in sources if path.name not in ("tables.py", "schema.py")]
    found = [path.name for path in others if re.search(r"txn\.(get|put|pop|replace)\(", path.read_text())]
    assert found == []


def test_another_hash_follows_the_first_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """In each orientation, behind the bytes that a row had already; a row of before reads as one that lacks it."""
    two = [(10 * n, 10 * n + 1) for n in range(8)]
    three = [(*pair, 1000 + pair[0]) for pair in two]
    without = [(*pair, None) for pair in two]
    ah, dh, before = records.encode_hashes(two)
    assert (ah, dh, before) == records.encode_hashes(without)
    *same, turned = records.encode_hashes(three)
    assert ([ah, dh], before) == (same, turned[: len(before)])
    monkeypatch.setattr(records, "_FURTHER", [len(before)])
    assert [records.upright(ah, dh, turned), *records.decode_turned(turned)] == three
    assert [records.upright(ah, dh, before), *records.decode_turned(before)] == without
    assert (records.upright(ah, dh, b""), records.decode_turned(b"")) == ((0, 1, None), ())
