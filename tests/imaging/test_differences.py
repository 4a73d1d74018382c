from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from drawn import encoded, photograph
from fingerprints import judged, query
from PIL import Image, ImageDraw, ImageFont

from benchmarks.quality.edits import EDITS, watermarked
from benchmarks.quality.families import TEN_EDITS, TUNED, picture, windowed
from benchmarks.quality.photos import load
from shazimd.imaging.verify import verify_all
from shazimd.types import Verdict

TEMPLATES = (
    "forms",
    "qr codes",
    "tickets",
    "slides",
    "receipts",
    "bar charts",
    "cartons",
    "maps",
    "id cards",
    "sudokus",
    "spreadsheets",
    "timetables",
    "weather maps",
)


def recompressed(image: Image.Image, quality: int) -> Image.Image:
    data = io.BytesIO()
    image.save(data, "JPEG", quality=quality)
    return Image.open(data).convert("RGB")


@pytest.mark.parametrize("family", TEMPLATES)
def test_other_content_on_one_template_is_a_variant_and_its_own_edit_a_copy(family: str) -> None:
    """Pictures of one template are variants, whichever is asked; one of them, halved and recompressed, is a copy."""
    one, other = picture(family, TUNED, 0), picture(family, TUNED, 1)
    assert [judged(one, other).verdict, judged(other, one).verdict] == [Verdict.VARIANT] * 2
    assert judged(recompressed(one.reduce(2), 70), one).verdict is Verdict.COPY


def bar_coded(number: int) -> Image.Image:
    """A ticket with another seat, number and wide bar code."""
    rng = np.random.default_rng(number)
    ticket = Image.new("RGB", (1000, 400), (250, 244, 228))
    draw = ImageDraw.Draw(ticket)
    draw.rectangle((0, 0, 1000, 90), (130, 20, 40))
    draw.text((30, 20), "CITY OPERA", "white", ImageFont.load_default(48))
    draw.text((30, 120), "La Traviata", "black", ImageFont.load_default(40))
    draw.text((30, 190), "Sat 14 November 2026, 19:30", "black", ImageFont.load_default(24))
    seat = f"Row {rng.integers(1, 40)}   Seat {rng.integers(1, 60)}"
    draw.text((30, 250), seat, "black", ImageFont.load_default(32))
    draw.text((30, 320), f"No. {rng.integers(10**7, 10**8)}", (90, 90, 90), ImageFont.load_default(22))
    at = 640
    while at < 960:
        wide = rng.choice([2, 3, 4, 6])
        draw.rectangle((at, 130, at + wide, 350), "black")
        at += wide + rng.choice([2, 3, 5])
    return ticket


def test_fine_bars_in_every_tone_are_still_those_of_a_drawing() -> None:
    """Small bars have all greys at their edges, as a photograph has; other bars and another seat make a variant."""
    one, other = bar_coded(10), bar_coded(15)
    assert [judged(one, other).verdict, judged(other, one).verdict] == [Verdict.VARIANT] * 2


