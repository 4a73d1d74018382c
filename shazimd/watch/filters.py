"""The rules of a root: directories to enter and names of image files. They need no stat, only names."""

from __future__ import annotations

import fnmatch
import os
import re
import stat
import sys
from collections.abc import Callable, Iterator

from shazimd.config import WatchConfig
from shazimd.text import NAME_BYTES_MAX

EXTENSIONS = frozenset(
    (
        b"jpg jpeg jpe jfif jif mpo png apng webp gif bmp dib tif tiff heic heics heif heifs hif avif avifs jxl "
        b"jp2 j2k j2c jpc jpf jpx ppm pgm pbm pnm pfm pam tga ico icns psd psb pcx sgi rgb rgba bw qoi dds hdr "
        b"jxr wdp hdp jls cr2 cr3 nef nrw arw sr2 srf raf orf rw2 pef srw dng"
    ).split()
)
"""Raster images, by the extensions of the formats that we decode; the README has their table. A file without such an
extension is no image file: reading all files in a tree costs more than it finds, and picks up temporary files being
written."""


class Filter:
    """A root's rules. Safe from any thread."""

    def __init__(self, config: WatchConfig, *, name_bytes_max: int | None = None) -> None:
        """``name_bytes_max``: longer names are left out; as many as the store takes by default."""
        self.root = normal_path(config.path)
        self.follow_symlinks = config.follow_symlinks
        self._sniff = config.sniff
        self._excluded = _any_of(config.exclude)
        self._name_bytes_max = NAME_BYTES_MAX if name_bytes_max is None else name_bytes_max
        self.too_long: bytes | None = None
        """the first name that was left out for its length alone"""

    def enters(self, name: bytes) -> bool:
        """Whether a directory with this name is watched and listed."""
        return not self._excluded(name) and self._fits(name)

    def takes(self, name: bytes) -> bool:
        """Whether a file with this name may be an image: by its extension, in any case, or any with ``sniff``."""
        return (self._sniff or _is_of_image(name)) and not self._excluded(name) and self._fits(name)

    def needs_sniff(self, name: bytes) -> bool:
        """Whether the first bytes of a file with this name tell, see ``watch.sniff``."""
        return self._sniff and not _is_of_image(name)

    def passes_over(self, name: bytes) -> bool:
        """Whether a file is left out for its name alone, not by an exclude glob."""
        return not self._excluded(name) and not (_is_of_image(name) and self._fits(name))

    def admits(self, path: bytes) -> bool:
        """Whether a path below the root may be an image in entered directories."""
        *directories, name = path[len(self.root) :].strip(b"/").split(b"/")
        return self.takes(name) and all(map(self.enters, directories))

    def _fits(self, name: bytes) -> bool:
        fits = len(name) <= self._name_bytes_max
        if not fits and self.too_long is None:
            self.too_long = name
        return fits


def normal_path(path: str) -> bytes:
    """The path absolute and normalised, with a single slash at its beginning: two stay in ``os.path.normpath``."""
    return b"/" + os.path.abspath(os.fsencode(path)).lstrip(b"/")


def _is_of_image(name: bytes) -> bool:
    _, dot, extension = name.rpartition(b".")
    return bool(dot) and extension.lower() in EXTENSIONS


def images_below(top: str, on_error: Callable[[OSError], None]) -> Iterator[str]:
    """The files below a directory that are named like images, sorted; ``on_error`` gets faults of directories.

    A FIFO, socket or device with such a name is no file: opening a FIFO waits for its writer."""
    rules = Filter(WatchConfig(path=top), name_bytes_max=sys.maxsize)
    for above, directories, names in os.walk(top, onerror=on_error):
        directories[:] = sorted(name for name in directories if rules.enters(os.fsencode(name)))
        paths = (os.path.join(above, name) for name in sorted(names) if rules.takes(os.fsencode(name)))
        yield from (path for path in paths if _may_be_file(path))


def _may_be_file(path: str) -> bool:
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return True  # reading it names the fault


def _any_of(globs: tuple[str, ...]) -> Callable[[bytes], object]:
    """Matches a name that any of the globs matches. Latin-1 maps each byte to one character and back."""
    if not globs:
        return lambda _: None
    patterns = (fnmatch.translate(os.fsencode(glob).decode("latin-1")) for glob in globs)
    return re.compile("|".join(patterns).encode("latin-1")).match
