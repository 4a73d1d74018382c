"""Acts on a tree as people and programs do, and remembers what it did."""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import NamedTuple

from world import BROKEN, picture

FILES_MAX = 90
"""From 100 known files on, mass deletions would be held back (``absence``)."""


@dataclass(eq=False)
class Lineage:
    """A file over its life, with its hard links: which of them is the new one can't always be told."""

    landings: int = 0
    """how often it came to hold something new, so how often it may be told at most"""
    paths: set[str] = field(default_factory=set)
    """all that it was ever called"""


@dataclass(eq=False)
class Image:
    path: Path
    pixels: int | None
    """what names its picture: an append changes the bytes, not the picture; None for what is none"""
    lineage: Lineage
    may_be_renamed: bool = False
    """to link a file and remove its old name is to rename it, and so is to move it out and in again; to replace it by
    its own bytes is to touch it: nobody is told"""
    is_new: bool = True
    """landed since the last rest"""
    is_unchanged: bool = False
    """the same file with the same bytes since the last rest, renamed at most, so a copy that landed must be told"""

    def __post_init__(self) -> None:
        self.lineage.landings += 1
        self.lineage.paths.add(str(self.path))

    def goes(self, to: Path) -> None:
        self.path = to
        self.lineage.paths.add(str(to))

    def holds(self, pixels: int | None) -> None:
        self.pixels, self.is_new, self.is_unchanged = pixels, True, False
        self.lineage.landings += 1


class Tree(NamedTuple):
    """A directory that was moved out, and what it held."""

    top: Path
    images: list[Image]
    directories: list[Path]


