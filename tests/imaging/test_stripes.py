"""Flags: a part of stripes lies anywhere along them, coding moves faint edges, and colours may be equally bright."""

from __future__ import annotations

import numpy as np
import pytest
from fingerprints import judged
from PIL import Image, ImageDraw

from benchmarks.quality.edits import recompressed
from benchmarks.quality.families import TEN_EDITS, picture
from shazimd.types import Verdict

CROP, STAMP, SCREENSHOT = "crop-90", "caption or logo", "screenshot"


def edited(image: Image.Image, number: int, name: str) -> Image.Image:
    place, edit = next((place, each) for place, each in enumerate(TEN_EDITS) if each.name == name)
    return edit.apply(image, np.random.default_rng([number, place]), image)


@pytest.mark.parametrize(
    ("seed", "number", "edit"),
    [
        (11, 10, CROP),
        (12, 0, CROP),
        (12, 5, CROP),
        (11, 8, SCREENSHOT),
        (13, 1, STAMP),
        (11, 14, STAMP),
        (12, 2, STAMP),
        (14, 14, STAMP),
    ],
)
def test_a_flag_cut_captioned_stamped_or_on_a_screen_is_a_copy(seed: int, number: int, edit: str) -> None:
    """Its stripes are laid on each other to a fraction of a pixel; a disc may be as bright as the stripe under it."""
    flag = picture("flags", seed, number)
    assert judged(edited(flag, number, edit), flag).verdict is Verdict.COPY


def test_a_faint_edge_that_coding_moves_leaves_a_flag_a_copy() -> None:
    flag = picture("flags", 13, 12)
    assert judged(recompressed(flag, 70, "WEBP"), flag).verdict is Verdict.COPY


def test_two_flags_of_one_pattern_in_other_colours_are_no_copies() -> None:
    """Two of three stripes are no bars that an edit has put at the edges."""
    one, other = (picture("flags", 14, number) for number in (19, 32))
    assert Verdict.COPY not in (judged(one, other).verdict, judged(other, one).verdict)


def test_an_emblem_of_another_colour_in_the_middle_is_no_stamp() -> None:
    """Only near the edge may something that is as bright as its ground have been laid over it."""
    flags = []
    for colour in (None, (0, 122, 61)):
        flag = Image.new("RGB", (320, 214), (206, 17, 38))
        draw = ImageDraw.Draw(flag)
        draw.rectangle((0, 0, 320, 60), fill="white")
        if colour:
            draw.ellipse((150, 120, 185, 155), fill=colour)
            draw.line((160, 137, 175, 137), fill="white", width=3)
        flags.append(flag)
    assert Verdict.COPY not in (judged(*flags).verdict, judged(*reversed(flags)).verdict)
