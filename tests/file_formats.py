"""One picture saved in every format that is decoded, by libraries, or by hand where none of them writes it."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import tifffile
from drawn import encoded
from numpy.typing import NDArray
from PIL import Image

import shazimd.imaging.decode  # noqa: F401 - registers Pillow's plug-ins for HEIC and JPEG XL

Writer = Callable[[Image.Image], bytes]


def by_pillow(format_: str, mode: str = "RGB", **options: object) -> Writer:
    return lambda image: encoded(image.convert(mode), format_, **options)


def by_opencv(extension: str, scale: float | None) -> Writer:
    """``scale``: of float samples; None for 8 bits."""

    def write(image: Image.Image) -> bytes:
        bgr: NDArray[Any] = np.asarray(image)[..., ::-1]
        written, data = cv2.imencode(extension, bgr if scale is None else bgr.astype(np.float32) * np.float32(scale))
        assert written
        return data.tobytes()

    return write


def by_tifffile(samples: Callable[[NDArray[np.uint8]], NDArray[Any]], **options: Any) -> Writer:
    def write(image: Image.Image) -> bytes:
        out, array = io.BytesIO(), samples(np.asarray(image))
        grey = "minisblack" if array.ndim == 2 else "rgb"
        tifffile.imwrite(out, array, **{"photometric": grey, **options})
        return out.getvalue()

    return write


def radiance(image: Image.Image) -> bytes:
    """Linear light, of which the brightest is reference white."""
    return bytes(cv2.imencode(".hdr", linear(np.asarray(image)[..., ::-1]))[1].tobytes())


def linear(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    coded = pixels / np.float32(255)
    return np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4).astype(np.float32)


def tiff_of_12_bits(image: Image.Image) -> bytes:
    """Two samples in three bytes, rows from whole bytes on (TIFF 6.0, section 8)."""
    rgb = np.asarray(image).astype(np.uint16) << 4
    first, second = rgb.reshape(rgb.shape[0], -1, 2)[..., 0], rgb.reshape(rgb.shape[0], -1, 2)[..., 1]
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=-1).astype(np.uint8)
    return tiff(image.size, {258: [12, 12, 12], 259: [1], 262: [2], 277: [3]}, packed.tobytes())


def tiff_with_picture_inside(format_: str, compression: int, **options: object) -> Writer:
    return lambda image: tiff(
        image.size,
        {258: [8, 8, 8], 259: [compression], 262: [2], 277: [3]},
        encoded(image, format_, **options),
    )


def tiff(size: tuple[int, int], tags: dict[int, list[int]], strip: bytes) -> bytes:
    """A little-endian TIFF of one strip, with tags of type SHORT."""
    width, height = size
    tags = {**tags, 256: [width], 257: [height], 278: [height]}
    count = len(tags) + 2
    behind = 8 + 2 + 12 * count + 4
    entries, extra = [], b""
    for tag, values in tags.items():
        packed = struct.pack(f"<{len(values)}H", *values)
        if len(packed) > 4:
            packed, extra = struct.pack("<I", behind + len(extra)), extra + packed + bytes(len(packed) % 2)
        entries.append(struct.pack("<HHI", tag, 3, len(values)) + packed.ljust(4, b"\0"))
    entries.append(struct.pack("<HHII", 273, 4, 1, behind + len(extra)))
    entries.append(struct.pack("<HHII", 279, 4, 1, len(strip)))
    return b"II*\0" + struct.pack("<IH", 8, count) + b"".join(sorted(entries)) + bytes(4) + extra + strip


def bitmap(bits: int, masks: tuple[int, int, int, int]) -> Writer:
    def write(image: Image.Image) -> bytes:
        rgba = np.dstack([np.asarray(image), np.full(image.size[::-1], 255, np.uint8)]).astype(np.uint32)
        words = np.zeros(image.size[::-1], np.uint32)
        for channel, mask in enumerate(masks):
            if mask:
                shift = (mask & -mask).bit_length() - 1
                words |= (rgba[..., channel] * (mask >> shift) // 255) << shift
        rows = words[::-1].astype("<u2" if bits == 16 else "<u4")
        body = b"".join(row.tobytes() + bytes(-len(row.tobytes()) % 4) for row in rows)
        header = struct.pack("<IiiHHIIiiII", 124, *image.size, 1, bits, 3, len(body), 0, 0, 0, 0)
        header += struct.pack("<IIII", *masks)
        return b"BM" + struct.pack("<IHHI", 14 + 124 + len(body), 0, 0, 14 + 124) + header.ljust(124, b"\0") + body

    return write


def targa(corner: int) -> Writer:
    """24 bits, uncompressed, from a corner: 0 bottom left, 0x10 bottom right, 0x20 top left, 0x30 top right."""

    def write(image: Image.Image) -> bytes:
        pixels = np.asarray(image)[:: 1 if corner & 0x20 else -1, :: -1 if corner & 0x10 else 1, ::-1]
        return struct.pack("<BBBHHBHHHHBB", 0, 0, 2, 0, 0, 0, 0, 0, *image.size, 24, corner) + pixels.tobytes()

    return write


def mapped_targa(image: Image.Image) -> bytes:
    """Indices into a map of 15 bits that begins at 10, in runs."""
    palette = image.quantize(64)
    colours = np.array((palette.getpalette() or [])[:192], np.uint16).reshape(-1, 3) >> 3
    words = (colours[:, 0] << 10 | colours[:, 1] << 5 | colours[:, 2]).astype("<u2")
    indices = np.asarray(palette).reshape(-1) + 10
    body = b"".join(bytes([len(part) - 1]) + part.tobytes() for part in np.array_split(indices, len(indices) // 100))
    head = struct.pack("<BBBHHBHHHHBB", 0, 1, 9, 10, len(words), 15, 0, 0, *image.size, 8, 0x20)
    return head + words.tobytes() + body


def photoshop(version: int, bits: int, *, packed: bool = False, mode: str = "RGB") -> Writer:
    """A PSD (version 1) or PSB (2) of 8, 16 or 32 bits, without layers."""

    def write(image: Image.Image) -> bytes:
        source = np.asarray(image.convert(mode))
        samples = {8: source, 16: source.astype(">u2") * 257, 32: linear(source).astype(">f4")}[bits]
        if mode == "CMYK":
            samples = samples.max() - samples
        planes = [np.ascontiguousarray(samples[..., n]) for n in range(samples.shape[2])]
        number = {"RGB": 3, "RGBA": 3, "CMYK": 4}[mode]
        head = struct.pack(">4sH6xHIIHH", b"8BPS", version, len(planes), image.height, image.width, bits, number)
        head += bytes(4 + 4 + (4 if version == 1 else 8))
        if not packed:
            return head + struct.pack(">H", 0) + b"".join(plane.tobytes() for plane in planes)
        rows = [_packed(row.tobytes()) for plane in planes for row in plane]
        lengths = b"".join(struct.pack(">H" if version == 1 else ">I", len(row)) for row in rows)
        return head + struct.pack(">H", 1) + lengths + b"".join(rows)

    return write


def _packed(row: bytes) -> bytes:
    """Literal runs of PackBits."""
    return b"".join(bytes([len(row[at : at + 128]) - 1]) + row[at : at + 128] for at in range(0, len(row), 128))


def preview(image: Image.Image) -> bytes:
    return encoded(image.resize((image.width * 2, image.height * 2)), "JPEG", quality=92)


def dng(image: Image.Image) -> bytes:
    """A first directory with a thumbnail and the DNG version, and a preview behind it."""
    small = image.resize((16, 12))
    tags = {258: [8, 8, 8], 259: [1], 262: [2], 277: [3], 254: [1], 50706: [1, 4]}
    return tiff(small.size, tags, small.tobytes()) + bytes(100) + preview(image)


def canon(image: Image.Image) -> bytes:
    return b"\0\0\0\x18ftypcrx \0\0\0\x01crx isom" + bytes(64) + preview(image) + bytes(999)


def fuji(image: Image.Image) -> bytes:
    return b"FUJIFILMCCD-RAW 0201FF389501" + bytes(56) + preview(image) + bytes(999)


def olympus(image: Image.Image) -> bytes:
    return b"IIRO" + tiff((4, 4), {258: [8], 259: [1], 262: [1]}, bytes(16))[4:] + preview(image)


def moving(format_: str, **options: object) -> Writer:
    return lambda image: encoded(
        image, format_, save_all=True, append_images=[image.transpose(Image.Transpose.ROTATE_180)], **options
    )


WRITERS: dict[str, Writer] = {
    "JPEG": by_pillow("JPEG", quality=92),
    "JPEG, progressive": by_pillow("JPEG", quality=92, progressive=True),
    "JPEG, grey": by_pillow("JPEG", "L", quality=92),
    "JPEG, CMYK": by_pillow("JPEG", "CMYK", quality=92),
    "PNG": by_pillow("PNG"),
    "PNG, palette": by_pillow("PNG", "P"),
    "PNG, 16-bit grey": lambda image: encoded(Image.fromarray(np.asarray(image.convert("L"), np.uint16) * 257), "PNG"),
    "PNG, animated": moving("PNG"),
    "WebP": by_pillow("WEBP", quality=92),
    "WebP, lossless": by_pillow("WEBP", lossless=True),
    "WebP, animated": moving("WEBP"),
    "GIF": by_pillow("GIF"),
    "GIF, animated": moving("GIF"),
    "AVIF": by_pillow("AVIF", quality=90),
    "HEIC": by_pillow("HEIF", quality=90),
    "JPEG XL": by_pillow("JXL", quality=92),
    "JPEG XL, lossless": by_pillow("JXL", lossless=True),
    "JPEG 2000": by_pillow("JPEG2000"),
    "JPEG 2000, grey": by_pillow("JPEG2000", "L"),
    "TIFF": by_pillow("TIFF"),
    "TIFF, LZW": by_pillow("TIFF", compression="tiff_lzw"),
    "TIFF, JPEG": by_pillow("TIFF", compression="jpeg", quality=92),
    "TIFF, CMYK": by_pillow("TIFF", "CMYK"),
    "TIFF, WebP": tiff_with_picture_inside("WEBP", 50001, lossless=True),
    "TIFF, JPEG 2000": tiff_with_picture_inside("JPEG2000", 34712, no_jp2=True),
    "TIFF, 16-bit": by_tifffile(lambda rgb: rgb.astype(np.uint16) * 257),
    "TIFF, signed 16-bit": by_tifffile(lambda rgb: (rgb.astype(np.uint16) * 128).astype(np.int16)),
    "TIFF, 32-bit": by_tifffile(lambda rgb: rgb.astype(np.uint32) << 24),
    "TIFF, float16": by_tifffile(lambda rgb: (rgb / 255).astype(np.float16)),
    "TIFF, float32": by_tifffile(lambda rgb: (rgb / 255).astype(np.float32)),
    "TIFF, float32 in planes": by_tifffile(
        lambda rgb: np.ascontiguousarray(np.moveaxis(rgb / 255, 2, 0).astype(np.float32)), planarconfig="separate"
    ),
    "TIFF, 12-bit": tiff_of_12_bits,
    "TIFF, white is 0": by_tifffile(
        lambda rgb: 65535 - np.asarray(Image.fromarray(rgb).convert("L"), np.uint16) * 257, photometric="miniswhite"
    ),
    "TIFF, premultiplied alpha": by_tifffile(
        lambda rgb: np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8)]), extrasamples=["assocalpha"]
    ),
    "TIFF, several pages": moving("TIFF"),
    "BMP": by_pillow("BMP"),
    "BMP, 5-6-5": bitmap(16, (0xF800, 0x7E0, 0x1F, 0)),
    "BMP, 4-4-4-4": bitmap(16, (0xF00, 0xF0, 0xF, 0xF000)),
    "BMP, 10 bits a colour": bitmap(32, (0x3FF << 20, 0x3FF << 10, 0x3FF, 0)),
    "ICO": lambda image: encoded(image, "ICO", sizes=[(min(image.width, 256), min(image.width, 256) * 3 // 4)]),
    "ICNS": lambda image: encoded(image.resize((512, 512)), "ICNS"),
    "DDS": by_pillow("DDS"),
    "PPM": by_pillow("PPM"),
    "PGM": by_pillow("PPM", "L"),
    "PFM": by_opencv(".pfm", 1 / 255),
    "PAM": by_opencv(".pam", None),
    "Radiance HDR": radiance,
    "PSD": photoshop(1, 8),
    "PSD, run lengths": photoshop(1, 8, packed=True),
    "PSD, CMYK": photoshop(1, 8, mode="CMYK"),
    "PSD, 16-bit": photoshop(1, 16),
    "PSD, 32-bit": photoshop(1, 32),
    "PSB, 8-bit": photoshop(2, 8),
    "PSB, 16-bit run lengths": photoshop(2, 16, packed=True),
    "QOI": by_pillow("QOI"),
    "SGI": by_pillow("SGI"),
    "PCX": by_pillow("PCX"),
    "TGA": by_pillow("TGA"),
    "TGA, run lengths": by_pillow("TGA", rle=True),
    "TGA, from the top right": targa(0x30),
    "TGA, from the bottom right": targa(0x10),
    "TGA, map of 15 bits": mapped_targa,
    "DNG": dng,
    "CR3": canon,
    "RAF": fuji,
    "ORF": olympus,
}
"""By the name in a test; all are decoded with the default dependencies."""


def by_imagecodecs(name: str, **options: object) -> Writer:
    def write(image: Image.Image) -> bytes:
        import imagecodecs

        array = np.asarray(image)
        deep = options.get("bitspersample") == 12
        return bytes(getattr(imagecodecs, f"{name}_encode")(array.astype(np.uint16) << 4 if deep else array, **options))

    return write


def moving_jxl(image: Image.Image) -> bytes:
    import imagecodecs

    frames = np.stack([np.asarray(image), np.asarray(image.transpose(Image.Transpose.ROTATE_180))])
    return bytes(imagecodecs.jpegxl_encode(frames, lossless=True, photometric="rgb"))


EXTRA_WRITERS: dict[str, Writer] = {
    "JPEG, 12-bit": by_imagecodecs("jpeg8", bitspersample=12),
    "JPEG XR": by_imagecodecs("jpegxr"),
    "JPEG-LS": by_imagecodecs("jpegls"),
    "JPEG XL, animated": moving_jxl,
}
"""Those that are decoded where imagecodecs is installed, of the extra ``formats``."""
