"""The watched directories: a tree of nodes for each root, and a table from watch descriptors to nodes for all roots.

A node is a watched directory with its name and its parent. Paths are built on demand, and a rename rewrites none. A
directory may have several nodes (bind mounts, symlinks, a root within a root), but only a single descriptor.

A new directory is first watched, then listed, then reported as a TREE: the scan finds files from before the watch, and
events report later files, so no file is missed in between.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress

import structlog

from shazimd.posix.mounts import Mount, mount_around
from shazimd.watch.events import FileEvent, Kind, OnFileEvent, Stage
from shazimd.watch.filters import Filter
from shazimd.watch.inotify import IN, LOST, Inotify, InotifyEvent
from shazimd.watch.links import links_on
from shazimd.watch.listing import subdirectories

log = structlog.get_logger()

_STAGES = (
    (IN.IN_DELETE, Stage.GONE),
    (IN.IN_MOVED_FROM, Stage.AWAY),
    (IN.IN_CLOSE_WRITE | IN.IN_MOVED_TO, Stage.CLOSED),
    (IN.IN_MODIFY, Stage.WRITING),
)
_GONE = IN.IN_DELETE | IN.IN_MOVED_FROM
_REMEDY = "raise fs.inotify.max_user_watches with sysctl; until then these directories are polled"


class Node:
    __slots__ = ("children", "leads_to", "name", "parent", "root", "wd")

    def __init__(self, root: RootWatches, parent: Node | None, name: bytes, wd: int) -> None:
        self.root = root
        self.parent = parent
        self.name = name
        self.wd = wd
        self.leads_to: bytes | None = None
        """the path without symlinks of a root or a followed link"""
        self.children: dict[bytes, Node] = {}

    @property
    def path(self) -> bytes:
        names = []
        node: Node | None = self
        while node is not None:
            names.append(node.name)
            node = node.parent
        return os.path.join(*reversed(names))

    @property
    def real_path(self) -> bytes:
        """The path without symlinks, as the mount table has it."""
        names = []
        node = self
        while node.leads_to is None and node.parent is not None:
            names.append(node.name)
            node = node.parent
        return os.path.join(node.leads_to or node.name, *reversed(names))


class Watches:
    """The table of all watched directories, over one inotify instance that starts with the first root.

    Safe from any thread: a node is added and watched, or dropped and unwatched, under one lock."""

    def __init__(self) -> None:
        self._inotify = Inotify(self)
        self._lock = threading.RLock()
        self._lifecycle = threading.Lock()
        """never taken by the reading thread, which may be joined while this is held"""
        self._nodes: dict[int, list[Node]] = {}
        self._links: dict[int, set[RootWatches]] = {}
        """roots by the descriptors of the links that lead to them"""
        self._roots: list[RootWatches] = []

    def ensure_running(self, root: RootWatches) -> None:
        """Register a root. Starts, or restarts after its death, the reading thread. Raises WatchError."""
        with self._lifecycle:
            with self._lock:
                if root not in self._roots:
                    self._roots.append(root)
            if not self._inotify.alive():
                self._inotify.stop()
                with self._lock:
                    self._nodes.clear()
                    self._links.clear()
                    for each in self._roots:
                        each.forget()
                self._inotify.start()

    def leave(self, root: RootWatches) -> None:
        """Unregister a root; the last one stops the reading thread."""
        with self._lifecycle:
            with self._lock:
                if root in self._roots:
                    self._roots.remove(root)
            if not self._roots:
                self._inotify.stop()

    def alive(self) -> bool:
        return self._inotify.alive()

    def is_behind(self) -> bool:
        """Whether there are events that were not handled yet."""
        return self._inotify.is_behind()

    def add(
        self, root: RootWatches, parent: Node | None, name: bytes, before: Node | None, leads_to: bytes | None = None
    ) -> Node | None:
        """Watch a directory and return its node: ``before`` if still valid, None if its parent is no longer watched.

        ``leads_to``: as in the node. Raises OSError."""
        with self._lock:
            if parent is not None and parent not in self._nodes.get(parent.wd, ()):
                return None
            path = os.path.join(parent.path, name) if parent is not None else name
            wd = self._inotify.watch(path, root.rules.follow_symlinks or parent is None)
            if before is not None and before.wd == wd:
                before.leads_to = leads_to
                return before
            node = Node(root, parent, name, wd)
            node.leads_to = leads_to
            self._nodes.setdefault(wd, []).append(node)
            root.count += 1
            if before is not None:
                self.drop(before)
            if parent is not None:
                parent.children[name] = node
            return node

    def add_links(self, root: RootWatches) -> None:
        """Watch the links that lead to a root, and no other links for it."""
        with self._lock:
            self.drop_links(root)
            for link in links_on(root.rules.root):
                with suppress(OSError):  # replaced meanwhile, or no watch is left: the next walk finds its target
                    self._links.setdefault(self._inotify.watch_link(link), set()).add(root)

    def drop_links(self, root: RootWatches) -> None:
        with self._lock:
            for wd, roots in list(self._links.items()):
                roots.discard(root)
                if not roots:
                    del self._links[wd]
                    self._inotify.unwatch(wd)

    def drop(self, top: Node) -> None:
        """Stop watching a directory and all below it."""
        with self._lock:
            if top.parent is not None and top.parent.children.get(top.name) is top:
                del top.parent.children[top.name]
            stack = [top]
            while stack:
                node = stack.pop()
                stack += node.children.values()
                self._forget(node)

    def _forget(self, node: Node) -> None:
        nodes = self._nodes.get(node.wd, [])
        if node in nodes:
            nodes.remove(node)
            node.root.count -= 1
            if not nodes:
                del self._nodes[node.wd]
                self._inotify.unwatch(node.wd)

    def handle_event(self, event: InotifyEvent) -> None:
        with self._lock:
            nodes, linked = tuple(self._nodes.get(event.wd, ())), tuple(self._links.get(event.wd, ()))
            if event.mask & IN.IN_IGNORED:
                self._links.pop(event.wd, None)
                for node in nodes:
                    self.drop(node)
                return
        for root in linked:
            root.on_loss("link")
        for node in nodes:
            node.root.handle_event(node, event)

    def handle_move(self, source: InotifyEvent, target: InotifyEvent) -> None:
        with self._lock:
            sources, targets = (tuple(self._nodes.get(event.wd, ())) for event in (source, target))
        if len(sources) == 1 and len(targets) == 1:
            targets[0].root.handle_move(sources[0], source, targets[0], target)
            return
        self.handle_event(source)
        self.handle_event(target)

    def handle_loss(self, reason: str) -> None:
        with self._lock:
            roots = tuple(self._roots)
        for root in roots:
            root.on_loss(reason)


class RootWatches:
    """The watches of one root; translates inotify events to file events."""

    def __init__(self, watches: Watches, rules: Filter, report: OnFileEvent, on_loss: Callable[[str], None]) -> None:
        """``on_loss`` gets the reason of lost events or watches: "overflow", "died" or "root", and "link" when a link
        to the root was replaced."""
        self.rules = rules
        self.count = 0
        self.unwatched: set[bytes] = set()
        """directories polled with all below them: watches are used up, or their file system has no events"""
        self.denied: set[bytes] = set()
        """unreadable directories"""
        self._shares: set[bytes] = set()
        """directories met so far whose file system has no events"""
        self.on_loss = on_loss
        self._watches = watches
        self._report = report
        self._mounts: Mapping[bytes, Mount] = {}
        self._root: Node | None = None
        self._noted: frozenset[bytes] = frozenset()
        """unreadable directories in the log already"""
        self._exhausted = False

    def sync(self, mounts: Mapping[bytes, Mount]) -> None:
        """Watch all directories of the root, and drop the watches of deleted ones.

        Raises OSError if the root can't be watched or read, WatchError if there is no inotify instance."""
        self._mounts = mounts
        self._watches.ensure_running(self)
        self._exhausted = self._exhausted and bool(self.unwatched)
        self._noted = frozenset(self.denied)
        self.unwatched.clear()
        self.denied.clear()
        self._watches.add_links(self)  # before the directory: a link turned meanwhile makes an event
        leads_to = os.path.realpath(self.rules.root)
        self._root = self._watches.add(self, None, self.rules.root, self._root, leads_to)
        os.close(os.open(self.rules.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        if self._root is not None:
            self._grow(self._root)

    def poll_unwatched(self) -> None:
        """Report the directories without a watch, after another try to watch them."""
        for path in sorted(self.unwatched):
            parent = self._node_at(os.path.dirname(path))
            if parent is None:
                self.unwatched.discard(path)
                continue
            if (node := self._watch(parent, os.path.basename(path))) is not None:
                self._grow(node)
            self._report(FileEvent(Kind.TREE, path))

    def stalling(self, path: bytes) -> bytes | None:
        """The directory around a path of the root whose file system may hang: the root itself if links are followed and
        there is a share, since a listing of any directory asks the targets of its links."""
        if self._shares and self.rules.follow_symlinks:
            return self.rules.root
        while self._shares and path not in self._shares and len(path) > len(self.rules.root):
            path = os.path.dirname(path)
        return path if path in self._shares else None

    def clear(self) -> None:
        """Drop all watches."""
        if self._root is not None:
            self._watches.drop(self._root)
        self._watches.drop_links(self)
        self.forget()

    def forget(self) -> None:
        """Reset after the loss of all watches."""
        self._root = None
        self.count = 0

    def handle_event(self, node: Node, event: InotifyEvent) -> None:
        if not event.name:
            if node.parent is None and event.mask & LOST:
                self.on_loss("root")
        elif event.is_directory or self._is_linked_directory(node, event.name):
            self._handle_directory(node, event)
        elif self.rules.takes(event.name):
            stage = next((stage for bits, stage in _STAGES if event.mask & bits), Stage.OPEN)
            self._report(FileEvent(Kind.FILE, os.path.join(node.path, event.name), stage=stage))

    def handle_move(self, source_node: Node, source: InotifyEvent, node: Node, target: InotifyEvent) -> None:
        """Handle a complete rename into ``node`` of this root; ``source_node`` may be of another root."""
        if not (source_node.root.admits(source) and self.admits(target)):
            source_node.root.handle_event(source_node, source)
            self.handle_event(node, target)
            return
        if source.is_directory and source.name in source_node.children:
            self._watches.drop(source_node.children[source.name])
        old, new = os.path.join(source_node.path, source.name), os.path.join(node.path, target.name)
        self._report(FileEvent(Kind.MOVED, new, old))
        self.handle_event(node, target)

    def admits(self, event: InotifyEvent) -> bool:
        return self.rules.enters(event.name) if event.is_directory else self.rules.takes(event.name)

    def _handle_directory(self, node: Node, event: InotifyEvent) -> None:
        if not self.rules.enters(event.name):
            return
        if event.mask & _GONE:
            if event.name in node.children:
                self._watches.drop(node.children[event.name])
            self._report(FileEvent(Kind.TREE, os.path.join(node.path, event.name)))
        elif not event.mask & IN.IN_ATTRIB or os.path.join(node.path, event.name) in self.denied:
            self._add(node, event.name)

    def _add(self, parent: Node, name: bytes) -> None:
        before = parent.children.get(name)
        node = self._watch(parent, name)
        if node is not None and node is before:
            return  # a walk added this node and reports a directory above
        if node is not None:
            self._grow(node)
        self._report(FileEvent(Kind.TREE, os.path.join(parent.path, name)))

    def _grow(self, top: Node) -> None:
        """Watch all directories below a watched one. Not recursive: 2,000 levels are legal."""
        stack = [top]
        while stack:
            node = stack.pop()
            names = self._list(node)
            for name in node.children.keys() - set(names):
                self._watches.drop(node.children[name])
            stack += [child for name in names if (child := self._watch(node, name)) is not None]

    def _list(self, node: Node) -> list[bytes]:
        try:
            return subdirectories(node.path, self.rules)
        except OSError as error:
            self._cannot_watch(node.path, error)
            return []

    def _watch(self, parent: Node, name: bytes) -> Node | None:
        path = os.path.join(parent.path, name)
        leads_to, mount = self._place_of(os.path.join(parent.real_path, name))
        if mount is not None and not mount.gives_events:
            self._shares.add(path)
            self.unwatched.add(path)
            return None
        try:
            node = self._watches.add(self, parent, name, parent.children.get(name), leads_to)
        except OSError as error:
            self._cannot_watch(path, error)
            return None
        self.unwatched.discard(path)
        self.denied.discard(path)
        return node

    def _place_of(self, path: bytes) -> tuple[bytes | None, Mount | None]:
        """The target of a followed link and the mount of the target; for a directory, None and its own mount."""
        mount = self._mounts.get(path)
        if mount is not None or not self.rules.follow_symlinks or not os.path.islink(path):
            return None, mount
        leads_to = os.path.realpath(path)
        return leads_to, mount_around(leads_to, self._mounts)

    def _cannot_watch(self, path: bytes, error: OSError) -> None:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return  # deleted or replaced since the listing: the parent has an event
        if error.errno in (errno.EACCES, errno.EPERM):
            self.denied.add(path)
            if path not in self._noted:
                log.warning("directory_unreadable", path=path, reason=error.strerror)
            return
        self.unwatched.add(path)
        if not self._exhausted:
            self._exhausted = True
            log.warning("directories_unwatched", root=self.rules.root, reason=error.strerror, remedy=_REMEDY)

    def _is_linked_directory(self, node: Node, name: bytes) -> bool:
        """Whether the name is a followed symlink to a directory; its events lack IN_ISDIR."""
        if not self.rules.follow_symlinks or (self.rules.takes(name) and not self.rules.needs_sniff(name)):
            return False
        return name in node.children or os.path.isdir(os.path.join(node.path, name))

    def _node_at(self, path: bytes) -> Node | None:
        node = self._root
        for name in path[len(self.rules.root) :].strip(b"/").split(b"/"):
            if name and node is not None:
                node = node.children.get(name)
        return node
