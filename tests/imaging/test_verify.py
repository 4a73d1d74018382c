from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fingerprints import query
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont, ImageOps

from benchmarks.quality.edits import scaled
from shazimd.imaging.features import Shown, extract_features, unpack_features
from shazimd.imaging.kept import ASKED, STORED
from shazimd.imaging.negative import negated_words, shares_negated_words
from shazimd.imaging.verify import copy_evidence, verify, verify_all
from shazimd.types import Verdict, Verification
from shazimd.words.vocabulary import negated


def asked(image: Image.Image) -> bytes:
    return extract_features(Shown(np.asarray(image.convert("L"))), ASKED)


def stored(image: Image.Image) -> bytes:
    return extract_features(Shown(np.asarray(image.convert("L"))), STORED)


def test_the_same_picture_is_a_copy_in_its_place(photo: Image.Image) -> None:
    """A picture and itself: a copy, upright, at scale 1, over the whole picture."""
    found = verify(asked(photo), stored(photo))
    assert found.verdict is Verdict.COPY
    assert found.mapping is not None
    assert found.mapping.scale == pytest.approx(1, abs=0.01)
    assert found.mapping.rotation_deg == pytest.approx(0, abs=0.5)
    assert found.mapping.region == pytest.approx((0, 0, 1, 1), abs=0.01)
    assert not found.mapping.mirrored


@pytest.mark.parametrize(("turn", "degrees"), [(90, 90.0), (180, 180.0), (270, -90.0)])
def test_a_turned_picture_is_a_copy(photo: Image.Image, turn: int, degrees: float) -> None:
    """The map says by how much the query must be turned, clockwise, to lie on the match."""
    found = verify(asked(photo.rotate(turn, expand=True)), stored(photo))
    assert found.verdict is Verdict.COPY
    assert found.mapping is not None
    assert (found.mapping.rotation_deg - degrees + 180) % 360 - 180 == pytest.approx(0, abs=1)


def test_a_mirrored_picture_is_a_copy(photo: Image.Image) -> None:
    """A mirror image is found, and the map says that it is one."""
    found = verify(asked(photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)), stored(photo))
    assert found.verdict is Verdict.COPY
    assert found.mapping is not None
    assert found.mapping.mirrored


def test_a_nearly_symmetric_picture_is_not_taken_for_another_shot_of_itself(shared: Path) -> None:
    """A garment hung up looks nearly like its mirror image: the true map counts, not the first that is found."""
    coat = Image.open(shared / "data" / "photos" / "clothing" / "clothing_0007.jpg")
    found = verify(asked(coat.transpose(Image.Transpose.FLIP_LEFT_RIGHT).resize((300, 400))), stored(coat))
    assert (found.verdict, found.mapping and found.mapping.mirrored) == (Verdict.COPY, True)


def test_a_crop_says_where_it_was_taken_from(photo: Image.Image) -> None:
    """The region of the query in the match is the box that was cut out."""
    found = verify(asked(photo.crop((100, 60, 300, 240))), stored(photo))
    assert found.verdict is Verdict.COPY
    assert found.mapping is not None
    assert found.mapping.region == pytest.approx((0.25, 0.2, 0.75, 0.8), abs=0.02)
    assert found.mapping.scale == pytest.approx(0.5, abs=0.02)


def test_a_captioned_repost_is_a_copy(photo: Image.Image) -> None:
    """Mirrored, cropped, with a white bar and words above it: still a copy."""
    cut = photo.crop((20, 20, 380, 290)).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    repost = Image.new("L", (cut.width, cut.height + 60), 255)
    repost.paste(cut, (0, 60))
    ImageDraw.Draw(repost).text((10, 20), "when you finally find it", 0)
    assert verify(asked(repost), stored(photo)).verdict is Verdict.COPY


def test_a_picture_inside_another_is_a_copy(photo: Image.Image, stranger: Image.Image) -> None:
    """Pasted over another picture at half its size, it is found in its own name and in the other's."""
    pasted = stranger.copy()
    pasted.paste(photo.resize((200, 150)), (180, 120))
    assert [v.verdict for v in verify_all(asked(pasted), [stored(photo), stored(stranger)])] == [Verdict.COPY] * 2


def test_strangers_are_not_related(photo: Image.Image, stranger: Image.Image) -> None:
    """Two different pictures have neither a verdict nor a map."""
    found = verify(asked(photo), stored(stranger))
    assert (found.verdict, found.mapping, found.agreement) == (None, None, None)


