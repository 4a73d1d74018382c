"""Key points: where, how large and how turned they are found, and which of them are kept."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from shazimd.imaging.keypoints import KeyPoints, key_points


def _noise(side: int, seed: int = 5) -> NDArray[np.uint8]:
    """Soft spots of many sizes."""
    random = np.random.default_rng(seed)
    layers = [cv2.GaussianBlur(random.normal(0, 40 * blur, (side, side)), (0, 0), blur) for blur in (1.5, 3.0, 6.0)]
    pixels: NDArray[np.uint8] = np.clip(128 + np.sum(layers, axis=0), 0, 255).astype(np.uint8)
    return pixels


def _distances(one: KeyPoints, other: KeyPoints) -> NDArray[np.float64]:
    """[n, m], pixels."""
    apart = one.points[:, np.newaxis].astype(np.float64) - other.points[np.newaxis]
    return np.hypot(apart[..., 0], apart[..., 1])


@pytest.mark.parametrize("deviation", [2.0, 4.0, 8.0])
def test_a_spot_is_found_where_it_is_and_as_large(deviation: float) -> None:
    """The difference of two blurs is greatest in the middle of a spot, at a blur like its own."""
    x, y = np.meshgrid(np.arange(160), np.arange(120))
    spot = 60 + 150 * np.exp(-((x - 70.25) ** 2 + (y - 50.5) ** 2) / (2 * deviation**2))
    best = key_points(np.round(spot).astype(np.uint8), 1)
    assert best.points[0] == pytest.approx((70.25, 50.5), abs=0.2)
    assert best.sizes[0] == pytest.approx(2 * deviation, rel=0.2)


def test_a_turned_picture_has_the_same_points_turned() -> None:
    pixels = _noise(160)
    upright, turned = key_points(pixels, 100), key_points(np.ascontiguousarray(np.rot90(pixels, -1)), 400)
    moved = upright._replace(points=np.stack([159 - upright.points[:, 1], upright.points[:, 0]], axis=1))
    near = _distances(moved, turned) < 0.5
    by = np.abs((upright.angles[:, np.newaxis] + np.pi / 2 - turned.angles + np.pi) % (2 * np.pi) - np.pi)
    alike = upright.descriptors @ turned.descriptors.T
    assert (near & (by < 0.1) & (alike > 0.95)).any(axis=1).mean() > 0.8


def test_a_busy_corner_does_not_take_all_points() -> None:
    pixels = np.full((256, 256), 128, np.uint8)
    pixels[:64, :64] = _noise(64)
    pixels[128:, 128:] = 128 + (_noise(128, seed=7).astype(np.int16) - 128) // 2
    found = key_points(pixels, 40)
    assert len(found.sizes) == 40
    assert (found.points > 128).all(axis=1).mean() > 0.5


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (6, 6), (7, 256)])
def test_a_picture_too_small_for_a_point_has_none(shape: tuple[int, int]) -> None:
    found = key_points(_noise(300)[: shape[0], : shape[1]].copy(), 10)
    assert [each.shape for each in found] == [(0, 2), (0,), (0,), (0, 128)]


def test_descriptors_are_roots_of_shares() -> None:
    found = key_points(_noise(128), 50)
    assert (found.descriptors**2).sum(axis=1) == pytest.approx(1, abs=1e-5)
