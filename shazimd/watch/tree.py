"""The watched directories: one tree of nodes for each root, one table from watch descriptors to nodes for all.

A node is a watched directory. It knows its name and its parent, so a path is made when it is needed and no rename has
to rewrite any. One directory may be several nodes (bind mounts, symlinks, a root within a root): the kernel gives it
one descriptor.

A directory that appears is watched first, then listed, then told as a TREE: what came before the watch is found by
looking, what comes after it makes events. So no moment is left in which a file can slip through.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Mapping

import structlog

from shazimd.posix.mounts import Mount
from shazimd.watch.events import FileEvent, Kind, OnEvent, Stage
from shazimd.watch.filters import Filter
from shazimd.watch.inotify import IN, LOST, Event, Inotify
from shazimd.watch.listing import subdirectories

log = structlog.get_logger()

_CLOSED = IN.IN_CLOSE_WRITE | IN.IN_MOVED_TO
_GONE = IN.IN_DELETE | IN.IN_MOVED_FROM
_REMEDY = "raise fs.inotify.max_user_watches with sysctl; until then these directories are polled"


class Node:
    __slots__ = ("children", "name", "parent", "tree", "wd")

    def __init__(self, tree: Tree, parent: Node | None, name: bytes, wd: int) -> None:
        self.tree = tree
        self.parent = parent
        self.name = name
        self.wd = wd
        self.children: dict[bytes, Node] = {}

    @property
    def path(self) -> bytes:
        names = []
        node: Node | None = self
        while node is not None:
            names.append(node.name)
            node = node.parent
        return os.path.join(*reversed(names))


class Watches:
    """The table of all watched directories, over one inotify instance that starts with the first root.

    Safe from any thread: a node is added and watched, or dropped and unwatched, under one lock."""

    def __init__(self) -> None:
        self._inotify = Inotify(self)
        self._lock = threading.RLock()
        self._lifecycle = threading.Lock()
        """never taken by the reading thread, so that it can be waited for under it"""
        self._nodes: dict[int, list[Node]] = {}
        self._trees: list[Tree] = []

    def ensure_running(self, tree: Tree) -> None:
        """Count a root in. Begins anew when the reading thread is not there. Raises WatchError."""
        with self._lifecycle:
            with self._lock:
                if tree not in self._trees:
                    self._trees.append(tree)
            if not self._inotify.alive():
                self._inotify.stop()
                with self._lock:
                    self._nodes.clear()
                    for each in self._trees:
                        each.forget()
                self._inotify.start()

    def leave(self, tree: Tree) -> None:
        """Count a root out, and stop with the last one."""
        with self._lifecycle:
            with self._lock:
                if tree in self._trees:
                    self._trees.remove(tree)
            if not self._trees:
                self._inotify.stop()

    def alive(self) -> bool:
        return self._inotify.alive()

    def is_behind(self) -> bool:
        """Whether there are events that were not told yet."""
        return self._inotify.is_behind()

    def add(self, tree: Tree, parent: Node | None, name: bytes, before: Node | None) -> Node | None:
        """Watch a directory: its node, ``before`` itself where that one is still good; None when its parent is no
        longer watched. Raises OSError."""
        with self._lock:
            if parent is not None and parent not in self._nodes.get(parent.wd, ()):
                return None
            path = os.path.join(parent.path, name) if parent is not None else name
            wd = self._inotify.watch(path, tree.rules.follow_symlinks or parent is None)
            if before is not None and before.wd == wd:
                return before
            node = Node(tree, parent, name, wd)
            self._nodes.setdefault(wd, []).append(node)
            tree.watched += 1
            if before is not None:
                self.drop(before)
            if parent is not None:
                parent.children[name] = node
            return node

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
            node.tree.watched -= 1
            if not nodes:
                del self._nodes[node.wd]
                self._inotify.unwatch(node.wd)

    def on_event(self, event: Event) -> None:
        with self._lock:
            nodes = tuple(self._nodes.get(event.wd, ()))
        for node in nodes:
            if event.mask & IN.IN_IGNORED:
                self.drop(node)
            else:
                node.tree.on_event(node, event)

    def on_move(self, source: Event, target: Event) -> None:
        with self._lock:
            sources, targets = (tuple(self._nodes.get(event.wd, ())) for event in (source, target))
        if len(sources) == 1 and len(targets) == 1:
            targets[0].tree.on_move(sources[0], source, targets[0], target)
            return
        for event, nodes in ((source, sources), (target, targets)):
            for node in nodes:
                node.tree.on_event(node, event)

    def on_loss(self, reason: str) -> None:
        with self._lock:
            trees = tuple(self._trees)
        for tree in trees:
            tree.on_loss(reason)


class Tree:
    """The watches of one root, and what their events mean."""

    def __init__(self, watches: Watches, rules: Filter, on_event: OnEvent, on_loss: Callable[[str], None]) -> None:
        """``on_loss`` hears that events or watches were lost: "overflow", "died" or "root"."""
        self.rules = rules
        self.watched = 0
        self.unwatched: set[bytes] = set()
        """directories that are polled, with all below them: no watch is left, or their file system gives no events"""
        self.denied: set[bytes] = set()
        """directories that may not be read"""
        self.on_loss = on_loss
        self._watches = watches
        self._on_event = on_event
        self._mounts: Mapping[bytes, Mount] = {}
        self._root: Node | None = None
        self._noted: frozenset[bytes] = frozenset()
        """denied directories that were told of already"""
        self._exhausted = False

    def sync(self, mounts: Mapping[bytes, Mount]) -> None:
        """Watch every directory that is there, drop the watches of those that are not. Raises OSError when the root
        can't be watched or read, WatchError when there is no inotify instance."""
        self._mounts = mounts
        self._watches.ensure_running(self)
        self._exhausted = self._exhausted and bool(self.unwatched)
        self._noted = frozenset(self.denied)
        self.unwatched.clear()
        self.denied.clear()
        self._root = self._watches.add(self, None, self.rules.root, self._root)
        os.close(os.open(self.rules.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        if self._root is not None:
            self._grow(self._root)

    def poll_unwatched(self) -> None:
        """Tell of the directories without a watch, having tried once more to watch them."""
        for path in sorted(self.unwatched):
            parent = self._node_at(os.path.dirname(path))
            if parent is None:
                self.unwatched.discard(path)
                continue
            if (node := self._watch(parent, os.path.basename(path))) is not None:
                self._grow(node)
            self._on_event(FileEvent(Kind.TREE, path))

    def clear(self) -> None:
        """Drop all watches."""
        if self._root is not None:
            self._watches.drop(self._root)
        self.forget()

    def forget(self) -> None:
        """All watches are gone already."""
        self._root = None
        self.watched = 0

    def on_event(self, node: Node, event: Event) -> None:
        if not event.name:
            if node.parent is None and event.mask & LOST:
                self.on_loss("root")
        elif event.is_directory or self._is_linked_directory(node, event.name):
            self._on_directory(node, event)
        elif self.rules.takes(event.name):
            self._on_event(FileEvent(Kind.FILE, os.path.join(node.path, event.name), stage=_stage(event.mask)))

    def on_move(self, source_node: Node, source: Event, node: Node, target: Event) -> None:
        """A rename whose two halves were seen; ``node`` is ours, ``source_node`` may be of another root."""
        if not (source_node.tree.admits(source) and self.admits(target)):
            source_node.tree.on_event(source_node, source)
            self.on_event(node, target)
            return
        if source.is_directory and source.name in source_node.children:
            self._watches.drop(source_node.children[source.name])
        old, new = os.path.join(source_node.path, source.name), os.path.join(node.path, target.name)
        self._on_event(FileEvent(Kind.MOVED, new, old))
        self.on_event(node, target)

    def admits(self, event: Event) -> bool:
        return self.rules.enters(event.name) if event.is_directory else self.rules.takes(event.name)

    def _on_directory(self, node: Node, event: Event) -> None:
        if not self.rules.enters(event.name):
            return
        if event.mask & _GONE:
            if event.name in node.children:
                self._watches.drop(node.children[event.name])
            self._on_event(FileEvent(Kind.TREE, os.path.join(node.path, event.name)))
        elif not event.mask & IN.IN_ATTRIB or os.path.join(node.path, event.name) in self.denied:
            self._appeared(node, event.name)

    def _appeared(self, parent: Node, name: bytes) -> None:
        before = parent.children.get(name)
        node = self._watch(parent, name)
        if node is not None and node is before:
            return  # a walk was here first, and tells of a tree that holds this one
        if node is not None:
            self._grow(node)
        self._on_event(FileEvent(Kind.TREE, os.path.join(parent.path, name)))

    def _grow(self, top: Node) -> None:
        """Watch all below a watched directory. By a stack of our own: 2,000 levels are legal."""
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
        mount = self._mounts.get(path)
        if mount is not None and not mount.gives_events:
            self.unwatched.add(path)
            return None
        try:
            node = self._watches.add(self, parent, name, parent.children.get(name))
        except OSError as error:
            self._cannot_watch(path, error)
            return None
        self.unwatched.discard(path)
        self.denied.discard(path)
        return node

    def _cannot_watch(self, path: bytes, error: OSError) -> None:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return  # it went, or became something else, since it was listed: its parent hears of that
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
        """Events on a symlink do not say that it leads to a directory."""
        if not self.rules.follow_symlinks or self.rules.takes(name):
            return False
        return name in node.children or os.path.isdir(os.path.join(node.path, name))

    def _node_at(self, path: bytes) -> Node | None:
        node = self._root
        for name in path[len(self.rules.root) :].strip(b"/").split(b"/"):
            if name and node is not None:
                node = node.children.get(name)
        return node


def _stage(mask: int) -> Stage:
    if mask & IN.IN_DELETE:
        return Stage.GONE
    if mask & IN.IN_MOVED_FROM:
        return Stage.AWAY
    return Stage.CLOSED if mask & _CLOSED else Stage.OPEN
