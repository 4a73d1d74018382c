"""Keys: how a path of any length becomes keys of at most 511 bytes, LMDB's limit.

A path of 4096 bytes is too long for a key, a name of 255 is not. So directories are numbered, and a name is looked up
in its directory, the way a file system does it:

    /srv/p/ski.jpg   ->   (0, "srv") = 7      (7, "p") = 9      file (9, "ski.jpg")

Numbers in keys are 8 bytes, most significant first, so that the order of the bytes is the order of the numbers and one
prefix scan lists a directory.
"""

from __future__ import annotations

ROOT = 0
"""The number of the directory "/"."""

NUMBER_BYTES = 8
NAME_BYTES_MAX = 495
"""The longest key with a name in it is (content, directory, name). Linux itself keeps to 255; vfat and NTFS, with 255
UTF-16 units, reach further."""


def number(n: int) -> bytes:
    """A number as it stands in a key.

    >>> number(258)
    b'\\x00\\x00\\x00\\x00\\x00\\x00\\x01\\x02'
    """
    return n.to_bytes(NUMBER_BYTES, "big")


def parse_number(key: bytes) -> int:
    """The number that a key begins with."""
    return int.from_bytes(key[:NUMBER_BYTES], "big")


def split(path: bytes) -> list[bytes]:
    """The names in an absolute, normalised path; none for "/". Raises ValueError for any other path.

    >>> split(b"/srv/p")
    [b'srv', b'p']
    """
    if path == b"/":
        return []
    names = path.split(b"/")
    if names.pop(0) or not all(map(_is_name, names)):
        raise ValueError(
            f"path is {path!r}, expected an absolute, normalised one with names of at most {NAME_BYTES_MAX} bytes"
        )
    return names


def split_file(path: bytes) -> tuple[list[bytes], bytes]:
    """The names of the directories above a file, and its own. Raises ValueError, also for "/"."""
    *directories, name = split(path) or [b""]
    if not name:
        raise ValueError("path is b'/', expected that of a file")
    return directories, name


def join(directory: bytes, name: bytes) -> bytes:
    """The path of a name in a directory.

    >>> join(b"/", b"srv"), join(b"/srv", b"p")
    (b'/srv', b'/srv/p')
    """
    return b"/" + name if directory == b"/" else directory + b"/" + name


def _is_name(name: bytes) -> bool:
    return 0 < len(name) <= NAME_BYTES_MAX and name not in (b".", b"..") and b"\0" not in name