def test_two_shots_of_one_shelf_are_a_scene(groceries: Path) -> None:
    """The same plums, photographed again from nearby, are related by geometry but are no copy."""
    with Image.open(groceries / "grocery_0062.jpg") as one, Image.open(groceries / "grocery_0158.jpg") as other:
        assert verify(asked(one), stored(other)).verdict is Verdict.SCENE


def test_the_same_pair_always_has_the_same_answer(photo: Image.Image) -> None:
    """There is no chance in it."""
    pair = asked(photo.rotate(20)), stored(photo)
    assert verify(*pair) == verify(*pair)


def test_an_answer_for_each_candidate_in_order(photo: Image.Image, stranger: Image.Image) -> None:
    """A batch answers as single pairs would, travels between processes, and passes over pictures without features."""
    candidates = [stored(stranger), b"", stored(photo)]
    found = verify_all(asked(photo), candidates)
    assert found == [verify(asked(photo), candidate) for candidate in candidates]
    assert found[1] == Verification(None)
    assert pickle.loads(pickle.dumps(found)) == found


@pytest.mark.parametrize("size", [(1, 1), (20000, 10), (10, 20000), (3, 3), (640, 480)])
def test_pictures_that_show_nothing_are_related_to_nothing(size: tuple[int, int], photo: Image.Image) -> None:
    """One pixel, a thin strip, one colour: an answer, no exception, in either place."""
    blank = Image.new("L", size, 200)
    for pair in ((blank, photo), (photo, blank), (blank, blank)):
        assert verify(asked(pair[0]), stored(pair[1])).verdict is None


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(0, 1000))
def test_noise_is_related_to_nothing_else(width: int, height: int, seed: int) -> None:
    """Two pictures of pure noise of any size have no verdict."""
    one, other = (
        Image.fromarray(np.random.default_rng([seed, n]).integers(0, 256, (height, width), np.uint8)) for n in (0, 1)
    )
    assert verify(asked(one), stored(other)).verdict is None


def test_foreign_bytes_are_refused(photo: Image.Image) -> None:
    """Bytes that are no packed features raise rather than match nothing."""
    with pytest.raises(ValueError, match="packed features"):
        verify(b"\x00garbage-of-some-length", stored(photo))


def test_what_speaks_for_a_copy() -> None:
    """More agreement, more inliers and smaller misses each speak for a copy."""
    base = copy_evidence(0.9, 20, 0.5)
    assert copy_evidence(0.95, 20, 0.5) > base
    assert copy_evidence(0.9, 40, 0.5) > base
    assert copy_evidence(0.9, 20, 0.2) > base


def page_of_repeated_words(count: str) -> Image.Image:
    """Four lines of six words, and a number, all of one size."""
    page, rng = Image.new("RGB", (600, 420), "white"), np.random.default_rng(5)
    draw = ImageDraw.Draw(page)
    for row in range(4):
        words = " ".join(rng.choice(["river", "market", "blue", "winter", "harbour", "lamp"], 6))
        draw.text((24, 110 + 40 * row), words, "black", ImageFont.load_default(25))
    draw.text((24, 370), f"{count} Likes", "black", ImageFont.load_default(17))
    return page


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("scale", [0.4, 0.5])
def test_a_reduced_page_of_repeated_words_is_a_copy_of_its_original(scale: float, mirrored: bool) -> None:
    """Its features match at many places, so they find no map; with another number it is a variant."""
    known = [query(page_of_repeated_words(count)).fingerprint.features for count in ("4809", "7162")]
    reduced = scaled(page_of_repeated_words("4809"), scale)
    found = verify_all(query(ImageOps.mirror(reduced) if mirrored else reduced).features, known)
    assert [each.verdict for each in found] == [Verdict.COPY, Verdict.VARIANT]
    assert [each.mapping is not None and each.mapping.mirrored for each in found] == [mirrored] * 2


def test_a_negative_is_told_by_its_distinct_words(photo: Image.Image) -> None:
    """Of either side, and however often the other picture has them: repeated words say no more."""
    features = unpack_features(asked(photo))
    words = negated_words(features)
    shared = np.unique(negated(features.words))
    for found in (shared, shared.byteswap()):
        few, enough = (replace(features, words=np.repeat(found[:number], 20)) for number in (5, 6))
        assert (False, True) == (shares_negated_words(words, few), shares_negated_words(words, enough))
