"""The edits that training makes copies with: two to four in a chain, drawn at random.

They were written for training; the benchmark's edits (benchmarks/quality/edits.py) are other functions with other
numbers, and no result of the model card was looked at while these were chosen.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps

Rng = np.random.Generator
Picture = Image.Image
PIXELATED = COLLAGED = 0.2
"""Share of views: geometry is weakest on these, so the vector is wanted there most."""


def copy_of(image: Picture, other: Picture, rng: Rng) -> Picture:
    """A copy after two to four edits; ``other`` is the foreign picture that collages and overlays show."""
    chain = [EDITS[int(n)] for n in rng.choice(len(EDITS), rng.integers(2, 5), replace=False, p=WEIGHTS)]
    for edit in chain:
        image = edit(image, other, rng)
    if rng.random() < PIXELATED:
        image = pixelated(image, rng)
    if rng.random() < COLLAGED:
        image = (collaged if rng.random() < 0.6 else inset)(image, other, rng)
    if rng.random() < 0.5:
        image = recompressed(image, other, rng)
    return image


def cropped(image: Picture, _: Picture, rng: Rng) -> Picture:
    """20 % to 90 % of the area, with a ratio up to 1.5 times as wide or high."""
    area, ratio = rng.uniform(0.2, 0.9), 1.5 ** rng.uniform(-1, 1)
    w, h = (min(1, (area * ratio) ** 0.5), min(1, (area / ratio) ** 0.5))
    width, height = max(8, int(w * image.width)), max(8, int(h * image.height))
    left, top = int(rng.integers(0, max(1, image.width - width))), int(rng.integers(0, max(1, image.height - height)))
    return image.crop((left, top, left + width, top + height))


def mirrored(image: Picture, _: Picture, __: Rng) -> Picture:
    return ImageOps.mirror(image)


def turned(image: Picture, _: Picture, rng: Rng) -> Picture:
    return image.transpose(Image.Transpose(int(rng.integers(2, 5))))


def rotated(image: Picture, _: Picture, rng: Rng) -> Picture:
    fill = tuple(rng.integers(0, 256, 3).tolist()) if rng.random() < 0.5 else (0, 0, 0)
    return image.rotate(rng.uniform(-35, 35), Image.Resampling.BILINEAR, expand=rng.random() < 0.6, fillcolor=fill)


def in_perspective(image: Picture, _: Picture, rng: Rng) -> Picture:
    w, h = image.size
    move = rng.uniform(-0.08, 0.18, (4, 2)) * [w, h]
    quad = (np.array([[0, 0], [0, h], [w, h], [w, 0]]) + move * [[-1, -1], [-1, 1], [1, 1], [1, -1]]).ravel()
    return image.transform(image.size, Image.Transform.QUAD, tuple(quad.tolist()), Image.Resampling.BILINEAR)


def coloured(image: Picture, _: Picture, rng: Rng) -> Picture:
    for change in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = change(image).enhance(2 ** rng.uniform(-0.9, 0.9))
    return image


def toned(image: Picture, _: Picture, rng: Rng) -> Picture:
    """Grey, a turn of the hue, a gamma for each channel, or few levels."""
    kind = rng.integers(4)
    if kind == 0:
        return ImageOps.grayscale(image).convert("RGB")
    if kind == 1:
        hsv = np.array(image.convert("HSV"))
        hsv[..., 0] += np.uint8(rng.integers(256))
        return Image.fromarray(hsv, "HSV").convert("RGB")
    if kind == 2:
        gamma = 2 ** rng.uniform(-1, 1, 3) if rng.random() < 0.5 else 2 ** np.full(3, rng.uniform(-1.2, 1.2))
        table = [int(255 * (v / 255) ** g) for g in gamma for v in range(256)]
        return image.point(table)
    return ImageOps.posterize(image, int(rng.integers(2, 5)))


def recompressed(image: Picture, _: Picture, rng: Rng) -> Picture:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=int(rng.integers(5, 61)))
    return Image.open(buffer).convert("RGB")


def blurred(image: Picture, _: Picture, rng: Rng) -> Picture:
    return image.filter(ImageFilter.GaussianBlur(rng.uniform(0.4, 0.5 + 0.018 * max(image.size))))


def sharpened(image: Picture, _: Picture, rng: Rng) -> Picture:
    return image.filter(ImageFilter.UnsharpMask(2, int(rng.integers(80, 300)), 1))


def shrunk(image: Picture, _: Picture, rng: Rng) -> Picture:
    share = rng.uniform(0.25, 0.7)
    return image.resize((max(8, int(share * image.width)), max(8, int(share * image.height))), Image.Resampling.BOX)


def noisy(image: Picture, _: Picture, rng: Rng) -> Picture:
    pixels = np.asarray(image, np.float32) + rng.normal(0, rng.uniform(4, 32), (image.height, image.width, 3))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def written(image: Picture, _: Picture, rng: Rng) -> Picture:
    """Lines of text, large or as a pattern over the whole picture."""
    out = image.copy()
    pen, size = ImageDraw.Draw(out), int(rng.uniform(0.07, 0.2) * image.height) + 6
    colour = tuple(rng.integers(0, 256, 3).tolist()) if rng.random() < 0.5 else "white"
    for _line in range(rng.integers(1, 5)):
        text = "".join(rng.choice(list("ABCDEFGHIJKLMNOPQRSTUVWXYZ  "), 14))
        at = (int(rng.uniform(-0.2, 0.4) * image.width), int(rng.uniform(0, 0.9) * image.height))
        pen.text(
            at, text, colour, ImageFont.load_default(size), stroke_width=int(rng.integers(0, 3)), stroke_fill="black"
        )
    return out


def stamped(image: Picture, other: Picture, rng: Rng) -> Picture:
    """One to five logos: discs, boxes, or small foreign pictures."""
    out = image.copy()
    for _logo in range(rng.integers(1, 6)):
        side = max(4, int(rng.uniform(0.1, 0.3) * min(image.size)))
        left, top = int(rng.uniform(0, 0.9) * image.width), int(rng.uniform(0, 0.9) * image.height)
        if rng.random() < 0.3:
            out.paste(other.resize((side, side)), (left, top))
        else:
            pen = ImageDraw.Draw(out)
            shape = pen.ellipse if rng.random() < 0.6 else pen.rectangle
            shape((left, top, left + side, top + side), fill=tuple(rng.integers(0, 256, 3).tolist()), outline="black")
    return out


def framed(image: Picture, _: Picture, rng: Rng) -> Picture:
    """A border, bars above and below or left and right, or a caption's bar."""
    fill = [(0, 0, 0), (255, 255, 255), tuple(rng.integers(0, 256, 3).tolist())][rng.integers(3)]
    across, down = (rng.uniform(0.03, 0.4) * n * (rng.random() < 0.6) for n in image.size)
    left, top = (int(v * rng.choice([0.5, 0.5, 1])) for v in (across, down))
    out = Image.new("RGB", (image.width + int(across), image.height + int(down)), fill)
    out.paste(image, (left, top))
    if top > 14:
        ImageDraw.Draw(out).text((4, 2), "".join(rng.choice(list("abcdefghi klmn opr stu"), 24)), (128, 128, 128))
    return out


