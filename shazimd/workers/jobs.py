"""Jobs of the workers: stateless functions, which any worker can run.

The daemon imports this module only to name the functions. Heavy imports stay inside them: it never loads a decoder. A
worker has them done by ``loading`` before it is confined.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from shazimd.errors import ModelError
from shazimd.fingerprint import Fingerprint, Query
from shazimd.models.model import ModelInfo, NoVector
from shazimd.types import Evidence, Mapping, PictureFacts, Verification
from shazimd.workers.loading import opened

if TYPE_CHECKING:
    from shazimd.imaging.extract import Extractor

T = TypeVar("T")


def fingerprint(data: bytes, model: ModelInfo | None, max_pixels: int, features: bool) -> Fingerprint:
    """See ``Extractor.fingerprint``; also raises ModelError when the model could not be opened.

    A picture of which the model makes no vector is fingerprinted without the model."""
    return _made(lambda extractor: extractor.fingerprint(data), model, max_pixels, features)


def query(data: bytes, model: ModelInfo | None, max_pixels: int, features: bool) -> Query:
    """See ``Extractor.query``; otherwise as ``fingerprint``."""
    return _made(lambda extractor: extractor.query(data), model, max_pixels, features)


def query_without_points(data: bytes, model: ModelInfo | None, max_pixels: int) -> Query:
    """As ``query``, but for what ``points`` gives."""
    return _made(lambda extractor: extractor.query(data, has_points=False), model, max_pixels, True)


def points(data: bytes, max_pixels: int) -> bytes:
    """See ``Extractor.points``."""
    return _extractor(None, max_pixels, True).points(data)


def verify_all(query: bytes, candidates: Sequence[bytes]) -> list[Verification]:
    """See ``imaging.verify.verify_all``."""
    from shazimd.imaging import verify

    return verify.verify_all(query, candidates)


def lineage(asked: bytes, known: bytes, mapping: Mapping, max_pixels: int) -> Evidence:
    """See ``imaging.lineage.lineage``."""
    from shazimd.imaging import lineage

    return lineage.lineage(asked, known, mapping, max_pixels)


def picture_facts(data: bytes, max_pixels: int) -> PictureFacts:
    """See ``imaging.lineage.picture_facts``."""
    from shazimd.imaging import lineage

    return lineage.picture_facts(data, max_pixels)


def rendition(data: bytes, side_max: int, max_pixels: int) -> bytes:
    """See ``imaging.rendition.rendition``."""
    from shazimd.imaging.rendition import rendition as make

    return make(data, side_max, max_pixels)


def upright_size(data: bytes, max_pixels: int) -> tuple[int, int]:
    """Width and height of a picture in pixels, after its EXIF orientation. See ``imaging.decode.decode``."""
    from shazimd.imaging.decode import decode

    picture = decode(data, side_min=1, max_pixels=max_pixels, is_named=False)
    return picture.width, picture.height


def matched_points(query: bytes, match: bytes, max_pixels: int) -> list[tuple[float, float, float, float]]:
    """See ``imaging.matched.matched_points``; of the pictures in two files."""
    from shazimd.imaging.matched import matched_points as matched

    extractor = _extractor(None, max_pixels, True)
    return matched(extractor.query(query).features, extractor.query(match).features)


def _made(make: Callable[[Extractor], T], model: ModelInfo | None, max_pixels: int, features: bool) -> T:
    try:
        return make(_extractor(model, max_pixels, features))
    except NoVector:
        return make(_extractor(None, max_pixels, features))


def _extractor(model: ModelInfo | None, max_pixels: int, features: bool) -> Extractor:
    from shazimd.imaging.extract import Extractor

    found = None if model is None else opened(model)
    if isinstance(found, ModelError):
        raise found
    return Extractor(found, max_pixels, features=features)
