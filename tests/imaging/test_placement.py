"""Whole pictures laid on each other: turned, or one inside the other."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from PIL import Image

from benchmarks.quality.families import TUNED, picture
from shazimd.imaging.features import Shown, extract_features, unpack_features
from shazimd.imaging.placement import LaidOn, Whole, placements


def whole(image: Image.Image) -> Whole:
    return Whole(unpack_features(extract_features(Shown(np.asarray(image.convert("RGB"))))))


def placed(query: Image.Image, known: Image.Image) -> LaidOn | None:
    return next((laid for laid, _ in placements([whole(query)], whole(known))), None)


def test_a_picture_is_found_inside_a_larger_one_and_around_it() -> None:
    """An emoji on a ground half as large again lies where it was pasted, whichever is asked."""
    face = picture("emoji", TUNED, 0)
    screen = Image.new("RGB", (192, 192), (90, 120, 150))
    screen.paste(face, (40, 50))
    inside, around = placed(face, screen), placed(screen, face)
    assert inside is not None
    assert inside.correlation > 0.8
    assert np.array([[1, 0, 40], [0, 1, 50]]) == pytest.approx(inside.affine, abs=8)
    assert around is not None
    assert around.correlation > 0.8
    assert np.array([[1, 0, -40], [0, 1, -50]]) == pytest.approx(around.affine, abs=8)


def test_a_quarter_turn_is_found() -> None:
    """A turned emoji lies on the upright one with its corners swapped."""
    face = picture("emoji", TUNED, 1)
    found = placed(face.transpose(Image.Transpose.ROTATE_90), face)
    assert found is not None
    assert found.correlation > 0.99
    assert np.array([[0, -1, 127], [1, 0, 0]]) == pytest.approx(found.affine, abs=0.1)


@pytest.mark.parametrize("seed", range(4))
def test_half_of_a_sprite_lies_on_the_whole_of_it(seed: int) -> None:
    """Each pixel of a sprite may have its own tone, which a half mixes: only reduced does the sprite look like it."""
    sprite = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (32, 32, 3), np.uint8))
    for half in (sprite.resize((16, 16)), sprite.resize((16, 16), Image.Resampling.BOX)):
        found = placed(half, sprite)
        assert found is not None
        assert found.correlation > 0.9
        assert np.array([[2, 0, 0.5], [0, 2, 0.5]]) == pytest.approx(found.affine, abs=0.01)


def test_a_picture_of_few_pixels_is_not_looked_for_inside_others() -> None:
    """Of 8 x 8 pixels a part has too few to be told from chance: noise is laid on noise whole, and agrees nowhere."""
    noise = [Image.fromarray(np.random.default_rng(n).integers(0, 256, (8, 8, 3), np.uint8)) for n in range(30)]
    found = [placed(one, other) for one, other in itertools.pairwise(noise)]
    assert all(each is not None and each.correlation < 0.6 for each in found)
