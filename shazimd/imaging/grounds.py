"""Lay two pictures on one ground before they are compared.

A cut-out or a logo with transparent pixels is flattened on white here, and elsewhere on black, on grey or on the colour
of a page. It is kept how far each pixel is transparent, so the picture can be laid on the ground that the other one
shows along its border.
"""

from __future__ import annotations

from shazimd.imaging.features import Features

_NEAR = 8.0
"""Levels: grounds that differ by less look the same."""


def on_one_ground(query: Features, candidate: Features) -> tuple[Features, Features] | None:
    """Both pictures, the one with transparent pixels laid on the other's ground if that one shows another; None where
    nothing of it shows there."""
    if query.small.clear is None and candidate.small.clear is None:
        return query, candidate
    ours, theirs = query.small.ground, candidate.small.ground
    if ours is None or theirs is None or max(abs(a - b) for a, b in zip(ours, theirs, strict=True)) < _NEAR:
        return query, candidate
    if query.small.clear is None:
        return (query, candidate.on(ours)) if candidate.small.shows_on(ours) else None
    return (query.on(theirs), candidate) if query.small.shows_on(theirs) else None
