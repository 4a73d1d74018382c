"""Families of pictures that share a template and are all different: forms, tickets, slides, charts, cartons and others.

Every picture is drawn from a seed, so that anybody can draw it again. ``TUNED`` is the seed that borders may be derived
from, ``UNTOUCHED`` the seed for reported figures. Two numbers of one family share the template (its blank, layout, axes
or motif) and differ in content, so no picture of a family is a copy of another.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import ImageFilter

from benchmarks.quality import charts, documents, drawing, motifs, screens
from benchmarks.quality.drawing import Picture, Rng
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

Family = Callable[[Rng, Rng], Picture]
"""(chance of the template, the same for all pictures of a family; chance of this picture) -> the picture"""

FAMILIES: dict[str, Family] = {
    "forms": documents.form,
    "qr codes": documents.qr,
    "tickets": documents.ticket,
    "slides": documents.slide,
    "receipts": documents.receipt,
    "bar charts": charts.bars,
    "line charts": charts.lines,
    "scatter plots": charts.scatter,
    "pie charts": charts.pie,
    "text pages": documents.page,
    "chats": screens.chat,
    "code": screens.code,
    "terminals": screens.terminal,
    "memes": motifs.meme,
    "sprites": motifs.sprite,
    "emoji": motifs.emoji,
    "flags": motifs.flag,
    "logos": motifs.logo,
    "cartons": motifs.carton,
    "maps": charts.route_map,
    "contours": charts.contours,
    "near-uniform": motifs.near_uniform,
    "id cards": documents.id_card,
    "calendars": documents.calendar,
    "sudokus": documents.sudoku,
    "spreadsheets": documents.spreadsheet,
    "timetables": documents.timetable,
    "weather maps": charts.weather_map,
    "short captions": motifs.short_caption,
    "dated photographs": motifs.dated,
}


def picture(family: str, seed: int, number: int) -> Picture:
    """Draw one picture of a family."""
    place = list(FAMILIES).index(family)
    return FAMILIES[family](np.random.default_rng([seed, place]), np.random.default_rng([seed, place, number]))


def windowed(image: Picture, rng: Rng) -> Picture:
    """A desktop's screen with the picture in a window: a title bar, a column of names, a status bar."""
    width, height = image.size
    out, draw = drawing.blank(round(1.3 * width) + 40, round(1.15 * height) + 60, (232, 232, 236))
    draw.rectangle((0, 0, out.width, 30), fill=(50, 54, 62))
    drawing.text(draw, (12, 6), drawing.words(rng, 3), 16, "white")
    for row in range(max(1, out.height // 34 - 2)):
        drawing.text(draw, (10, 40 + 34 * row), drawing.word(rng), 15, (70, 70, 70))
    out.paste(image, (out.width - width - 12, 40))
    drawing.text(draw, (12, out.height - 22), f"{width} x {height}", 14)
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
