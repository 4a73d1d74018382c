"""Pictures with few features are compared whole, upright and mirrored."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps

from shazimd.imaging.features import Features, Shown, extract_features, unpack_features
from shazimd.imaging.whole import compared_whole, whole_views
from shazimd.types import Verdict


def flag(*, is_upright: bool) -> Image.Image:
    """A cross off the middle, and an upright or a lying bar in its upper right quarter."""
    image = Image.new("RGB", (300, 200), (20, 40, 120))
    draw = ImageDraw.Draw(image)
    draw.rectangle((80, 0, 120, 200), fill="white")
    draw.rectangle((0, 80, 300, 120), fill="white")
    draw.rectangle((195, 10, 215, 70) if is_upright else (175, 30, 235, 50), fill=(255, 205, 0))
    return image


def features(image: Image.Image) -> Features:
    return unpack_features(extract_features(Shown(np.asarray(image))))


def test_a_mirrored_variant_says_where_it_differs_in_each_picture() -> None:
    """The bar is on the right of the query as it is, and on the left of the match."""
    lying = features(ImageOps.mirror(flag(is_upright=False)))
    found = compared_whole(whole_views(features(flag(is_upright=True))), lying)
    assert found is not None
    assert found.mapping is not None
    assert (found.verdict, found.mapping.mirrored) == (Verdict.VARIANT, True)
    assert found.differs is not None
    for ours, theirs in found.differs.regions:
        assert 0.55 < ours[0] < ours[2] < 0.8
        assert theirs == pytest.approx((1 - ours[2], ours[1], 1 - ours[0], ours[3]), abs=0.01)