def on_a_screen(image: Image.Image) -> Image.Image:
    """All of a screen, with the picture in a window."""
    screen = Image.new("RGB", (1920, 1080), (58, 70, 92))
    shown = image.resize((round(880 * image.width / image.height), 880), Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(screen)
    draw.rectangle((232, 30, 248 + shown.width, 958), (222, 222, 226))
    draw.text((250, 40), "picture - viewer", "black", ImageFont.load_default(18))
    screen.paste(shown, (240, 70))
    draw.rectangle((0, 1040, 1920, 1080), (28, 28, 32))
    return screen


@pytest.mark.parametrize("family", ["receipts", "chats", "code", "logos", "slides"])
def test_a_window_on_a_whole_screen_is_a_copy_of_its_page_alone(family: str) -> None:
    """Most of the screen is something else, and the page has half of its size there or less."""
    asked = query(on_a_screen(picture(family, TUNED, 0)))
    stored = [query(picture(family, TUNED, number)).fingerprint.features for number in range(4)]
    verdicts = [each.verdict for each in verify_all(asked.features, stored)]
    assert [number for number, verdict in enumerate(verdicts) if verdict is Verdict.COPY] == [0]


def test_the_regions_say_where_the_content_is_other() -> None:
    """A ticket with another code differs in the code's place, in both pictures, and nowhere else."""
    ticket = picture("tickets", TUNED, 0)
    other = ticket.copy()
    other.paste(picture("tickets", TUNED, 1).crop((640, 110, 865, 335)), (640, 110))
    differs = judged(other, ticket).differs
    assert differs is not None
    assert 0.01 < differs.share < 0.2
    for boxes in differs.regions:
        for left, top, right, bottom in boxes:
            assert 0.7 < left < right < 0.98
            assert 0.29 < top < bottom < 0.95


def test_an_addition_on_one_side_is_a_copy() -> None:
    """A stamp on an empty place of a form, and words across the free space of a chart, replace nothing."""
    form, chart = picture("forms", TUNED, 0), picture("bar charts", TUNED, 0)
    for image, at in ((form, (560, 1030)), (chart, (420, 30))):
        stamped = image.copy()
        ImageDraw.Draw(stamped).ellipse((at[0], at[1], at[0] + 60, at[1] + 30), outline=(200, 0, 0), width=4)
        assert judged(stamped, image).verdict is Verdict.COPY


def test_another_object_before_the_same_background_is_a_variant(photo: Image.Image, stranger: Image.Image) -> None:
    """A tenth of a photograph shows another thing: a variant, not a copy."""
    changed = photo.copy()
    mask = Image.new("L", (180, 140))
    ImageDraw.Draw(mask).ellipse((0, 0, 179, 139), fill=255)
    changed.paste(stranger.crop((40, 40, 220, 180)), (130, 90), mask)
    assert judged(changed.convert("RGB"), photo.convert("RGB")).verdict is Verdict.VARIANT


def with_object(ground: Image.Image, seed: int, left: int) -> Image.Image:
    """A picture with an object of another texture before it."""
    spots = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (60, 80, 3), np.uint8))
    shape = Image.new("L", ground.size)
    ImageDraw.Draw(shape).ellipse((left, 90, left + 120, 200), 255)
    return Image.composite(spots.resize(ground.size, Image.Resampling.BICUBIC), ground, shape)


def test_another_object_in_another_place_is_a_variant() -> None:
    """Before one fixed camera, each of two pictures shows an object where the other shows the ground."""
    one, other = with_object(photograph(seed=1), 2, 60), with_object(photograph(seed=1), 3, 220)
    assert [judged(one, other).verdict, judged(other, one).verdict] == [Verdict.VARIANT] * 2
    assert judged(recompressed(one, 50), one).verdict is Verdict.COPY


def test_one_part_of_another_colour_is_a_variant() -> None:
    """A chart of which some bars have another colour of the same brightness differs, though its luma agrees."""
    chart = picture("bar charts", TUNED, 0)
    pixels = np.asarray(chart.convert("YCbCr")).copy()
    pixels[200:419, 80:260, 1:] = (90, 190)
    recoloured = Image.fromarray(pixels, "YCbCr").convert("RGB")
    assert judged(recoloured, chart).verdict is Verdict.VARIANT


@pytest.mark.parametrize("family", ["sprites", "emoji", "flags", "logos", "near-uniform"])
def test_pictures_with_few_features_are_compared_whole(family: str) -> None:
    """Recompressed they are copies, others of their family are not, whichever is asked."""
    images = [picture(family, TUNED, number) for number in range(3)]
    for one, other in ((images[0], images[1]), (images[1], images[0]), (images[1], images[2])):
        assert judged(one, other).verdict is not Verdict.COPY
    for image in images:
        assert judged(recompressed(image, 85), image).verdict is Verdict.COPY
        assert judged(image, recompressed(image, 85)).verdict is Verdict.COPY


def test_whole_pictures_are_found_turned_and_mirrored() -> None:
    """An emoji turned by a quarter and mirrored is still itself."""
    face = picture("emoji", TUNED, 1)
    found = judged(face.transpose(Image.Transpose.ROTATE_90), face)
    assert found.verdict is Verdict.COPY
    assert found.mapping is not None
    assert found.mapping.rotation_deg == pytest.approx(90, abs=3)
    assert judged(face.transpose(Image.Transpose.FLIP_LEFT_RIGHT), face).verdict is Verdict.COPY


