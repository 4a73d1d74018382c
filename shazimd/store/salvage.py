"""The whole rows of a damaged store, and the files that the rest concerns.

Most tables say the same thing twice: a file names its content, and the content lists its files. So a lost row is known
by the one that answers it, and no more is made again than was lost:

    the row of a file          its content lists it: the file is read again, and not decoded
    a content                  its files name it: they are decoded again
    features, vectors          the content is without them: they are made again
    a directory                it has a row by number and one by name; without both, its files are found again
    digests, pixels, holders, deletions, counters: made again from the other tables

Files of other hosts are left out: they are followed again.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from shazimd.store import keys, records
from shazimd.store.damage import TableRows
from shazimd.store.records import ContentRecord, FileRecord, ModelRecord
from shazimd.store.tables import MODEL_BYTES, NUMBER_BYTES, Tables, number, parse_number
from shazimd.store.unsound import is_sound
from shazimd.text import readable

READ_AGAIN = "its row is lost: the file is read again"
FOUND_AGAIN = "its directory is lost: the file is found again"
DECODED_AGAIN = "its content is lost: the file is decoded again"
FEATURES_AGAIN = "its local features are lost: they are made again"
VECTOR_AGAIN = "a feature vector of it is lost: it is made again"


class Salvage:
    """The whole and sound rows of all tables but the large ones, whose values are only counted."""

    def __init__(self, rows: TableRows) -> None:
        self._read = rows
        self.tables: dict[str, dict[bytes, bytes]] = {}
        self.featured: set[bytes] = set()
        """contents with whole features"""
        self.vectors: set[bytes] = set()
        """keys of whole vectors"""
        for name in Tables._fields:
            if name == "features":
                self.featured = {key for key, _ in rows.of(name)}
            elif name == "vectors":
                self.vectors = {key for key, _ in rows.of(name)}
            else:
                rows_of = ((key, value) for key, value in rows.of(name) if not _is_foreign(name, key))
                self.tables[name] = {key: value for key, value in rows_of if is_sound(name, value)}

    def concerned(self) -> dict[bytes, str]:
        """The files that the damage concerns: their paths, and what is done for each by ``store repair``."""
        found: dict[bytes, str] = {}
        for key in self.tables["contents"]:
            if reason := self._lack(key):
                found |= dict.fromkeys(self.holders.get(key, ()), reason)
        found |= dict.fromkeys(self.lost_rows, READ_AGAIN)
        for key, record in self.files.items():
            if record.content and number(record.content) not in self.tables["contents"]:
                found[key] = DECODED_AGAIN
            elif not self.is_placed(parse_number(key)):
                found[key] = FOUND_AGAIN
        return {self.path(key): reason for key, reason in sorted(found.items())}

    def unnamed(self) -> Iterator[str]:
        """Files that nothing names, as ranges of paths: the rows on a lost page, of files that have no content to list
        them, or whose content no longer lists them."""
        kind = "files" if self.is_damaged("holders") else "files that failed"
        for fault in self._read.faults:
            if fault.table == "files" and fault.low is not None:
                first = readable(self.path(fault.low)) if fault.low else "the first file"
                last = "the last file" if fault.high is None else readable(self.path(fault.high))
                yield f"{kind}, from {first} to {last}: their rows are lost: the files are found again"

    @cached_property
    def files(self) -> dict[bytes, FileRecord]:
        return {key: records.decode(raw, FileRecord) for key, raw in self.tables["files"].items()}

    @cached_property
    def contents(self) -> dict[bytes, ContentRecord]:
        return {key: records.decode(raw, ContentRecord) for key, raw in self.tables["contents"].items()}

    @cached_property
    def holders(self) -> dict[bytes, list[bytes]]:
        """The files of each content, by what the files say, and by what the contents say."""
        found: dict[bytes, list[bytes]] = {}
        for key, record in self.files.items():
            found.setdefault(number(record.content), []).append(key)
        for key, file in self.lost_rows.items():
            found.setdefault(file, []).append(key)
        return found

    @cached_property
    def lost_rows(self) -> dict[bytes, bytes]:
        """Files without a whole row, and the content that lists them."""
        rows = ((key[NUMBER_BYTES:], key[:NUMBER_BYTES]) for key in self.tables["holders"])
        return {file: content for file, content in rows if file not in self.files}

    def is_damaged(self, table: str) -> bool:
        """Whether rows of a table are lost."""
        return table in {fault.table for fault in self._read.faults} | {name for name, _ in self._read.damaged}

    def last(self, table: str) -> int:
        """The greatest number among the keys of a table."""
        return max((parse_number(key) for key in self.tables[table]), default=0)

    def path(self, key: bytes) -> bytes:
        """The path of a file or directory by its key, which may begin with an unknown directory."""
        names, directory = [key[NUMBER_BYTES:]], parse_number(key)
        while directory != keys.ROOT and directory in self._places and len(names) <= len(self._places):
            directory, name = self._places[directory]
            names.append(name)
        above = b"" if directory == keys.ROOT else b"(unknown directory %d)" % directory
        return above + b"/" + b"/".join(reversed(names))

    def is_placed(self, directory: int) -> bool:
        """Whether the path of a directory is known."""
        return self.path(number(directory) + b"x").startswith(b"/")

    @cached_property
    def _places(self) -> dict[int, tuple[int, bytes]]:
        """Parent and name of each directory."""
        by_name = ((parse_number(raw), key) for key, raw in self.tables["directories"].items())
        by_number = ((parse_number(key), raw) for key, raw in self.tables["directory_names"].items())
        return {child: (parse_number(place), place[NUMBER_BYTES:]) for child, place in (*by_name, *by_number)}

    @cached_property
    def models(self) -> dict[str, ModelRecord]:
        found = {key.decode(): records.decode(raw, ModelRecord) for key, raw in self.tables["models"].items()}
        return dict(sorted(found.items(), key=lambda item: item[1].number))

    def _lack(self, content: bytes) -> str:
        """The loss of a content's derived data."""
        if self.contents[content].features_version and content not in self.featured:
            return FEATURES_AGAIN
        lacks = any(prefix + content not in self.vectors for prefix in self._incomplete_models)
        return VECTOR_AGAIN if lacks or content in self._of_unknown_models else ""

    @cached_property
    def _of_unknown_models(self) -> set[bytes]:
        """Contents with a vector of a model whose row is lost, and with it the vector."""
        known = {record.prefix for record in self.models.values()}
        return {key[MODEL_BYTES:] for key in self.vectors if key[:MODEL_BYTES] not in known}

    @cached_property
    def _incomplete_models(self) -> list[bytes]:
        """The prefixes of models that have fewer vectors than they counted."""
        found: dict[bytes, int] = {}
        for key in self.vectors:
            found[key[:MODEL_BYTES]] = found.get(key[:MODEL_BYTES], 0) + 1
        prefixes = {record.prefix: record.vectors for record in self.models.values()}
        return [prefix for prefix, counted in prefixes.items() if found.get(prefix, 0) < counted]


_DIRECTORY_AT = {"files": 0, "directories": 0, "directory_names": 0, "holders": NUMBER_BYTES}
"""The place of a directory's number in the keys of these tables."""


def _is_foreign(table: str, key: bytes) -> bool:
    """Whether a row is about the files of another host."""
    if table == "values":
        return key in (b"openings", b"foreign")
    start = _DIRECTORY_AT.get(table)
    return start is not None and keys.is_foreign_key(key[start:])