class Disk:
    """A random walk over what can happen to a tree. A step that is not possible now does nothing."""

    def __init__(self, root: Path, outside: Path, chance: random.Random) -> None:
        self._outside = outside
        self._chance = chance
        self._numbers = count()
        self._away: list[Tree] = []
        self.is_changed_by_another_name = False
        """a file was changed in place under one of several names: the kernel tells of that name alone, which may be
        gone before it is looked at, so the others may wait for the next comparison"""
        self.images: list[Image] = []
        self.lineages: list[Lineage] = []
        self.directories = [root]
        self._steps = [
            *[self.write, self.copy, self.rename, self.copy_and_rename] * 3,
            *(
                self.recreate,
                self.write_slowly,
                self.write_what_is_no_picture,
                self.append,
                self.overwrite,
                self.replace,
            ),
            *(
                self.link,
                self.rename_over,
                self.delete,
                self.touch,
                self.chmod,
                self.make_directories,
                self.rename_tree,
            ),
            *(self.delete_tree, self.move_tree_out, self.move_tree_in),
        ]

    def step(self) -> str:
        """Do something; what it was."""
        step = self._chance.choice(self._steps if len(self.images) < FILES_MAX else [self.delete])
        if self.images or step in (self.write, self.make_directories):
            step()
        return step.__name__

    def rests(self) -> None:
        """All that happened was taken in."""
        for image in self.images:
            image.is_new, image.is_unchanged, image.may_be_renamed = False, True, False
        self.is_changed_by_another_name = False

    # files

    def write(self) -> None:
        path, pixels = self._new_path(), next(self._numbers)
        path.write_bytes(picture(pixels))
        self._arrives(path, pixels)

    def write_slowly(self) -> None:
        path, pixels = self._new_path(), next(self._numbers)
        data = picture(pixels)
        with path.open("wb", buffering=0) as file:
            file.write(data[:100])
            time.sleep(self._chance.choice([0, 0.05, 0.1]))  # less and more than the 30 ms until a file has settled
            file.write(data[100:])
        self._arrives(path, pixels)

    def write_what_is_no_picture(self) -> None:
        path = self._new_path()
        path.write_bytes(BROKEN + b"%d" % next(self._numbers))
        self._arrives(path, None)

    def copy(self) -> None:
        source, path = self._image(), self._new_path()
        how: Callable[[Path, Path], object] = self._chance.choice((shutil.copyfile, shutil.copy2))
        how(source.path, path)
        self._arrives(path, source.pixels)

    def link(self) -> None:
        source, path = self._image(), self._new_path()
        path.hardlink_to(source.path)
        self.images.append(Image(path, source.pixels, source.lineage, may_be_renamed=True))

    def append(self) -> None:
        """The pixels stay, as with new metadata: it is no new picture."""
        image = self._image()
        with image.path.open("ab") as file:
            file.write(b"more")
        self._is_touched(image)
        self.is_changed_by_another_name |= len(list(self._links_of(image))) > 1

    def overwrite(self) -> None:
        image, pixels = self._image(), next(self._numbers)
        image.path.write_bytes(picture(pixels))
        self._changes_in_place(image, pixels)

    def replace(self) -> None:
        """As rsync does: written under a name that is no image's, then renamed."""
        image, source = self._image(), self._image()
        aside = image.path.with_suffix(".part")
        shutil.copyfile(source.path, aside)
        aside.rename(image.path)
        image.may_be_renamed |= image.pixels == source.pixels
        image.holds(source.pixels)

    def rename(self) -> None:
        image, path = self._image(), self._new_path()
        image.path.rename(path)
        image.goes(path)

    def copy_and_rename(self) -> None:
        """A person imports a copy, and files the original away while the copy is judged."""
        original = self._image()
        path = self._new_path()
        shutil.copyfile(original.path, path)
        self._arrives(path, original.pixels)
        time.sleep(self._chance.choice([0, 0.03, 0.04, 0.05, 0.1]))  # once it has settled, after 30 ms, it is judged
        filed = self._new_path()
        original.path.rename(filed)
        original.goes(filed)

    def recreate(self) -> None:
        """Another picture under the same name, with the same size, mtime and mostly inode."""
        image, pixels = self._image(), next(self._numbers)
        before = image.path.stat()
        data = picture(pixels)
        image.path.unlink()
        image.path.write_bytes(data)
        os.utime(image.path, ns=(before.st_atime_ns, before.st_mtime_ns))
        image.holds(pixels)

    def rename_over(self) -> None:
        image, gone = self._image(), self._image()
        if image.path.samefile(gone.path):  # rename(2) does nothing for two links of one file
            return
        image.path.rename(gone.path)
        self.images.remove(gone)
        image.goes(gone.path)
        self._merge(image.lineage, gone.lineage)

    def delete(self) -> None:
        image = self._image()
        image.path.unlink()
        self.images.remove(image)

    def touch(self) -> None:
        """Renamed as well while the daemon is down, nothing tells the file from a new one."""
        image = self._image()
        image.path.touch()
        self._is_touched(image)

    def chmod(self) -> None:
        self._image().path.chmod(self._chance.choice([0o600, 0o644, 0o755]))

    # trees

    def make_directories(self) -> None:
        if len(self.directories) < 20:
            path = self._new_path("")
            (path / "deep").mkdir(parents=True)
            self.directories += [path, path / "deep"]

    def rename_tree(self) -> None:
        old, new = self._directory(), self._new_path("")
        if old is not None and not new.is_relative_to(old):
            self._put(self._take(old), new)

    def delete_tree(self) -> None:
        if old := self._directory():
            self._take(old)
            shutil.rmtree(old)

    def move_tree_out(self) -> None:
        if old := self._directory():
            tree = self._take(old)
            away = self._outside / f"{next(self._numbers)}"
            old.rename(away)
            self._away.append(tree._replace(top=away))

    def move_tree_in(self) -> None:
        if self._away:
            tree = self._away.pop()
            self._put(tree, self._new_path(""))
            for image in tree.images:
                image.holds(image.pixels)
                image.may_be_renamed = True

    def _take(self, top: Path) -> Tree:
        """No more of this; paths are relative then."""
        images = [image for image in self.images if image.path.is_relative_to(top)]
        directories = [each for each in self.directories if each.is_relative_to(top)]
        self.images = [image for image in self.images if image not in images]
        self.directories = [each for each in self.directories if each not in directories]
        for image in images:
            image.path = image.path.relative_to(top)
        return Tree(top, images, [each.relative_to(top) for each in directories])

    def _put(self, tree: Tree, top: Path) -> None:
        tree.top.rename(top)
        self.images += tree.images
        self.directories += [top / each for each in tree.directories]
        for image in tree.images:
            image.goes(top / image.path)

    def _image(self) -> Image:
        return self._chance.choice(self.images)

    def _directory(self) -> Path | None:
        return self._chance.choice(self.directories[1:]) if len(self.directories) > 1 else None

    def _new_path(self, suffix: str = ".ppm") -> Path:
        return self._chance.choice(self.directories) / f"{next(self._numbers)}{suffix}"

    def _arrives(self, path: Path, pixels: int | None) -> None:
        lineage = Lineage()
        self.lineages.append(lineage)
        self.images.append(Image(path, pixels, lineage))

    def _merge(self, one: Lineage, other: Lineage) -> None:
        if one is not other:
            one.landings += other.landings
            one.paths |= other.paths
            self.lineages.remove(other)
            for image in [*self.images, *(image for tree in self._away for image in tree.images)]:
                if image.lineage is other:
                    image.lineage = one

    def _changes_in_place(self, image: Image, pixels: int | None) -> None:
        links = list(self._links_of(image))
        for each in links:
            each.holds(pixels)
        self.is_changed_by_another_name |= len(links) > 1

    def _is_touched(self, image: Image) -> None:
        for each in self._links_of(image):
            each.lineage.landings += 1
            each.is_unchanged = False

    def _links_of(self, image: Image) -> Iterator[Image]:
        return (each for each in self.images if each.path.samefile(image.path))
