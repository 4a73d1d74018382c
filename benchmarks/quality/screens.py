"""Pictures of screens: chats, code, terminals."""

from __future__ import annotations

import numpy as np

from benchmarks.quality import drawing
from benchmarks.quality.drawing import Picture, Rng


def chat(_base: Rng, rng: Rng) -> Picture:
    image, draw = drawing.blank(480, 860, (236, 229, 221))
    draw.rectangle((0, 0, 480, 70), fill=(7, 94, 84))
    draw.ellipse((14, 12, 60, 58), fill=(200, 200, 200))
    drawing.text(draw, (76, 20), drawing.name(rng), 24, "white")
    top = 90
    while top < 760:
        mine, lines = rng.random() < 0.5, int(rng.integers(1, 4))
        left = 130 if mine else 16
        height = 16 + 26 * lines
        draw.rounded_rectangle((left, top, left + 330, top + height), 12, fill=(220, 248, 198) if mine else "white")
        for line in range(lines):
            drawing.text(draw, (left + 14, top + 6 + 26 * line), drawing.words(rng, 4)[:32], 18)
        top += height + 14
    draw.rounded_rectangle((14, 800, 400, 846), 20, fill="white")
    draw.ellipse((416, 798, 466, 848), fill=(7, 94, 84))
    return image


def code(base: Rng, rng: Rng) -> Picture:
    image, draw = drawing.blank(960, 640, (30, 30, 30))
    draw.rectangle((0, 0, 960, 32), fill=(60, 60, 60))
    draw.rectangle((0, 32, 180, 640), fill=(37, 37, 38))
    drawing.text(draw, (340, 6), "Editor - project", 16, (200, 200, 200))
    for row in range(12):
        drawing.text(draw, (20, 50 + 28 * row), f"{drawing.word(base)}.py", 16, (190, 190, 190))
    indent = 0
    for row in range(24):
        drawing.text(draw, (190, 42 + 24 * row), str(row + 1), 15, (120, 120, 120))
        indent = int(np.clip(indent + rng.integers(-1, 2), 0, 3))
        left = 230 + 30 * indent
        for colour in ((86, 156, 214), (220, 220, 170), (206, 145, 120))[: int(rng.integers(0, 4))]:
            word = drawing.word(rng)
            drawing.text(draw, (left, 42 + 24 * row), word, 17, colour)
            left += 10 * len(word) + 14
    return image


def terminal(_base: Rng, rng: Rng) -> Picture:
    image, draw = drawing.blank(800, 500, (12, 12, 12))
    draw.rectangle((0, 0, 800, 28), fill=(80, 80, 80))
    drawing.text(draw, (330, 4), "user@host: ~", 16, "white")
    for row in range(20):
        text = (
            f"$ {drawing.words(rng, 2)}"
            if rng.random() < 0.3
            else f"{drawing.digits(rng, 4)} {drawing.words(rng, int(rng.integers(2, 6)))}"
        )
        drawing.text(draw, (10, 36 + 22 * row), text, 16, (80, 220, 80) if text[0] == "$" else (210, 210, 210))
    return image
