"""Pictures of things: memes, sprites, emoji, flags, logos, cartons, skies."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from benchmarks.quality import drawing
from benchmarks.quality.drawing import Picture, Rng

_FLAG_TONES = ((206, 17, 38), (0, 56, 147), (0, 122, 61), (255, 205, 0), (255, 255, 255), (20, 20, 20), (110, 190, 235))


def meme(base: Rng, rng: Rng) -> Picture:
    image = drawing.scenery(base, 480, 480)
    draw = ImageDraw.Draw(image)
    for top in (14, 410):
        text, font = drawing.words(rng, 3).upper()[:20], ImageFont.load_default(44)
        draw.text((240, top), text, "white", font, anchor="ma", stroke_width=3, stroke_fill="black")
    return image


def short_caption(base: Rng, rng: Rng) -> Picture:
    """One photograph with another word or number of a few letters at one place."""
    image = drawing.scenery(base, 480, 480)
    text = drawing.digits(rng, 4) if rng.random() < 0.3 else drawing.word(rng).upper()[:5]
    font, place = ImageFont.load_default(28), (int(base.integers(20, 340)), int(base.choice([14, 430])))
    ImageDraw.Draw(image).text(place, text, "white", font, stroke_width=2, stroke_fill="black")
    return image


def dated(base: Rng, rng: Rng) -> Picture:
    """One photograph with another date that a camera has burned in."""
    image = drawing.scenery(base, 480, 360)
    date = f"{rng.integers(2003, 2024)}:{rng.integers(1, 13):02}:{rng.integers(1, 29):02}"
    ImageDraw.Draw(image).text((460, 342), date, (255, 150, 40), ImageFont.load_default(24), anchor="rs")
    return image


def sprite(base: Rng, rng: Rng) -> Picture:
    tones = [drawing.colour(base) for _ in range(4)]
    half = rng.integers(0, 4, (14, 7))
    body = np.concatenate([half, half[:, ::-1]], axis=1)
    pixels = np.full((32, 32, 3), 255, np.uint8)
    pixels[2:30, 2:30] = np.asarray(tones, np.uint8)[body].repeat(2, 0).repeat(2, 1)
    return Image.fromarray(pixels)


def emoji(_base: Rng, rng: Rng) -> Picture:
    image, draw = drawing.blank(512, 512)
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


def flag(_base: Rng, rng: Rng) -> Picture:
    image, draw = drawing.blank(320, 214)
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


def logo(_base: Rng, rng: Rng) -> Picture:
    image, draw = drawing.blank(480, 240)
    colour = drawing.colour(rng, 0, 200)
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
    drawing.text(draw, (190, 88), drawing.word(rng).title(), 54, drawing.colour(rng, 0, 120))
    return image


def carton(base: Rng, rng: Rng) -> Picture:
    """A product of one brand before one background: the flavour, its colour and its fruit are other ones."""
    image = drawing.scenery(base, 480, 600).filter(ImageFilter.GaussianBlur(5))
    draw = ImageDraw.Draw(image)
    draw.rectangle((110, 60, 370, 560), fill=(240, 240, 236))
    draw.rectangle((110, 60, 370, 170), fill=drawing.colour(base, 0, 120))
    drawing.text(draw, (140, 84), drawing.word(base).title()[:7], 56, "white")
    drawing.text(draw, (140, 500), drawing.words(base, 3), 16, (60, 60, 60))
    drawing.text(draw, (140, 525), f"{int(base.integers(1, 9))}00 ml", 18, (60, 60, 60))
    flavour = drawing.colour(rng, 30, 240)
    draw.rectangle((110, 190, 370, 250), fill=flavour)
    drawing.text(draw, (136, 200), drawing.word(rng).title()[:9], 38, "white")
    for _ in range(5):
        x, y, r = rng.uniform(160, 320), rng.uniform(310, 440), rng.uniform(24, 48)
        draw.ellipse((x - r, y - r, x + r, y + r), fill=flavour, outline=drawing.colour(rng, 0, 200), width=4)
    grain = np.asarray(image.filter(ImageFilter.GaussianBlur(0.7)), np.float32)
    return Image.fromarray(np.clip(grain + rng.normal(0, 4, grain.shape), 0, 255).astype(np.uint8))


def near_uniform(base: Rng, rng: Rng) -> Picture:
    """Skies, snow and walls: a slope of light with soft clouds."""
    y, x = np.mgrid[0:300, 0:400]
    slope = rng.uniform(-0.15, 0.15) * x + rng.uniform(-0.25, 0.25) * y + rng.uniform(110, 170)
    clouds = np.zeros((300, 400), np.float32)
    for level in (3, 6):
        noise = Image.fromarray(rng.normal(0, 1, (level, level)).astype(np.float32))
        clouds += 10 / level * np.asarray(noise.resize((400, 300), Image.Resampling.BICUBIC))
    tint = np.asarray(drawing.colour(base, 180, 255)) / 230
    return Image.fromarray(np.clip((slope + 3 * clouds)[..., None] * tint, 0, 255).astype(np.uint8))
