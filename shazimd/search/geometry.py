"""A verification seen from its other picture."""

from __future__ import annotations

import cmath
import math
from dataclasses import replace

from shazimd.types import Mapping, Verification


def inverted(found: Verification, query: tuple[int, int], match: tuple[int, int]) -> Verification:
    """The verification as if the match had been the query; ``query`` and ``match`` are sizes in pixels.

    The map is taken as a similarity: a stretched picture's region is a little off."""
    differs = found.differs and found.differs.inverted()
    mapping = found.mapping and _inverted_map(found.mapping, query[1] / query[0], match[1] / match[0])
    return replace(found, mapping=mapping, differs=differs)


def _inverted_map(found: Mapping, query_aspect: float, match_aspect: float) -> Mapping:
    """Lengths are in widths of their picture; a point is a complex number, and a mirror image its conjugate, negated.

    Forward: match = centre + scale * turn * mirrored(query - query's centre)."""
    left, top, right, bottom = found.region
    centre = complex((left + right) / 2, (top + bottom) / 2 * match_aspect)
    turn = cmath.exp(1j * math.radians(found.rotation_deg))
    corners = [complex(x, y * match_aspect) for x in (0.0, 1.0) for y in (0.0, 1.0)]
    turned = [(corner - centre) / (found.scale * turn) for corner in corners]
    placed = [(-each.conjugate() if found.mirrored else each) + complex(0.5, query_aspect / 2) for each in turned]
    xs, ys = [each.real for each in placed], [each.imag / query_aspect for each in placed]
    rotation = found.rotation_deg if found.mirrored else -found.rotation_deg
    return Mapping(1 / found.scale, rotation, found.mirrored, (min(xs), min(ys), max(xs), max(ys)))
