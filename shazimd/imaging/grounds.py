"""Lay two pictures on a common ground before they are compared.

A cut-out or a logo with transparent pixels is flattened on white here, and elsewhere on black, on grey or on the colour
of a page. The transparency of each pixel is kept, and the picture can be laid on the ground along the border of the
other picture.
"""

from __future__ import annotations

from shazimd.imaging.features import Features

_NEAR = 8.0
"""Levels: grounds that differ by less look the same."""


def on_one_ground(query: Features, candidate: Features) -> tuple[Features, Features] | None:
    """Both pictures, the picture with transparent pixels laid on the other's ground if the two grounds differ; None if
    nothing of the picture shows there."""
    if query.small.clear is None and candidate.small.clear is None:
        return query, candidate
    ours, theirs = query.small.ground, candidate.small.ground
    if ours is None or theirs is None or max(abs(a - b) for a, b in zip(ours, theirs, strict=True)) < _NEAR:
        return query, candidate
    if query.small.clear is None:
        return (query, candidate.on(ours)) if candidate.small.shows_on(ours) else None
    return (query.on(theirs), candidate) if query.small.shows_on(theirs) else None
