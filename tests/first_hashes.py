"""Hashes of a picture that needs no others."""

from __future__ import annotations

from shazimd.text import HASHES
from shazimd.types import Hashes


def first_hashes(*bits: int | None) -> Hashes:
    """The first hashes; the others are missing, and do not count."""
    return (*bits, *[None] * (len(HASHES) - len(bits)))
