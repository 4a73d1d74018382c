from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from shazimd.fingerprint.features import extract_features, unpack_features


def _noise(height: int, width: int, seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8)


@given(st.integers(1, 700), st.integers(1, 700), st.integers(0, 3))
@settings(max_examples=25, deadline=None)
def test_features_of_any_size_fit_their_budget_and_come_back(height: int, width: int, seed: int) -> None:
    """Whatever the picture's size, at most 7 KiB are kept and unpack to points inside the picture."""
    packed = extract_features(_noise(height, width, seed))
    features = unpack_features(packed)
    assert len(packed) <= 7 * 1024
    assert features.descriptors.shape == (len(features.keypoints), 32)
    assert np.all((features.keypoints >= 0) & (features.keypoints <= (1, height / width * 1.001)))


def test_a_photo_has_features_and_a_small_picture(shared: Path) -> None:
    """A real photo gives many points, and the small luma picture keeps its aspect."""
    photo = sorted((shared / "data/photos/grocery").iterdir())[0]
    with Image.open(photo) as image:
        luma = np.asarray(image.convert("L"))
    features = unpack_features(extract_features(luma))
    assert len(features.keypoints) > 50
    assert max(features.luma.shape) == 64
    assert features.luma.shape[0] / features.luma.shape[1] == pytest.approx(luma.shape[0] / luma.shape[1], abs=0.02)


def test_a_flat_picture_has_no_features() -> None:
    """Nothing is made up where there is nothing."""
    features = unpack_features(extract_features(np.full((200, 300), 128, np.uint8)))
    assert (len(features.keypoints), features.luma.shape) == (0, (43, 64))


@pytest.mark.parametrize("data", [b"", b"\x00" * 10, b"\x09" + b"\x00" * 9, b"\x01" + b"\x02" * 9])
def test_foreign_bytes_are_refused(data: bytes) -> None:
    """What extract_features did not make is not unpacked."""
    with pytest.raises(ValueError, match="packed features"):
        unpack_features(data)
