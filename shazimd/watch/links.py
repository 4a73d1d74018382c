"""Symbolic links on the way to a directory."""

from __future__ import annotations

import os

_LINKS_MAX = 40
"""The kernel follows no more (path_resolution(7))."""


def links_on(path: bytes) -> list[bytes]:
    """The links that a lookup of an absolute path follows, in order; those up to a missing directory."""
    links: list[bytes] = []
    at, rest = b"/", path.split(b"/")
    while rest and len(links) < _LINKS_MAX:
        name = rest.pop(0)
        if name == b"..":
            at = os.path.dirname(at)
        elif name not in (b"", b"."):
            at = os.path.join(at, name)
            try:
                target = os.readlink(at)
            except OSError:  # no link
                continue
            links.append(at)
            at, rest = b"/" if target.startswith(b"/") else os.path.dirname(at), [*target.split(b"/"), *rest]
    return links
