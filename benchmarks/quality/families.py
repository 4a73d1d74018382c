"""Families of pictures that share a template and are all different: forms, tickets, slides, charts, cartons and others.

Every picture is drawn from a seed, so that anybody can draw it again. ``TUNED`` is the seed that borders may be derived
from, ``UNTOUCHED`` the seed for reported figures. Two numbers of one family share the template (its blank, layout, axes
or motif) and differ in content, so no picture of a family is a copy of another.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from benchmarks.quality.edits import (
    Edit,
    captioned,
    cropped,
    recompressed,
    scaled,
    stamped,
    watermarked,
)

TUNED, UNTOUCHED = 11, 29

Rng = np.random.Generator
Picture = Image.Image
Colour = tuple[int, int, int]
Family = Callable[[Rng, Rng], Picture]
"""(chance of the template, the same for all pictures of a family; chance of this picture) -> the picture"""

_SYLLABLES = [
    "ba",
    "ko",
    "ri",
    "ten",
    "mal",
    "so",
    "du",
    "vi",
    "lor",
    "an",
    "es",
    "mi",
    "ra",
    "tu",
    "gan",
    "pel",
    "sha",
    "no",
    "ke",
    "fi",
    "mo",
    "zel",
    "or",
    "ut",
]
_FIRST = [
    "Anna",
    "Boris",
    "Clara",
    "David",
    "Elena",
    "Farid",
    "Greta",
    "Hugo",
    "Ines",
    "Jakob",
    "Karin",
    "Liam",
    "Mona",
    "Nils",
    "Olga",
    "Pavel",
    "Rosa",
    "Sven",
]
_SERIES = ((31, 119, 180), (214, 39, 40), (44, 160, 44), (255, 127, 14), (148, 103, 189), (140, 86, 75))
_MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]


def picture(family: str, seed: int, number: int) -> Picture:
    """Draw one picture of a family."""
    place = list(FAMILIES).index(family)
    return FAMILIES[family](np.random.default_rng([seed, place]), np.random.default_rng([seed, place, number]))


def _word(rng: Rng) -> str:
    return "".join(rng.choice(_SYLLABLES, int(rng.integers(2, 4))))


def _words(rng: Rng, count: int) -> str:
    return " ".join(_word(rng) for _ in range(count))


def _name(rng: Rng) -> str:
    return f"{rng.choice(_FIRST)} {_word(rng).title()}"


def _digits(rng: Rng, count: int) -> str:
    return "".join(str(digit) for digit in rng.integers(0, 10, count))


def _colour(rng: Rng, low: int = 0, high: int = 256) -> Colour:
    red, green, blue = (int(value) for value in rng.integers(low, high, 3))
    return red, green, blue


def _text(
    draw: ImageDraw.ImageDraw, at: tuple[float, float], text: str, size: int, fill: Colour | str = "black"
) -> None:
    draw.text(at, text, fill, ImageFont.load_default(size))


def _blank(width: int, height: int, colour: Colour | str = "white") -> tuple[Picture, ImageDraw.ImageDraw]:
    image = Image.new("RGB", (width, height), colour)
    return image, ImageDraw.Draw(image)


def _scenery(rng: Rng, width: int, height: int) -> Picture:
    """A picture with texture at every scale, as photographs have: clouds of noise with sharp things in them."""
    layers = np.zeros((height, width, 3), np.float32)
    for level in range(2, 8):
        side = 2**level
        noise = Image.fromarray(rng.integers(0, 256, (side, side, 3), np.uint8))
        layers += np.asarray(noise.resize((width, height), Image.Resampling.BICUBIC), np.float32) / 1.6 ** (level - 1)
    layers -= layers.min()
    image = Image.fromarray((layers * (255 / layers.max())).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(12, 30))):
        x, y, r = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(0.02, 0.15) * width
        shape = draw.ellipse if rng.random() < 0.5 else draw.rectangle
        shape((x - r, y - r * rng.uniform(0.4, 1), x + r, y + r), fill=_colour(rng))
    grain = np.asarray(image.filter(ImageFilter.GaussianBlur(0.8)), np.float32) + rng.normal(0, 5, (height, width, 3))
    return Image.fromarray(np.clip(grain, 0, 255).astype(np.uint8))


def _form(base: Rng, rng: Rng) -> Picture:
    image, draw = _blank(820, 1100)
    _text(draw, (60, 50), f"Application for {_words(base, 2)}", 34)
    _text(draw, (60, 100), _words(base, 9), 16)
    for row in range(11):
        top = 150 + 62 * row
        _text(draw, (60, top), _words(base, 2).capitalize(), 16)
        draw.rectangle((260, top - 8, 760, top + 32), outline="black", width=2)
        value = [
            _name(rng),
            _digits(rng, 8),
            _words(rng, 3),
            f"{_digits(rng, 2)}.{_digits(rng, 2)}.19{_digits(rng, 2)}",
        ]
        _text(draw, (272, top - 2), value[row % 4], 24, (20, 30, 120))
    for box in range(8):
        left, top = 60 + 180 * (box % 4), 860 + 50 * (box // 4)
        draw.rectangle((left, top, left + 24, top + 24), outline="black", width=2)
        _text(draw, (left + 34, top + 2), _word(base), 16)
        if rng.random() < 0.5:
            draw.line((left + 4, top + 4, left + 20, top + 20), fill="black", width=3)
    _text(draw, (60, 1000), _words(base, 8), 16)
    return image


def _code_square(rng: Rng, modules: int, side: int) -> Picture:
    grid = (rng.random((modules, modules)) < 0.5).astype(np.uint8)
    for y, x in ((0, 0), (0, modules - 7), (modules - 7, 0)):
        grid[max(0, y - 1) : y + 8, max(0, x - 1) : x + 8] = 0
        grid[y : y + 7, x : x + 7] = 1
        grid[y + 1 : y + 6, x + 1 : x + 6] = 0
        grid[y + 2 : y + 5, x + 2 : x + 5] = 1
    return Image.fromarray(255 * (1 - grid)).resize((side, side), Image.Resampling.NEAREST).convert("RGB")


def _qr(base: Rng, rng: Rng) -> Picture:
    image, draw = _blank(420, 460)
    shared = np.asarray(_code_square(base, 29, 348)).copy()
    mine = np.asarray(_code_square(rng, 29, 348))
    shared[12 * 8 :, 12 * 9 :] = mine[12 * 8 :, 12 * 9 :]
    image.paste(Image.fromarray(shared), (36, 30))
    _text(draw, (36, 400), f"{_word(base)}.example/{_word(rng)}", 24)
    return image


def _ticket(base: Rng, rng: Rng) -> Picture:
    image, draw = _blank(900, 360, _colour(base, 215, 250))
    draw.rectangle((0, 0, 900, 80), fill=_colour(base, 0, 140))
    _text(draw, (30, 18), f"{_words(base, 2).title()} Festival", 40, "white")
    _text(draw, (30, 100), f"Hall {_word(base).title()}   12 May 2026   20:00", 24)
    _text(draw, (30, 160), _name(rng), 32)
    _text(draw, (30, 220), f"Row {_digits(rng, 2)}   Seat {_digits(rng, 2)}", 28)
    _text(draw, (30, 290), f"No. {_digits(rng, 8)}", 22)
    image.paste(_code_square(rng, 25, 225), (640, 110))
    return image


def _slide(base: Rng, rng: Rng) -> Picture:
    image, draw = _blank(960, 540)
    accent = _colour(base, 0, 160)
    draw.rectangle((0, 0, 960, 90), fill=accent)
    draw.polygon([(800, 0), (960, 0), (960, 90)], fill=_colour(base, 100, 255))
    draw.ellipse((880, 470, 930, 520), fill=accent)
    _text(draw, (40, 500), f"{_words(base, 3).title()}  |  confidential", 16, (110, 110, 110))
    _text(draw, (40, 24), _words(rng, 3).title(), 38, "white")
    for line in range(int(rng.integers(3, 6))):
        draw.ellipse((50, 142 + 58 * line, 62, 154 + 58 * line), fill=accent)
        _text(draw, (80, 132 + 58 * line), _words(rng, int(rng.integers(3, 7))), 24, (40, 40, 40))
    return image


def _receipt(base: Rng, rng: Rng) -> Picture:
    image, draw = _blank(420, 860, (250, 249, 245))
    _text(draw, (90, 30), f"{_word(base).upper()} MARKET", 30)
    _text(draw, (100, 75), f"{_words(base, 2).title()} Street 12", 18)
    draw.line((30, 110, 390, 110), fill="black", width=2)
    for row in range(int(rng.integers(9, 15))):
        _text(draw, (30, 130 + 34 * row), _words(rng, 2)[:18], 20)
        _text(draw, (320, 130 + 34 * row), f"{int(rng.integers(0, 30))}.{_digits(rng, 2)}", 20)
    draw.line((30, 660, 390, 660), fill="black", width=2)
    _text(draw, (30, 675), "TOTAL", 30)
    _text(draw, (280, 675), f"{int(rng.integers(10, 200))}.{_digits(rng, 2)}", 30)
    _text(draw, (30, 730), f"{_digits(rng, 2)}.{_digits(rng, 2)}.2026  No {_digits(rng, 6)}", 18)
    _text(draw, (80, 790), "Thank you for your visit", 20)
    return image


def _axes(base: Rng, title: str) -> tuple[Picture, ImageDraw.ImageDraw]:
    image, draw = _blank(640, 480)
    _text(draw, (220, 12), title, 20)
    for tick in range(6):
        y = 420 - 70 * tick
        draw.line((70, y, 610, y), fill=(220, 220, 220))
        _text(draw, (30, y - 9), str(20 * tick), 15)
        _text(draw, (80 + 95 * tick, 430), _word(base)[:6], 15)
    draw.line((70, 50, 70, 420, 610, 420), fill="black", width=2)
    return image, draw


def _bars(base: Rng, rng: Rng) -> Picture:
    image, draw = _axes(base, f"{_words(base, 2).title()} by region")
    colour = _SERIES[int(base.integers(0, 6))]
    for bar in range(8):
        left = 85 + 65 * bar
        draw.rectangle((left, 420 - int(rng.integers(30, 350)), left + 45, 419), fill=colour)
    return image


def _lines(base: Rng, rng: Rng) -> Picture:
    image, draw = _axes(base, f"{_words(base, 2).title()} over time")
    for series in range(3):
        values = np.clip(rng.uniform(80, 380) + np.cumsum(rng.normal(0, 14, 60)), 55, 415)
        draw.line([(72 + 9 * step, 470 - float(v)) for step, v in enumerate(values)], fill=_SERIES[series], width=3)
    return image


def _scatter(base: Rng, rng: Rng) -> Picture:
    image, draw = _axes(base, f"{_words(base, 2).title()} against age")
    for _ in range(90):
        x, y = rng.uniform(85, 600), rng.uniform(60, 410)
        draw.ellipse((x - 5, y - 5, x + 5, y + 5), fill=_SERIES[0])
    return image


def _pie(base: Rng, rng: Rng) -> Picture:
    image, draw = _blank(480, 480)
    _text(draw, (150, 14), f"Share of {_word(base)}", 22)
    start = 0.0
    for part, share in enumerate(rng.dirichlet(np.full(5, 3.0))):
        draw.pieslice((70, 60, 410, 400), start, start + 360 * float(share), fill=_SERIES[part])
        start += 360 * float(share)
    for part in range(5):
        draw.rectangle((30 + 90 * part, 430, 48 + 90 * part, 448), fill=_SERIES[part])
        _text(draw, (54 + 90 * part, 430), _word(base)[:5], 15)
    return image


def _page(_base: Rng, rng: Rng) -> Picture:
    image, draw = _blank(800, 1100)
    top = 70
    while top < 1010:
        if rng.random() < 0.12:
            _text(draw, (80, top), _words(rng, 4).title(), 28)
            top += 44
        line = ""
        while len(line) < 62:
            line += _word(rng) + " "
        _text(draw, (80, top), line if rng.random() < 0.85 else line[: int(rng.integers(10, 50))], 20)
        top += 28
    return image


def _chat(_base: Rng, rng: Rng) -> Picture:
    image, draw = _blank(480, 860, (236, 229, 221))
    draw.rectangle((0, 0, 480, 70), fill=(7, 94, 84))
    draw.ellipse((14, 12, 60, 58), fill=(200, 200, 200))
    _text(draw, (76, 20), _name(rng), 24, "white")
    top = 90
    while top < 760:
        mine, lines = rng.random() < 0.5, int(rng.integers(1, 4))
        left = 130 if mine else 16
        height = 16 + 26 * lines
        draw.rounded_rectangle((left, top, left + 330, top + height), 12, fill=(220, 248, 198) if mine else "white")
        for line in range(lines):
            _text(draw, (left + 14, top + 6 + 26 * line), _words(rng, 4)[:32], 18)
        top += height + 14
    draw.rounded_rectangle((14, 800, 400, 846), 20, fill="white")
    draw.ellipse((416, 798, 466, 848), fill=(7, 94, 84))
    return image


def _code(base: Rng, rng: Rng) -> Picture:
    image, draw = _blank(960, 640, (30, 30, 30))
    draw.rectangle((0, 0, 960, 32), fill=(60, 60, 60))
    draw.rectangle((0, 32, 180, 640), fill=(37, 37, 38))
    _text(draw, (340, 6), "Editor - project", 16, (200, 200, 200))
    for row in range(12):
        _text(draw, (20, 50 + 28 * row), f"{_word(base)}.py", 16, (190, 190, 190))
    indent = 0
    for row in range(24):
        _text(draw, (190, 42 + 24 * row), str(row + 1), 15, (120, 120, 120))
        indent = int(np.clip(indent + rng.integers(-1, 2), 0, 3))
        left = 230 + 30 * indent
        for colour in ((86, 156, 214), (220, 220, 170), (206, 145, 120))[: int(rng.integers(0, 4))]:
            word = _word(rng)
            _text(draw, (left, 42 + 24 * row), word, 17, colour)
            left += 10 * len(word) + 14
    return image


def _terminal(_base: Rng, rng: Rng) -> Picture:
    image, draw = _blank(800, 500, (12, 12, 12))
    draw.rectangle((0, 0, 800, 28), fill=(80, 80, 80))
    _text(draw, (330, 4), "user@host: ~", 16, "white")
    for row in range(20):
        text = (
            f"$ {_words(rng, 2)}" if rng.random() < 0.3 else f"{_digits(rng, 4)} {_words(rng, int(rng.integers(2, 6)))}"
        )
        _text(draw, (10, 36 + 22 * row), text, 16, (80, 220, 80) if text[0] == "$" else (210, 210, 210))
    return image


def _meme(base: Rng, rng: Rng) -> Picture:
    image = _scenery(base, 480, 480)
    draw = ImageDraw.Draw(image)
    for top in (14, 410):
        text, font = _words(rng, 3).upper()[:20], ImageFont.load_default(44)
        draw.text((240, top), text, "white", font, anchor="ma", stroke_width=3, stroke_fill="black")
    return image


def _sprite(base: Rng, rng: Rng) -> Picture:
    tones = [_colour(base) for _ in range(4)]
    half = rng.integers(0, 4, (14, 7))
    body = np.concatenate([half, half[:, ::-1]], axis=1)
    pixels = np.full((32, 32, 3), 255, np.uint8)
    pixels[2:30, 2:30] = np.asarray(tones, np.uint8)[body].repeat(2, 0).repeat(2, 1)
    return Image.fromarray(pixels)


def _emoji(_base: Rng, rng: Rng) -> Picture:
    image, draw = _blank(512, 512)
    draw.ellipse((24, 24, 488, 488), fill=(255, 205, 60), outline=(200, 140, 20), width=8)
    for left in (150, 300):
        kind = rng.integers(0, 3)
        if kind == 0:
            draw.ellipse((left, 170, left + 60, 250), fill=(90, 55, 10))
        elif kind == 1:
            draw.arc((left, 170, left + 70, 240), 180, 360, fill=(90, 55, 10), width=14)
        else:
            draw.line((left, 200, left + 70, int(rng.integers(170, 240))), fill=(90, 55, 10), width=14)
    y, open_ = int(rng.integers(300, 340)), int(rng.integers(10, 90))
    if rng.random() < 0.5:
        draw.chord((150, y - open_, 360, y + open_), 0, 180, fill=(90, 55, 10))
    else:
        draw.arc(
            (150, y - 20, 360, y + open_),
            *((0, 180) if rng.random() < 0.5 else (180, 360)),
            fill=(90, 55, 10),
            width=14,
        )
    return image.resize((128, 128), Image.Resampling.LANCZOS)


def _flag(_base: Rng, rng: Rng) -> Picture:
    image, draw = _blank(320, 214)
    colours = [_FLAG_TONES[int(tone)] for tone in rng.permutation(len(_FLAG_TONES))]
    flat = rng.random() < 0.5
    for stripe in range(3):
        box = (0, 71 * stripe, 320, 72 * stripe + 72) if flat else (107 * stripe, 0, 107 * stripe + 107, 214)
        draw.rectangle(box, fill=colours[stripe])
    kind = int(rng.integers(0, 4))
    if kind == 1:
        draw.ellipse((125, 72, 195, 142), fill=colours[3])
    elif kind == 2:
        draw.polygon([(0, 0), (110, 107), (0, 214)], fill=colours[3])
    elif kind == 3:
        draw.rectangle((0, 0, 130, 90), fill=colours[3])
    return image


_FLAG_TONES = ((206, 17, 38), (0, 56, 147), (0, 122, 61), (255, 205, 0), (255, 255, 255), (20, 20, 20), (110, 190, 235))


def _logo(_base: Rng, rng: Rng) -> Picture:
    image, draw = _blank(480, 240)
    colour = _colour(rng, 0, 200)
    kind, side = int(rng.integers(0, 4)), int(rng.integers(60, 110))
    box = (50, 120 - side // 2, 50 + side, 120 + side // 2)
    if kind == 0:
        draw.ellipse(box, fill=colour)
    elif kind == 1:
        draw.rounded_rectangle(box, 18, outline=colour, width=14)
    elif kind == 2:
        points = [
            (
                50 + side / 2 + side / 2 * math.sin(2 * math.pi * k * 2 / 5),
                120 - side / 2 * math.cos(2 * math.pi * k * 2 / 5),
            )
            for k in range(5)
        ]
        draw.polygon(points, fill=colour)
    else:
        draw.polygon([(50, box[3]), (50 + side / 2, box[1]), (50 + side, box[3])], fill=colour)
    _text(draw, (190, 88), _word(rng).title(), 54, _colour(rng, 0, 120))
    return image


def _carton(base: Rng, rng: Rng) -> Picture:
    """A product of one brand before one background: the flavour, its colour and its fruit are other ones."""
    image = _scenery(base, 480, 600).filter(ImageFilter.GaussianBlur(5))
    draw = ImageDraw.Draw(image)
    draw.rectangle((110, 60, 370, 560), fill=(240, 240, 236))
    draw.rectangle((110, 60, 370, 170), fill=_colour(base, 0, 120))
    _text(draw, (140, 84), _word(base).title()[:7], 56, "white")
    _text(draw, (140, 500), _words(base, 3), 16, (60, 60, 60))
    _text(draw, (140, 525), f"{int(base.integers(1, 9))}00 ml", 18, (60, 60, 60))
    flavour = _colour(rng, 30, 240)
    draw.rectangle((110, 190, 370, 250), fill=flavour)
    _text(draw, (136, 200), _word(rng).title()[:9], 38, "white")
    for _ in range(5):
        x, y, r = rng.uniform(160, 320), rng.uniform(310, 440), rng.uniform(24, 48)
        draw.ellipse((x - r, y - r, x + r, y + r), fill=flavour, outline=_colour(rng, 0, 200), width=4)
    grain = np.asarray(image.filter(ImageFilter.GaussianBlur(0.7)), np.float32)
    return Image.fromarray(np.clip(grain + rng.normal(0, 4, grain.shape), 0, 255).astype(np.uint8))


def _route_map(base: Rng, rng: Rng) -> Picture:
    image, draw = _blank(640, 640, (242, 239, 233))
    for _ in range(7):
        x, y, r = base.uniform(0, 640), base.uniform(0, 640), base.uniform(30, 110)
        draw.ellipse(
            (x - r, y - r * 0.7, x + r, y + r * 0.7), fill=(200, 230, 190) if base.random() < 0.6 else (170, 211, 223)
        )
    for _ in range(26):
        ends = base.uniform(0, 640, 4)
        draw.line([float(end) for end in ends], fill=(180, 170, 160), width=9)
        draw.line([float(end) for end in ends], fill=(255, 255, 255), width=6)
    for _ in range(14):
        _text(draw, (base.uniform(10, 560), base.uniform(10, 620)), _word(base).title(), 16, (90, 90, 90))
    steps = np.clip(rng.uniform(120, 520, 2) + np.cumsum(rng.normal(0, 55, (9, 2)), axis=0), 20, 620)
    draw.line([(float(x), float(y)) for x, y in steps], fill=(60, 110, 240), width=8)
    x, y = (float(value) for value in steps[-1])
    draw.ellipse((x - 14, y - 14, x + 14, y + 14), fill=(220, 40, 40))
    _text(draw, (20, 600), f"{_digits(rng, 1)}.{_digits(rng, 1)} km", 22)
    return image


def _contours(_base: Rng, rng: Rng) -> Picture:
    side = 420
    heights = np.zeros((side, side), np.float32)
    for level in (3, 5, 9):
        coarse = Image.fromarray(rng.uniform(0, 1, (level, level)).astype(np.float32))
        heights += np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC)) / level
    bands = np.floor(heights * 26).astype(int)
    edge = (bands[1:, 1:] != bands[:-1, 1:]) | (bands[1:, 1:] != bands[1:, :-1])
    pixels = np.full((side - 1, side - 1, 3), (250, 246, 235), np.uint8)
    pixels[edge] = (150, 100, 60)
    return Image.fromarray(pixels)


def _near_uniform(base: Rng, rng: Rng) -> Picture:
    """Skies, snow and walls: a slope of light with soft clouds."""
    y, x = np.mgrid[0:300, 0:400]
    slope = rng.uniform(-0.15, 0.15) * x + rng.uniform(-0.25, 0.25) * y + rng.uniform(110, 170)
    clouds = np.zeros((300, 400), np.float32)
    for level in (3, 6):
        noise = Image.fromarray(rng.normal(0, 1, (level, level)).astype(np.float32))
        clouds += 10 / level * np.asarray(noise.resize((400, 300), Image.Resampling.BICUBIC))
    tint = np.asarray(_colour(base, 180, 255)) / 230
    return Image.fromarray(np.clip((slope + 3 * clouds)[..., None] * tint, 0, 255).astype(np.uint8))


def _face(rng: Rng, width: int, height: int) -> Picture:
    image, draw = _blank(width, height, _colour(rng, 150, 230))
    skin, hair = (
        (int(rng.integers(120, 240)), int(rng.integers(90, 190)), int(rng.integers(70, 160))),
        _colour(rng, 0, 140),
    )
    w, h = width * rng.uniform(0.26, 0.34), height * rng.uniform(0.3, 0.38)
    cx, cy = width / 2 + rng.normal(0, 5), height * 0.48
    draw.ellipse((cx - w - 8, cy - h - 14, cx + w + 8, cy + h * 0.4), fill=hair)
    draw.ellipse((cx - w, cy - h, cx + w, cy + h), fill=skin)
    draw.rectangle((cx - 1.6 * w, height * 0.88, cx + 1.6 * w, height), fill=_colour(rng))
    for side in (-1, 1):
        ex, ey = cx + side * w * rng.uniform(0.35, 0.5), cy - h * 0.15
        draw.ellipse((ex - 7, ey - 4, ex + 7, ey + 4), fill=(30, 30, 30))
    draw.arc(
        (cx - w * 0.4, cy + h * 0.2, cx + w * 0.4, cy + h * rng.uniform(0.45, 0.7)),
        20,
        160,
        fill=(120, 40, 40),
        width=4,
    )
    return image.filter(ImageFilter.GaussianBlur(1.2))


def _id_card(base: Rng, rng: Rng) -> Picture:
    image, draw = _blank(680, 430, _colour(base, 200, 240))
    for wave in range(12):
        draw.arc((-100, 30 * wave - 200, 780, 30 * wave + 400), 0, 180, fill=_colour(base, 170, 230), width=3)
    draw.rectangle((0, 0, 680, 60), fill=_colour(base, 20, 150))
    _text(draw, (24, 12), f"REPUBLIC OF {_word(base).upper()}", 30, "white")
    image.paste(_face(rng, 180, 230), (30, 90))
    fields = (
        _word(rng).upper(),
        str(rng.choice(_FIRST)).upper(),
        f"{_digits(rng, 2)}.0{_digits(rng, 1)}.19{_digits(rng, 2)}",
    )
    for row, value in enumerate(fields):
        _text(draw, (240, 90 + 70 * row), _words(base, 2), 14, (70, 70, 70))
        _text(draw, (240, 110 + 70 * row), value, 28)
    _text(draw, (30, 345), f"ID{_digits(rng, 9)}<<{_digits(rng, 7)}<<<<<<<", 30)
    _text(draw, (30, 385), f"{_word(rng).upper()}<<{_word(rng).upper()}<<<<<<<<", 30)
    return image


def _calendar(_base: Rng, rng: Rng) -> Picture:
    image, draw = _blank(700, 560)
    _text(draw, (40, 24), f"{rng.choice(_MONTHS)} {int(rng.integers(2000, 2040))}", 40, (180, 30, 30))
    first, days = int(rng.integers(0, 7)), int(rng.integers(28, 32))
    for column, day in enumerate(["Mo", "Tu", "We", "Th", "Fr", "Sa", "Su"]):
        _text(draw, (50 + 92 * column, 96), day, 22)
    for cell in range(42):
        left, top = 30 + 92 * (cell % 7), 130 + 70 * (cell // 7)
        draw.rectangle((left, top, left + 92, top + 70), outline=(120, 120, 120))
        if first <= cell < first + days:
            _text(draw, (left + 10, top + 8), str(cell - first + 1), 28)
    return image


def _sudoku(_base: Rng, rng: Rng) -> Picture:
    image, draw = _blank(470, 470)
    for line in range(10):
        width = 4 if line % 3 == 0 else 1
        draw.line((10, 10 + 50 * line, 460, 10 + 50 * line), fill="black", width=width)
        draw.line((10 + 50 * line, 10, 10 + 50 * line, 460), fill="black", width=width)
    for cell in rng.permutation(81)[:30]:
        _text(draw, (26 + 50 * (cell % 9), 16 + 50 * (cell // 9)), str(rng.integers(1, 10)), 32)
    return image


FAMILIES: dict[str, Family] = {
    "forms": _form,
    "qr codes": _qr,
    "tickets": _ticket,
    "slides": _slide,
    "receipts": _receipt,
    "bar charts": _bars,
    "line charts": _lines,
    "scatter plots": _scatter,
    "pie charts": _pie,
    "text pages": _page,
    "chats": _chat,
    "code": _code,
    "terminals": _terminal,
    "memes": _meme,
    "sprites": _sprite,
    "emoji": _emoji,
    "flags": _flag,
    "logos": _logo,
    "cartons": _carton,
    "maps": _route_map,
    "contours": _contours,
    "near-uniform": _near_uniform,
    "id cards": _id_card,
    "calendars": _calendar,
    "sudokus": _sudoku,
}


def windowed(image: Picture, rng: Rng) -> Picture:
    """A desktop's screen with the picture in a window: a title bar, a column of names, a status bar."""
    width, height = image.size
    out, draw = _blank(round(1.3 * width) + 40, round(1.15 * height) + 60, (232, 232, 236))
    draw.rectangle((0, 0, out.width, 30), fill=(50, 54, 62))
    _text(draw, (12, 6), _words(rng, 3), 16, "white")
    for row in range(max(1, out.height // 34 - 2)):
        _text(draw, (10, 40 + 34 * row), _word(rng), 15, (70, 70, 70))
    out.paste(image, (out.width - width - 12, 40))
    _text(draw, (12, out.height - 22), f"{width} x {height}", 14)
    return out


def _blurred(image: Picture) -> Picture:
    return image.filter(ImageFilter.GaussianBlur(max(image.size) / 600))


def _captioned_or_stamped(image: Picture, rng: Rng) -> Picture:
    return captioned(image, 0.15, rng) if rng.random() < 0.5 else stamped(image, 0.15, rng)


def _brighter(image: Picture) -> Picture:
    return image.point(lambda value: min(255, round(1.2 * value)))


TEN_EDITS = [
    Edit("jpeg-60", "easy", lambda i, _r, _o: recompressed(i, 60)),
    Edit("webp-70", "easy", lambda i, _r, _o: recompressed(i, 70, "WEBP")),
    Edit("half-size", "easy", lambda i, _r, _o: recompressed(scaled(i, 0.5), 75)),
    Edit("crop-90", "medium", lambda i, r, _o: cropped(i, 0.9, r)),
    Edit("screenshot", "medium", lambda i, r, _o: windowed(i, r)),
    Edit("caption or logo", "medium", lambda i, r, _o: _captioned_or_stamped(i, r)),
    Edit("grey", "easy", lambda i, _r, _o: i.convert("L").convert("RGB")),
    Edit("blurred", "easy", lambda i, _r, _o: _blurred(i)),
    Edit("brighter", "easy", lambda i, _r, _o: _brighter(i)),
    Edit("watermark", "medium", lambda i, _r, _o: watermarked(i)),
]
"""What is done to a picture of a family before it comes back. None replaces content."""


def as_array(image: Picture) -> NDArray[np.uint8]:
    """RGB pixels."""
    return np.asarray(image.convert("RGB"))
