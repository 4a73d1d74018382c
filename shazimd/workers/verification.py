"""Verification as a job for a worker: the daemon names it here and never loads what it takes to do it."""

from __future__ import annotations

from collections.abc import Sequence

from shazimd.types import Verification


def verify_all(query: bytes, candidates: Sequence[bytes]) -> list[Verification]:
    """See ``imaging.verify.verify_all``."""
    from shazimd.imaging import verify

    return verify.verify_all(query, candidates)
