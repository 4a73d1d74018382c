"""The parts of two pictures that a map lays on each other."""

from __future__ import annotations

import numpy as np
import pytest

from shazimd.imaging.features import Features, Shown, extract_features, unpack_features
from shazimd.imaging.mapping import shared_parts


@pytest.fixture(scope="module")
def features() -> Features:
    pixels = np.random.default_rng(5).integers(0, 256, (160, 240, 3), np.uint8)
    return unpack_features(extract_features(Shown(pixels)))


def test_pictures_that_lie_on_each_other_up_to_rounding_share_all(features: Features) -> None:
    """Edges on one line, or as near to it as a fit by least squares comes, are no edges apart."""
    rng = np.random.default_rng(7)
    for _ in range(500):
        affine = np.eye(2, 3) + rng.normal(0, 1, (2, 3)) * 10 ** rng.uniform(-17, -5)
        assert shared_parts(affine, features, features) == pytest.approx((1, 1), abs=1e-3)


def test_a_quarter_and_nothing_are_shared(features: Features) -> None:
    width, height = features.width, features.height
    quarter = np.array([[1, 0, width / 2], [0, 1, height / 2]])
    assert shared_parts(quarter, features, features) == pytest.approx((0.25, 0.25))
    half_size = np.array([[0.5, 0, 0], [0, 0.5, 0]])
    assert shared_parts(half_size, features, features) == pytest.approx((1, 0.25))
    beside = np.array([[1, 0, width + 1.0], [0, 1, 0]])
    assert shared_parts(beside, features, features) == (0, 0)


def test_a_turned_picture_shares_the_middle(features: Features) -> None:
    width, height = features.width, features.height
    middle = np.array([width / 2, height / 2])
    turn = np.array([[0.0, -1], [1, 0]])
    affine = np.column_stack([turn, middle - turn @ middle])
    share = min(width, height) / max(width, height)
    assert shared_parts(affine, features, features) == pytest.approx((share, share))