def test_a_pair_has_one_answer_whichever_is_asked(shared: object) -> None:
    """A strip and its half, a crop, a caption: the same verdict both ways."""
    del shared
    base = picture("memes", TUNED, 0)
    tall = Image.new("RGB", (480, 1440))
    for place in range(3):
        tall.paste(picture("memes", TUNED + place, 0), (0, 480 * place))
    for one, other in ((tall, tall.crop((0, 0, 480, 720))), (base, base.crop((60, 60, 420, 420)))):
        assert judged(one, other).verdict is judged(other, one).verdict is Verdict.COPY


@pytest.mark.parametrize("family", ["memes", "cartons", "calendars", "forms"])
def test_other_words_over_one_picture_are_a_variant(family: str) -> None:
    """Words, flavours, days and answers are other ones; a small copy of each is still a copy."""
    images = [picture(family, TUNED, number) for number in range(2)]
    assert judged(images[0], images[1]).verdict is Verdict.VARIANT
    for image in images:
        assert (
            judged(recompressed(image.resize((image.width // 2, image.height // 2)), 75), image).verdict is Verdict.COPY
        )


@pytest.mark.parametrize(
    ("family", "one", "other"),
    [
        ("emoji", 2, 15),
        ("emoji", 3, 18),
        ("emoji", 10, 18),
        ("calendars", 8, 18),
        ("emoji", 24, 27),
        ("emoji", 11, 25),
        ("flags", 10, 39),
        ("flags", 25, 18),
        ("flags", 1, 36),
    ],
)
def test_pictures_of_one_kind_that_differ_little_are_no_copies(family: str, one: int, other: int) -> None:
    """Faces of one emoji with other mouths, and two months of which the days of one fit a week further on."""
    pair = picture(family, TUNED, one), picture(family, TUNED, other)
    assert Verdict.COPY not in (judged(*pair).verdict, judged(*reversed(pair)).verdict)


def test_a_screenshot_of_one_form_is_no_copy_of_another_with_few_other_words() -> None:
    """The form is smaller there, so its words have fewer pixels."""
    forms = {number: picture("forms", TUNED, number) for number in (24, 30)}
    screenshot = windowed(forms[30], np.random.default_rng(3))
    verdicts = {number: judged(screenshot, form).verdict for number, form in forms.items()}
    assert verdicts == {24: Verdict.VARIANT, 30: Verdict.COPY}


@pytest.mark.parametrize(("seed", "number", "place"), [(11, 1, 3), (11, 14, 3), (13, 0, 3), (11, 14, 4), (13, 10, 4)])
def test_a_part_of_a_flag_and_a_screenshot_of_it_are_copies(seed: int, number: int, place: int) -> None:
    """Nine tenths of plain stripes lie well enough on the whole flag, and a little too large on a part of a screen."""
    flag, edit = picture("flags", seed, number), TEN_EDITS[place]
    made = edit.apply(flag, np.random.default_rng([number, place]), flag)
    assert (edit.name, judged(made, flag).verdict) == (("crop-90", "screenshot")[place - 3], Verdict.COPY)


def test_two_stripes_of_three_are_no_bars_around_the_third() -> None:
    """Blue, black and yellow stripes are not yellow, green and blue ones with a caption and a footer."""
    flags = picture("flags", 13, 7), picture("flags", 13, 0)
    assert Verdict.COPY not in (judged(*flags).verdict, judged(*reversed(flags)).verdict)


@pytest.mark.parametrize(("one", "other"), [(8, 17), (29, 19)])
def test_a_picture_with_little_colour_of_its_own_is_no_grey_copy_of_a_colourful_one(one: int, other: int) -> None:
    """Stripes of which one has a colour, and its negative has the brightness of three other colours."""
    flags = picture("flags", 17, one), picture("flags", 17, other)
    assert Verdict.COPY not in (judged(*flags).verdict, judged(*reversed(flags)).verdict)
    for flag in flags:
        assert judged(flag.convert("L"), flag).verdict is Verdict.COPY


@pytest.mark.parametrize("number", [0, 4])
def test_strokes_at_the_border_of_a_picture_in_a_window_are_not_compared(number: int) -> None:
    """The first letters of a terminal's lines lie four pixels from its border, next to a name in the window."""
    terminal = picture("terminals", TUNED, number)
    screenshot = windowed(terminal, np.random.default_rng([number, 4]))
    assert judged(screenshot, terminal).verdict is Verdict.COPY


@pytest.mark.parametrize(("seed", "one", "other"), [(13, 25, 4), (14, 30, 16), (13, 0, 18), (13, 12, 27)])
def test_a_mouth_that_lies_half_a_pixel_higher_makes_another_face(seed: int, one: int, other: int) -> None:
    """All else is the same, and the faces correlate at .996 to .999; each, halved or recompressed, is still a copy."""
    faces = [picture("emoji", seed, number) for number in (one, other)]
    assert Verdict.COPY not in (judged(*faces).verdict, judged(*reversed(faces)).verdict)
    for face in faces:
        edited = recompressed(face, 60), recompressed(face.reduce(2), 75)
        assert [judged(each, face).verdict for each in edited] == [Verdict.COPY] * 2


@pytest.mark.parametrize(("family", "number"), [("sprites", 1), ("sprites", 2), ("emoji", 2), ("near-uniform", 2)])
@pytest.mark.parametrize("edit", ["half-size", "jpeg-60", "screenshot"])
def test_small_and_plain_pictures_are_copies_after_an_edit(family: str, number: int, edit: str) -> None:
    """Half of 32 pixels, coarse colours of a JPEG, and a window of a screen that shows each pixel."""
    image = picture(family, TUNED, number)
    (made,) = (each for each in TEN_EDITS if each.name == edit)
    assert judged(made.apply(image, np.random.default_rng(number), image), image).verdict is Verdict.COPY


@pytest.mark.parametrize("family", ["emoji", "near-uniform", "flags"])
def test_a_stamp_on_a_plain_picture_is_a_copy(family: str) -> None:
    """It lowers the correlation of a face and of a sky, and has a colour of its own."""
    image, rng = picture(family, TUNED, 2), np.random.default_rng([2, 5])
    (edit,) = (each for each in TEN_EDITS if each.name == "caption or logo")
    assert judged(edit.apply(image, rng, image), image).verdict is Verdict.COPY


@pytest.mark.parametrize(("family", "number"), [("sprites", 0), ("sprites", 3), ("near-uniform", 1), ("flags", 5)])
def test_half_transparent_words_across_a_plain_picture_replace_nothing(family: str, number: int) -> None:
    """They cover most of a sprite's columns and all of a sky, and show what is below."""
    image = picture(family, TUNED, number)
    marked = watermarked(image)
    assert [judged(marked, image).verdict, judged(image, marked).verdict] == [Verdict.COPY] * 2


def test_half_transparent_words_do_not_make_two_pictures_one() -> None:
    """Words across one of two sprites, or of two faces, leave them two."""
    for family, one, other in (("sprites", 0, 1), ("emoji", 2, 15), ("near-uniform", 1, 2)):
        pair = watermarked(picture(family, TUNED, one)), picture(family, TUNED, other)
        assert Verdict.COPY not in (judged(*pair).verdict, judged(*reversed(pair)).verdict)


@pytest.mark.parametrize(("seed", "number"), [(11, 4), (11, 8), (13, 5)])
def test_half_transparent_words_across_a_page_replace_nothing(seed: int, number: int) -> None:
    """Words across a dark terminal, of which blocks show little else, leave it a copy."""
    terminal = picture("terminals", seed, number)
    marked = watermarked(terminal)
    assert [judged(marked, terminal).verdict, judged(terminal, marked).verdict] == [Verdict.COPY] * 2


@pytest.mark.parametrize(("seed", "number"), [(11, 0), (11, 8), (13, 5)])
def test_half_transparent_words_across_a_page_hide_no_other_words(seed: int, number: int) -> None:
    """Three other words under them make a variant of it."""
    terminal = picture("terminals", seed, number)
    other = terminal.copy()
    ImageDraw.Draw(other).rectangle((0, 190, 800, 210), fill=(12, 12, 12))
    ImageDraw.Draw(other).text((10, 190), "4711 rather other words", (210, 210, 210), ImageFont.load_default(16))
    marked = watermarked(terminal)
    assert Verdict.COPY not in (judged(marked, other).verdict, judged(other, marked).verdict)


def test_opaque_words_are_no_watermark() -> None:
    """Strokes that hide what is below are content of a plain picture: a smile that lacks on the other."""
    sky = picture("near-uniform", TUNED, 1)
    other = sky.copy()
    draw = ImageDraw.Draw(other)
    for left in range(40, 360, 60):
        draw.arc((left, 100, left + 50, 200), 0, 180, fill="black", width=4)
    assert judged(other, sky).verdict is not Verdict.COPY


@pytest.mark.parametrize("at", ["above", "below"])
def test_a_caption_whose_words_reach_into_a_sprite_replaces_nothing(at: str) -> None:
    """The rows under the words are not compared; another sprite under the same words is another."""
    sprite, other = picture("sprites", TUNED, 1), picture("sprites", TUNED, 2)

    def captioned(image: Image.Image) -> Image.Image:
        out = Image.new("RGB", (32, 37), "white")
        out.paste(image, (0, 5 if at == "above" else 0))
        ImageDraw.Draw(out).text((6, -1 if at == "above" else 29), "you sti", "black")
        return out

    assert judged(captioned(sprite), sprite).verdict is Verdict.COPY
    assert judged(sprite, captioned(sprite)).verdict is Verdict.COPY
    assert judged(captioned(other), sprite).verdict is not Verdict.COPY


@pytest.mark.parametrize(
    ("name", "edit", "seed"),
    [
        ("clothing_0627", "big-words", 8),
        ("clothing_0500", "stickers", 11),
        ("clothing_0286", "big-words", 0),
        ("clothing_0286", "stickers", 0),
    ],
)
def test_words_and_stickers_over_a_photograph_replace_nothing(shared: Path, name: str, edit: str, seed: int) -> None:
    """Also where a garment lies on flat ground, as a drawing does: the photograph lacks what was laid over it."""
    photo = load(shared / "data" / "photos" / "clothing" / f"{name}.jpg")
    number = next(place for place, each in enumerate(EDITS) if each.name == edit)
    copy = EDITS[number].apply(photo, np.random.default_rng([seed, number]), photo)
    assert judged(copy, photo).verdict is Verdict.COPY


def stripes(*colours: tuple[int, int, int]) -> Image.Image:
    image = Image.new("RGB", (300, 200))
    for number, colour in enumerate(colours):
        image.paste(colour, (100 * number, 0, 100 * number + 100, 200))
    return image


def test_three_stripes_of_other_colours_are_another_picture() -> None:
    """Also where the brightness of each is the same; the same stripes, saved again or halved, are a copy."""
    flag = stripes((200, 40, 40), (230, 230, 230), (30, 60, 160))
    as_bright = stripes((30, 126, 47), (230, 230, 230), (160, 15, 50))
    assert judged(flag.convert("L"), as_bright.convert("L")).verdict is Verdict.COPY
    for other in (as_bright, stripes((0, 146, 70), (241, 242, 241), (206, 43, 55))):
        assert Verdict.COPY not in (judged(flag, other).verdict, judged(other, flag).verdict)
    assert judged(flag.reduce(2), flag).verdict is Verdict.COPY
    assert judged(flag, reopened(flag)).verdict is Verdict.COPY


def test_a_cut_out_picture_laid_on_white_is_a_copy() -> None:
    """Transparent pixels count as white, as most programs show them."""
    cut = photograph().convert("RGBA")
    mask = Image.new("L", cut.size)
    ImageDraw.Draw(mask).ellipse((60, 40, 340, 260), fill=255)
    cut.putalpha(mask)
    laid = Image.new("RGBA", cut.size, "white")
    laid.alpha_composite(cut)
    assert judged(cut, reopened(laid.convert("RGB"))).verdict is Verdict.COPY
    assert judged(reopened(laid.convert("RGB")), cut).verdict is Verdict.COPY


def reopened(image: Image.Image) -> Image.Image:
    return Image.open(io.BytesIO(encoded(image, "JPEG", quality=80)))