def overlaid(image: Picture, other: Picture, rng: Rng) -> Picture:
    """The foreign picture shines through."""
    return Image.blend(image, other.resize(image.size), rng.uniform(0.1, 0.35))


def on_screen(image: Picture, _: Picture, rng: Rng) -> Picture:
    """A screenshot: status bar, the picture over the width, buttons and lines below."""
    back, ink = ((250, 250, 250), (40, 40, 40)) if rng.random() < 0.6 else ((24, 24, 26), (220, 220, 220))
    above, below = (int(rng.uniform(0.08, 0.5) * image.height) for _ in range(2))
    out = Image.new("RGB", (image.width, image.height + above + below), back)
    out.paste(image, (0, above))
    pen = ImageDraw.Draw(out)
    for top in (*range(3, above - 10, 14), *range(image.height + above + 4, out.height - 10, 14)):
        pen.text((int(rng.integers(3, 30)), top), "".join(rng.choice(list("abcdefghi klmn opr stu"), 22)), ink)
    return out


def pixelated(image: Picture, rng: Rng) -> Picture:
    """Blocks of 6 to 24 pixels of a picture that is 192 wide."""
    cells = max(8, int(192 / rng.uniform(6, 24)))
    return image.resize((cells, cells), Image.Resampling.BOX).resize((160, 160), Image.Resampling.NEAREST)


def collaged(image: Picture, other: Picture, rng: Rng) -> Picture:
    """Two to four cells, one of them the picture, the others parts of the foreign one."""
    across, down = ((2, 1), (1, 2), (2, 2))[rng.integers(3)]
    width, height, gap = 192 // across, 192 // down, int(rng.integers(0, 5))
    out, mine = Image.new("RGB", (192, 192), "white" if rng.random() < 0.7 else "black"), rng.integers(across * down)
    for cell in range(across * down):
        source = image if cell == mine else cropped(other, other, rng)
        out.paste(source.resize((width - gap, height - gap)), (cell % across * width, cell // across * height))
    return out


def inset(image: Picture, other: Picture, rng: Rng) -> Picture:
    """The picture pasted over the foreign one."""
    out, share = other.resize((192, 192)), rng.uniform(0.4, 0.8)
    small = image.resize((int(192 * share), int(192 * share)))
    left, top = (int(v) for v in rng.uniform(0, 192 * (1 - share), 2))
    out.paste(small, (left, top))
    return out


EDITS: tuple[Callable[[Picture, Picture, Rng], Picture], ...] = (
    cropped, mirrored, turned, rotated, in_perspective, coloured, toned, recompressed, blurred, sharpened, shrunk,
    noisy, written, stamped, framed, overlaid, on_screen,
)  # fmt: skip
_SHARES = np.array([4, 2, 1.5, 1.5, 1, 2, 1.5, 1, 1, 0.5, 1, 1, 1, 1, 1.5, 0.5, 1])
WEIGHTS = _SHARES / _SHARES.sum()
