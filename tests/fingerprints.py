"""Verdicts on drawn pictures, of which each is fingerprinted once: tests ask about one picture several times."""

from __future__ import annotations

from functools import lru_cache

from drawn import encoded
from PIL import Image

from shazimd.fingerprint import Query
from shazimd.imaging.extract import Extractor
from shazimd.imaging.verify import verify
from shazimd.types import Verification

_EXTRACTOR = Extractor(None, 200_000_000)


@lru_cache(maxsize=32)
def query_of(data: bytes) -> Query:
    """A picture to search for, from a file's bytes; nothing in it can be changed."""
    return _EXTRACTOR.query(data)


def query(image: Image.Image) -> Query:
    """A PPM takes a twentieth of the time of a PNG, but has no alpha and no palette."""
    return query_of(encoded(image, "PPM" if image.mode in ("L", "RGB") else "PNG"))


def judged(one: Image.Image, other: Image.Image) -> Verification:
    """The verdict on two pictures, of which the first is asked about."""
    return verify(query(one).features, query(other).fingerprint.features)
