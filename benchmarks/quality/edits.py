"""The edits that make a copy: what people, sites and programs do to a picture before it comes back.

Each edit takes an RGB picture and a random generator (its only source of chance, so a copy can be made again) and
gives an RGB picture. Three tiers: *easy*, what any re-encoding does; *medium*, what a user of a phone does in ten
seconds; *hard*, what leaves less than half of the picture, or surrounds it with another.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps

Rng = np.random.Generator
Picture = Image.Image

WORDS = [
    "when",
    "you",
    "finally",
    "find",
    "the",
    "one",
    "that",
    "you",
    "were",
    "looking",
    "for",
    "all",
    "day",
    "long",
    "and",
    "it",
    "is",
    "still",
    "here",
]


@dataclass(frozen=True)
class Edit:
    name: str
    tier: str
    apply: Callable[[Picture, Rng, Picture], Picture]
    """(picture, chance, another picture for the background) -> the copy"""


def recompressed(image: Picture, quality: int, fmt: str = "JPEG") -> Picture:
    buffer = io.BytesIO()
    image.save(buffer, fmt, quality=quality)
    return Image.open(buffer).convert("RGB")


def scaled(image: Picture, factor: float, stretch: float = 1.0) -> Picture:
    size = max(1, round(image.width * factor * stretch)), max(1, round(image.height * factor))
    return image.resize(size, Image.Resampling.LANCZOS)


def cropped(image: Picture, area: float, rng: Rng) -> Picture:
    """A random part of the picture with this share of its area, in its own proportions."""
    side = area**0.5
    width, height = round(image.width * side), round(image.height * side)
    left, top = rng.integers(0, image.width - width + 1), rng.integers(0, image.height - height + 1)
    return image.crop((int(left), int(top), int(left) + width, int(top) + height))


def rotated(image: Picture, degrees: float, fill: tuple[int, int, int] = (0, 0, 0)) -> Picture:
    return image.rotate(degrees, Image.Resampling.BICUBIC, expand=True, fillcolor=fill)


def noisy(image: Picture, sigma: float, rng: Rng) -> Picture:
    pixels = np.asarray(image, np.float32) + rng.normal(0, sigma, (image.height, image.width, 3))
    return _picture(pixels)


def curved(image: Picture, gamma: float) -> Picture:
    return _picture(255 * (np.asarray(image, np.float32) / 255) ** gamma)


def hue_turned(image: Picture, turn: int) -> Picture:
    pixels = np.array(image.convert("HSV"))
    pixels[..., 0] += np.uint8(turn)
    return Image.fromarray(pixels, "HSV").convert("RGB")


def sepia(image: Picture) -> Picture:
    mix = np.array([[0.393, 0.769, 0.189], [0.349, 0.686, 0.168], [0.272, 0.534, 0.131]], np.float32)
    return _picture(np.asarray(image, np.float32) @ mix.T)


def vignetted(image: Picture) -> Picture:
    y, x = np.ogrid[-1 : 1 : image.height * 1j, -1 : 1 : image.width * 1j]
    return _picture(np.asarray(image, np.float32) * np.clip(1.15 - 0.45 * (x * x + y * y), 0.15, 1)[..., None])


def framed(image: Picture, share: float, colour: tuple[int, int, int]) -> Picture:
    return ImageOps.expand(image, round(max(image.size) * share), colour)


def letterboxed(image: Picture, ratio: float) -> Picture:
    """Black bars until the picture has this ratio of width to height (or of height to width when it is wide)."""
    wide = image.width >= image.height
    size = (image.width, round(image.width * ratio)) if wide else (round(image.height * ratio), image.height)
    return _pasted(Image.new("RGB", (max(size[0], image.width), max(size[1], image.height))), image, (0.5, 0.5))


def captioned(image: Picture, share: float, rng: Rng) -> Picture:
    """A white bar with words above the picture, as on a meme."""
    bar = round(image.height * share)
    out = Image.new("RGB", (image.width, image.height + bar), "white")
    out.paste(image, (0, bar))
    _write(out, _sentence(rng), (8, bar // 6), bar // 3, "black")
    return out


def overwritten(image: Picture, share: float, rng: Rng) -> Picture:
    """Large outlined words at the top and the bottom of the picture."""
    out, size = image.copy(), round(image.height * share)
    for top in (size // 4, image.height - round(1.4 * size)):
        _write(out, _sentence(rng).upper(), (6, top), size, "white")
    return out


def stamped(image: Picture, share: float, rng: Rng) -> Picture:
    """A logo in a corner: a disc with a letter."""
    out, side = image.copy(), round(min(image.size) * share)
    left = int(rng.choice([5, image.width - side - 5]))
    top = int(rng.choice([5, image.height - side - 5]))
    draw = ImageDraw.Draw(out)
    draw.ellipse((left, top, left + side, top + side), fill=tuple(int(c) for c in rng.integers(0, 256, 3)))
    _write(out, "Q", (left + side // 4, top + side // 8), side * 2 // 3, "white")
    return out


def stickered(image: Picture, count: int, rng: Rng) -> Picture:
    """Emoji over the picture, each a fifth of its width."""
    out, side = image.copy(), image.width // 5
    draw = ImageDraw.Draw(out)
    for _ in range(count):
        left, top = int(rng.integers(0, image.width - side)), int(rng.integers(0, max(1, image.height - side)))
        draw.ellipse((left, top, left + side, top + side), fill=(255, 205, 50), outline=(90, 60, 0), width=2)
        draw.arc((left + side // 4, top + side // 3, left + side * 3 // 4, top + side * 4 // 5), 20, 160, "black", 3)
    return out


def watermarked(image: Picture) -> Picture:
    """Half-transparent words across the whole picture, again and again."""
    layer = Image.new("RGB", image.size, "white")
    mask = Image.new("L", image.size, 0)
    for top in range(0, image.height, 60):
        _write_grey(mask, "SAMPLE  PREVIEW  SAMPLE  PREVIEW", (-(top // 2) % 80 - 80, top), 24, 110)
    return Image.composite(layer, image, mask)


def collaged(image: Picture, others: Picture, rng: Rng) -> Picture:
    """One of four pictures of equal size; the other three are parts of ``others``."""
    out = Image.new("RGB", image.size, "white")
    half = image.width // 2 - 2, image.height // 2 - 2
    cells = [(0, 0), (half[0] + 4, 0), (0, half[1] + 4), (half[0] + 4, half[1] + 4)]
    mine = int(rng.integers(0, 4))
    for number, cell in enumerate(cells):
        source = image if number == mine else cropped(others, 0.4, rng)
        out.paste(source.resize(half, Image.Resampling.LANCZOS), cell)
    return out


def inset(image: Picture, background: Picture, share: float, rng: Rng) -> Picture:
    """The picture pasted over another one, at this share of its width."""
    small = scaled(image, share * background.width / image.width)
    small.thumbnail((background.width, background.height * 3 // 4), Image.Resampling.LANCZOS)
    return _pasted(background.copy(), small, (float(rng.random()), float(rng.random())))


def side_by_side(image: Picture, other: Picture) -> Picture:
    other = other.resize((image.width, image.height), Image.Resampling.LANCZOS)
    out = Image.new("RGB", (2 * image.width, image.height))
    out.paste(image, (0, 0))
    out.paste(other, (image.width, 0))
    return out


def screenshot(image: Picture, rng: Rng) -> Picture:
    """A phone's screen: status bar, a user's line, the picture over the full width, buttons, comments."""
    width, height = 400, 800
    out = Image.new("RGB", (width, height), (250, 250, 250))
    picture = scaled(image, width / image.width)
    if picture.height > 560:
        picture = picture.crop((0, 0, width, 560))
    out.paste(picture, (0, 110))
    draw = ImageDraw.Draw(out)
    draw.rectangle((0, 0, width, 26), fill=(30, 30, 34))
    _write(out, "12:47          5G  81%", (12, 4), 14, "white")
    draw.ellipse((12, 46, 60, 94), fill=(120, 160, 210))
    _write(out, _sentence(rng)[:24], (74, 58), 18, "black")
    below = 110 + picture.height
    for step in range(3):
        draw.ellipse((14 + 46 * step, below + 12, 44 + 46 * step, below + 42), outline="black", width=3)
    for line in range(4):
        _write(out, _sentence(rng), (14, below + 60 + 26 * line), 16, (60, 60, 60))
    return out


def tilted(image: Picture, amount: float, rng: Rng) -> Picture:
    """Seen from the side, as a photo of a print: each corner moves inwards by up to ``amount`` of the size."""
    width, height = image.size
    corners = np.array([[0, 0], [0, height], [width, height], [width, 0]], float)
    inwards = np.array([[1, 1], [1, -1], [-1, -1], [-1, 1]])
    moved = corners - inwards * rng.uniform(0, amount, (4, 2)) * [width, height]
    quad = tuple(float(value) for value in moved.ravel())
    return image.transform(image.size, Image.Transform.QUAD, quad, Image.Resampling.BICUBIC, fillcolor=(96, 90, 84))


def printed(image: Picture, rng: Rng) -> Picture:
    """Printed and photographed: turned a little, faded, blurred, noisy, on a table."""
    faded = ImageEnhance.Contrast(curved(image, 0.8)).enhance(0.7)
    return noisy(tilted(rotated(faded, 4, (96, 90, 84)), 0.04, rng).filter(ImageFilter.GaussianBlur(0.8)), 6, rng)


def _picture(pixels: NDArray[np.floating]) -> Picture:
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _pasted(out: Picture, image: Picture, at: tuple[float, float]) -> Picture:
    out.paste(image, (round((out.width - image.width) * at[0]), round((out.height - image.height) * at[1])))
    return out


def _sentence(rng: Rng) -> str:
    return " ".join(rng.choice(WORDS, 7))


def _write(image: Picture, text: str, at: tuple[int, int], size: int, fill: str | tuple[int, int, int]) -> None:
    outline = "black" if fill == "white" else None
    font = ImageFont.load_default(max(8, size))
    ImageDraw.Draw(image).text(at, text, fill, font, stroke_width=2 if outline else 0, stroke_fill=outline)


def _write_grey(mask: Picture, text: str, at: tuple[int, int], size: int, value: int) -> None:
    ImageDraw.Draw(mask).text(at, text, value, ImageFont.load_default(size))


def _reposted(image: Picture, rng: Rng) -> Picture:
    """What an image board makes of it: cropped, mirrored, captioned, small, compressed hard."""
    return recompressed(scaled(captioned(ImageOps.mirror(cropped(image, 0.7, rng)), 0.2, rng), 0.7), 40)


def _turned(method: Image.Transpose) -> Callable[[Picture, Rng, Picture], Picture]:
    return lambda image, _rng, _other: image.transpose(method)


EDITS = [
    Edit("jpeg-75", "easy", lambda i, _r, _o: recompressed(i, 75)),
    Edit("jpeg-30", "easy", lambda i, _r, _o: recompressed(i, 30)),
    Edit("webp-60", "easy", lambda i, _r, _o: recompressed(i, 60, "WEBP")),
    Edit("half-size", "easy", lambda i, _r, _o: scaled(i, 0.5)),
    Edit("double-size", "easy", lambda i, _r, _o: scaled(i, 2)),
    Edit("grey", "easy", lambda i, _r, _o: i.convert("L").convert("RGB")),
    Edit("brighter", "easy", lambda i, _r, _o: ImageEnhance.Brightness(i).enhance(1.3)),
    Edit("darker", "easy", lambda i, _r, _o: ImageEnhance.Brightness(i).enhance(0.7)),
    Edit("contrast", "easy", lambda i, _r, _o: ImageEnhance.Contrast(i).enhance(1.4)),
    Edit("saturated", "easy", lambda i, _r, _o: ImageEnhance.Color(i).enhance(1.8)),
    Edit("sharpened", "easy", lambda i, _r, _o: i.filter(ImageFilter.UnsharpMask(2, 120, 2))),
    Edit("blurred", "easy", lambda i, _r, _o: i.filter(ImageFilter.GaussianBlur(1.2))),
    Edit("crop-95", "easy", lambda i, r, _o: cropped(i, 0.95, r)),
    Edit("logo", "easy", lambda i, r, _o: stamped(i, 0.15, r)),
    Edit("jpeg-10", "medium", lambda i, _r, _o: recompressed(i, 10)),
    Edit("thumbnail-128", "medium", lambda i, _r, _o: scaled(i, 128 / max(i.size))),
    Edit("blurred-strong", "medium", lambda i, _r, _o: i.filter(ImageFilter.GaussianBlur(3))),
    Edit("noise", "medium", lambda i, r, _o: noisy(i, 20, r)),
    Edit("gamma", "medium", lambda i, _r, _o: curved(i, 0.5)),
    Edit("hue", "medium", lambda i, _r, _o: hue_turned(i, 60)),
    Edit("sepia", "medium", lambda i, _r, _o: sepia(i)),
    Edit("posterised", "medium", lambda i, _r, _o: ImageOps.posterize(i, 3)),
    Edit("vignette", "medium", lambda i, _r, _o: vignetted(i)),
    Edit("crop-80", "medium", lambda i, r, _o: cropped(i, 0.8, r)),
    Edit("stretched", "medium", lambda i, _r, _o: scaled(i, 1, 1.25)),
    Edit("mirrored", "medium", _turned(Image.Transpose.FLIP_LEFT_RIGHT)),
    Edit("turned-90", "medium", _turned(Image.Transpose.ROTATE_90)),
    Edit("turned-180", "medium", _turned(Image.Transpose.ROTATE_180)),
    Edit("turned-270", "medium", _turned(Image.Transpose.ROTATE_270)),
    Edit("rotated-5", "medium", lambda i, _r, _o: rotated(i, 5)),
    Edit("white-frame", "medium", lambda i, _r, _o: framed(i, 0.08, (255, 255, 255))),
    Edit("letterbox", "medium", lambda i, _r, _o: letterboxed(i, 16 / 9)),
    Edit("caption", "medium", lambda i, r, _o: captioned(i, 0.2, r)),
    Edit("watermark", "medium", lambda i, _r, _o: watermarked(i)),
    Edit("crop-40", "hard", lambda i, r, _o: cropped(i, 0.4, r)),
    Edit("rotated-25", "hard", lambda i, _r, _o: rotated(i, 25)),
    Edit("collage", "hard", lambda i, r, o: collaged(i, o, r)),
    Edit("inset-50", "hard", lambda i, r, o: inset(i, o, 0.5, r)),
    Edit("side-by-side", "hard", lambda i, _r, o: side_by_side(i, o)),
    Edit("screenshot", "hard", lambda i, r, _o: screenshot(i, r)),
    Edit("letterbox-strong", "hard", lambda i, _r, _o: letterboxed(i, 2.4)),
    Edit("big-words", "hard", lambda i, r, _o: overwritten(i, 0.16, r)),
    Edit("stickers", "hard", lambda i, r, _o: stickered(i, 5, r)),
    Edit("tilted", "hard", lambda i, r, _o: tilted(i, 0.12, r)),
    Edit("printed", "hard", lambda i, r, _o: printed(i, r)),
    Edit("reposted", "hard", lambda i, r, _o: _reposted(i, r)),
]
