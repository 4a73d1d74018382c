"""One picture on the grid of another."""

import cv2
import numpy as np
import pytest

from shazimd.imaging.laying import warped

TURNS = [
    np.array([[sx, 0], [0, sy]]) if is_upright else np.array([[0, sx], [sy, 0]])
    for is_upright in (True, False)
    for sx in (1, -1)
    for sy in (1, -1)
]


def _map(linear: np.ndarray, size: tuple[int, int], shift: float = 0.0) -> np.ndarray:
    """The map of a turn [2, 2] onto a grid of this size, moved to the right by ``shift`` pixels."""
    right, down = linear.sum(axis=1)
    moved = [0 if right > 0 else size[0] - 1, 0 if down > 0 else size[1] - 1]
    return np.vstack([np.column_stack([linear, [moved[0] + shift, moved[1]]]), [0, 0, 1]]).astype(float)


@pytest.mark.parametrize("linear", TURNS)
@pytest.mark.parametrize("channels", [(), (3,)])
def test_a_turned_or_mirrored_picture_keeps_its_pixels(linear: np.ndarray, channels: tuple[int, ...]) -> None:
    """A quarter turn or a mirror image moves pixels and changes none, as OpenCV's warp shows; all are valid."""
    picture = np.random.default_rng(0).uniform(0, 255, (40, 60, *channels)).astype(np.float32)
    size = (60, 40) if linear[0, 0] else (40, 60)
    there = _map(linear, size)
    moved, valid = warped(picture, there, size)
    assert np.array_equal(moved, cv2.warpPerspective(picture, there, size, flags=cv2.INTER_CUBIC))
    assert valid.shape == size[::-1]
    assert valid.all()


def test_a_picture_moved_aside_shows_no_pixels_at_the_border() -> None:
    """A map that is no mere turn leaves a border without pixels."""
    picture = np.ones((40, 60), np.float32)
    _, valid = warped(picture, _map(TURNS[0], (60, 40), shift=3.0), (60, 40))
    assert not valid[:, :3].any()
    assert valid[:, 10:].all()
