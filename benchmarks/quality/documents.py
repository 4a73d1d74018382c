"""Pictures of papers: forms, tickets, slides, receipts, pages, cards, calendars, puzzles."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from benchmarks.quality import drawing
from benchmarks.quality.drawing import Picture, Rng


def form(base: Rng, rng: Rng) -> Picture:
    image, draw = drawing.blank(820, 1100)
    drawing.text(draw, (60, 50), f"Application for {drawing.words(base, 2)}", 34)
    drawing.text(draw, (60, 100), drawing.words(base, 9), 16)
    for row in range(11):
        top = 150 + 62 * row
        drawing.text(draw, (60, top), drawing.words(base, 2).capitalize(), 16)
        draw.rectangle((260, top - 8, 760, top + 32), outline="black", width=2)
        value = [
            drawing.name(rng),
            drawing.digits(rng, 8),
            drawing.words(rng, 3),
            f"{drawing.digits(rng, 2)}.{drawing.digits(rng, 2)}.19{drawing.digits(rng, 2)}",
        ]
        drawing.text(draw, (272, top - 2), value[row % 4], 24, (20, 30, 120))
    for box in range(8):
        left, top = 60 + 180 * (box % 4), 860 + 50 * (box // 4)
        draw.rectangle((left, top, left + 24, top + 24), outline="black", width=2)
        drawing.text(draw, (left + 34, top + 2), drawing.word(base), 16)
        if rng.random() < 0.5:
            draw.line((left + 4, top + 4, left + 20, top + 20), fill="black", width=3)
    drawing.text(draw, (60, 1000), drawing.words(base, 8), 16)
    return image


def _code_square(rng: Rng, modules: int, side: int) -> Picture:
    grid = (rng.random((modules, modules)) < 0.5).astype(np.uint8)
    for y, x in ((0, 0), (0, modules - 7), (modules - 7, 0)):
        grid[max(0, y - 1) : y + 8, max(0, x - 1) : x + 8] = 0
        grid[y : y + 7, x : x + 7] = 1
        grid[y + 1 : y + 6, x + 1 : x + 6] = 0
        grid[y + 2 : y + 5, x + 2 : x + 5] = 1
    return Image.fromarray(255 * (1 - grid)).resize((side, side), Image.Resampling.NEAREST).convert("RGB")


def qr(base: Rng, rng: Rng) -> Picture:
    image, draw = drawing.blank(420, 460)
    shared = np.asarray(_code_square(base, 29, 348)).copy()
    mine = np.asarray(_code_square(rng, 29, 348))
    shared[12 * 8 :, 12 * 9 :] = mine[12 * 8 :, 12 * 9 :]
    image.paste(Image.fromarray(shared), (36, 30))
    drawing.text(draw, (36, 400), f"{drawing.word(base)}.example/{drawing.word(rng)}", 24)
    return image


def ticket(base: Rng, rng: Rng) -> Picture:
    image, draw = drawing.blank(900, 360, drawing.colour(base, 215, 250))
    draw.rectangle((0, 0, 900, 80), fill=drawing.colour(base, 0, 140))
    drawing.text(draw, (30, 18), f"{drawing.words(base, 2).title()} Festival", 40, "white")
    drawing.text(draw, (30, 100), f"Hall {drawing.word(base).title()}   12 May 2026   20:00", 24)
    drawing.text(draw, (30, 160), drawing.name(rng), 32)
    drawing.text(draw, (30, 220), f"Row {drawing.digits(rng, 2)}   Seat {drawing.digits(rng, 2)}", 28)
    drawing.text(draw, (30, 290), f"No. {drawing.digits(rng, 8)}", 22)
    image.paste(_code_square(rng, 25, 225), (640, 110))
    return image


def slide(base: Rng, rng: Rng) -> Picture:
    image, draw = drawing.blank(960, 540)
    accent = drawing.colour(base, 0, 160)
    draw.rectangle((0, 0, 960, 90), fill=accent)
    draw.polygon([(800, 0), (960, 0), (960, 90)], fill=drawing.colour(base, 100, 255))
    draw.ellipse((880, 470, 930, 520), fill=accent)
    drawing.text(draw, (40, 500), f"{drawing.words(base, 3).title()}  |  confidential", 16, (110, 110, 110))
    drawing.text(draw, (40, 24), drawing.words(rng, 3).title(), 38, "white")
    for line in range(int(rng.integers(3, 6))):
        draw.ellipse((50, 142 + 58 * line, 62, 154 + 58 * line), fill=accent)
        drawing.text(draw, (80, 132 + 58 * line), drawing.words(rng, int(rng.integers(3, 7))), 24, (40, 40, 40))
    return image


def receipt(base: Rng, rng: Rng) -> Picture:
    image, draw = drawing.blank(420, 860, (250, 249, 245))
    drawing.text(draw, (90, 30), f"{drawing.word(base).upper()} MARKET", 30)
    drawing.text(draw, (100, 75), f"{drawing.words(base, 2).title()} Street 12", 18)
    draw.line((30, 110, 390, 110), fill="black", width=2)
    for row in range(int(rng.integers(9, 15))):
        drawing.text(draw, (30, 130 + 34 * row), drawing.words(rng, 2)[:18], 20)
        drawing.text(draw, (320, 130 + 34 * row), f"{int(rng.integers(0, 30))}.{drawing.digits(rng, 2)}", 20)
    draw.line((30, 660, 390, 660), fill="black", width=2)
    drawing.text(draw, (30, 675), "TOTAL", 30)
    drawing.text(draw, (280, 675), f"{int(rng.integers(10, 200))}.{drawing.digits(rng, 2)}", 30)
    drawing.text(
        draw, (30, 730), f"{drawing.digits(rng, 2)}.{drawing.digits(rng, 2)}.2026  No {drawing.digits(rng, 6)}", 18
    )
    drawing.text(draw, (80, 790), "Thank you for your visit", 20)
    return image


def page(_base: Rng, rng: Rng) -> Picture:
    image, draw = drawing.blank(800, 1100)
    top = 70
    while top < 1010:
        if rng.random() < 0.12:
            drawing.text(draw, (80, top), drawing.words(rng, 4).title(), 28)
            top += 44
        line = ""
        while len(line) < 62:
            line += drawing.word(rng) + " "
        drawing.text(draw, (80, top), line if rng.random() < 0.85 else line[: int(rng.integers(10, 50))], 20)
        top += 28
    return image


def _face(rng: Rng, width: int, height: int) -> Picture:
    image, draw = drawing.blank(width, height, drawing.colour(rng, 150, 230))
    skin, hair = (
        (int(rng.integers(120, 240)), int(rng.integers(90, 190)), int(rng.integers(70, 160))),
        drawing.colour(rng, 0, 140),
    )
    w, h = width * rng.uniform(0.26, 0.34), height * rng.uniform(0.3, 0.38)
    cx, cy = width / 2 + rng.normal(0, 5), height * 0.48
    draw.ellipse((cx - w - 8, cy - h - 14, cx + w + 8, cy + h * 0.4), fill=hair)
    draw.ellipse((cx - w, cy - h, cx + w, cy + h), fill=skin)
    draw.rectangle((cx - 1.6 * w, height * 0.88, cx + 1.6 * w, height), fill=drawing.colour(rng))
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


def id_card(base: Rng, rng: Rng) -> Picture:
    image, draw = drawing.blank(680, 430, drawing.colour(base, 200, 240))
    for wave in range(12):
        draw.arc((-100, 30 * wave - 200, 780, 30 * wave + 400), 0, 180, fill=drawing.colour(base, 170, 230), width=3)
    draw.rectangle((0, 0, 680, 60), fill=drawing.colour(base, 20, 150))
    drawing.text(draw, (24, 12), f"REPUBLIC OF {drawing.word(base).upper()}", 30, "white")
    image.paste(_face(rng, 180, 230), (30, 90))
    fields = (
        drawing.word(rng).upper(),
        drawing.first_name(rng).upper(),
        f"{drawing.digits(rng, 2)}.0{drawing.digits(rng, 1)}.19{drawing.digits(rng, 2)}",
    )
    for row, value in enumerate(fields):
        drawing.text(draw, (240, 90 + 70 * row), drawing.words(base, 2), 14, (70, 70, 70))
        drawing.text(draw, (240, 110 + 70 * row), value, 28)
    drawing.text(draw, (30, 345), f"ID{drawing.digits(rng, 9)}<<{drawing.digits(rng, 7)}<<<<<<<", 30)
    drawing.text(draw, (30, 385), f"{drawing.word(rng).upper()}<<{drawing.word(rng).upper()}<<<<<<<<", 30)
    return image


def calendar(_base: Rng, rng: Rng) -> Picture:
    image, draw = drawing.blank(700, 560)
    drawing.text(draw, (40, 24), f"{drawing.month(rng)} {int(rng.integers(2000, 2040))}", 40, (180, 30, 30))
    first, days = int(rng.integers(0, 7)), int(rng.integers(28, 32))
    for column, day in enumerate(["Mo", "Tu", "We", "Th", "Fr", "Sa", "Su"]):
        drawing.text(draw, (50 + 92 * column, 96), day, 22)
    for cell in range(42):
        left, top = 30 + 92 * (cell % 7), 130 + 70 * (cell // 7)
        draw.rectangle((left, top, left + 92, top + 70), outline=(120, 120, 120))
        if first <= cell < first + days:
            drawing.text(draw, (left + 10, top + 8), str(cell - first + 1), 28)
    return image


def sudoku(_base: Rng, rng: Rng) -> Picture:
    image, draw = drawing.blank(470, 470)
    for line in range(10):
        width = 4 if line % 3 == 0 else 1
        draw.line((10, 10 + 50 * line, 460, 10 + 50 * line), fill="black", width=width)
        draw.line((10 + 50 * line, 10, 10 + 50 * line, 460), fill="black", width=width)
    for cell in rng.permutation(81)[:30]:
        drawing.text(draw, (26 + 50 * (cell % 9), 16 + 50 * (cell // 9)), str(rng.integers(1, 10)), 32)
    return image


def spreadsheet(base: Rng, rng: Rng) -> Picture:
    """280 cells, of which two are other ones."""
    image, draw = drawing.blank(1190, 800)
    draw.rectangle((0, 0, 1190, 30), fill=(33, 115, 70))
    others = base.choice(243, 2, replace=False)
    for cell in range(280):
        row, column = divmod(cell, 10)
        left, top = 20 + 115 * column, 44 + 26 * row
        draw.rectangle((left, top, left + 115, top + 26), outline=(210, 210, 210))
        content = drawing.digits(base, 5) if row and column else drawing.word(base)[:9]
        if row and column and 9 * (row - 1) + column - 1 in others:
            content = drawing.digits(rng, 5)
        drawing.text(draw, (left + 6, top + 4), content, 16)
    return image


def timetable(base: Rng, rng: Rng) -> Picture:
    """176 departures, of which three are other ones."""
    image, draw = drawing.blank(700, 900)
    drawing.text(draw, (40, 30), f"Line {drawing.digits(base, 2)}  {drawing.words(base, 2)}", 32)
    others = base.choice(176, 3, replace=False)
    for place in range(176):
        row, column = divmod(place, 8)
        minutes = [int(chance.integers(0, 60)) for chance in (base, rng)][place in others]
        drawing.text(draw, (40 + 80 * column, 110 + 34 * row), f"{5 + row % 19:02}:{minutes:02}", 20)
    return image
