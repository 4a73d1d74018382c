from __future__ import annotations

import importlib.util
import io
import struct
import subprocess
import sys
import zlib
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import tifffile
from drawn import encoded, picture
from file_formats import EXTRA_WRITERS, WRITERS, Writer, bitmap, by_tifffile, dng, olympus, photoshop, preview
from numpy.typing import NDArray
from PIL import Image
from profiles import ADOBE_RGB, in_space, rgb_profile

from shazimd.errors import NotAnImage, TooLarge
from shazimd.imaging.decode import Picture, decode
from shazimd.imaging.extract import Extractor
from shazimd.imaging.lineage import lineage, picture_facts
from shazimd.imaging.readers import codecs, jxl, raw
from shazimd.imaging.verify import verify_all
from shazimd.types import Evidence, Mapping, PictureFacts, Verdict

HAS_EXTRA = importlib.util.find_spec("imagecodecs") is not None
needs_extra = pytest.mark.skipif(not HAS_EXTRA, reason="the extra shazimd[formats] is not installed")


def _decode(data: bytes, max_pixels: int = 5_000_000) -> Picture:
    return decode(data, side_min=512, max_pixels=max_pixels)


@cache
def _written(name: str) -> bytes:
    """The picture of most tests, in a format: some take half a second to write."""
    return WRITERS[name](picture(400, 300, seed=4))


def _small(image: Image.Image) -> NDArray[np.int16]:
    return np.asarray(image.convert("L").resize((32, 24)), np.int16)


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_shows_the_picture(name: str) -> None:
    """Upright, in the right range, not inverted, and not cut."""
    original = picture(400, 300, seed=4)
    found = _decode(_written(name))
    assert not found.damaged
    assert np.abs(_small(found.image) - _small(original)).mean() < 12


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_has_a_lineage(name: str) -> None:
    """A pair of files of any format can be laid on each other for its lineage, and has facts."""
    data = _written(name)
    whole = Mapping(1.0, 0.0, False, (0.0, 0.0, 1.0, 1.0))
    assert isinstance(lineage(data, encoded(picture(400, 300, seed=4), "JPEG"), whole, 5_000_000), Evidence)
    assert isinstance(picture_facts(data, 5_000_000), PictureFacts)


@needs_extra
@pytest.mark.parametrize("name", EXTRA_WRITERS)
def test_the_extra_decodes_more(name: str) -> None:
    """Formats that need imagecodecs."""
    original = picture(400, 300, seed=4)
    assert np.abs(_small(_decode(EXTRA_WRITERS[name](original)).image) - _small(original)).mean() < 12


@pytest.mark.slow
def test_one_photo_in_every_format_is_a_copy_of_each_other(groceries: Path) -> None:
    """Every pair of files is judged a copy; files with the same features, as lossless ones have, are judged once."""
    photo = Image.open(sorted(groceries.iterdir())[100]).convert("RGB").resize((400, 300))
    writers = WRITERS | (EXTRA_WRITERS if HAS_EXTRA else {})
    extractor = Extractor(None, 5_000_000)
    queries = {name: extractor.query(write(photo)) for name, write in writers.items()}
    distinct = {query.features: (name, query.fingerprint.features) for name, query in queries.items()}
    kept = [features for _, features in distinct.values()]
    missed = [
        (asked, known)
        for features, (asked, _) in distinct.items()
        for (known, _), found in zip(distinct.values(), verify_all(features, kept), strict=True)
        if found.verdict is not Verdict.COPY
    ]
    assert missed == []


def _with_empty_alpha(kind: str, image: Image.Image) -> bytes:
    """With four channels, of which the last is 0 everywhere."""
    clear = image.convert("RGBA")
    clear.putalpha(0)
    if not kind.startswith("BMP"):
        return encoded(clear, kind)
    bits, masks, alpha = 32, (0xFF0000, 0xFF00, 0xFF, 0), 0xFF << 24
    if kind == "BMP, 4-4-4-4":
        bits, masks, alpha = 16, (0xF00, 0xF0, 0xF, 0), 0xF000
    data = bitmap(bits, masks)(image)
    return data[:66] + struct.pack("<I", alpha) + data[70:]


@pytest.mark.parametrize("kind", ["BMP", "BMP, 4-4-4-4", "DDS", "TGA"])
def test_colours_count_where_alpha_is_0_everywhere(kind: str) -> None:
    """Programs leave the fourth byte of these formats unused."""
    one, other = picture(seed=1), picture(seed=2)
    found, again = (_decode(_with_empty_alpha(kind, each)) for each in (one, other))
    assert found.clear is None
    assert np.abs(np.asarray(found.image, int) - np.asarray(one)).max() <= (17 if "4" in kind else 0)
    assert found.pixels is None or found.pixels != again.pixels
    assert (found.pixels is None) == ("4" in kind)


def test_pictures_in_which_nothing_shows_have_no_name_of_their_pixels() -> None:
    """Whatever is hidden there, all of one size would have the same."""
    clear = picture().convert("RGBA")
    clear.putalpha(0)
    assert _decode(encoded(clear, "PNG")).pixels is None


@pytest.mark.parametrize("name", ["PPM", "SGI"])
def test_16_bits_with_other_samples_are_not_the_same_pixels(name: str) -> None:
    """Formats of which Pillow gives 8 bits without a sign of it have no name of their pixels."""
    deep = np.asarray(picture()).astype(np.uint16) * 257
    if name == "PPM":
        data = b"P6 160 120 65535\n" + deep.astype(">u2").tobytes()
        shallow = encoded(picture(), "PPM")
    else:
        head = struct.pack(">HBBHHHHII", 474, 0, 2, 3, 160, 120, 3, 0, 65535).ljust(512, b"\0")
        data = head + b"".join(np.ascontiguousarray(deep[::-1, :, n]).astype(">u2").tobytes() for n in range(3))
        shallow = encoded(picture(), "SGI")
    assert np.abs(_small(_decode(data).image) - _small(picture())).max() <= 1
    assert _decode(data).pixels is None
    assert _decode(shallow).pixels is not None


def test_a_jpeg_2000_with_fewer_samples_than_points_has_the_size_of_its_grid() -> None:
    """A sample for two points across and three down, in one tile and in four; the decoder refuses those."""
    small = picture(200, 150).convert("L")
    for tile in ((200, 150), (100, 75)):
        codestream = bytearray(encoded(small, "JPEG2000", no_jp2=True, tile_size=tile))
        sizes = [side * step for side, step in zip(struct.unpack_from(">8I", codestream, 8), (2, 3) * 4, strict=True)]
        struct.pack_into(">8I", codestream, 8, *sizes)
        codestream[43:45] = b"\2\3"
        found = _decode(bytes(codestream))
        assert (400, 450) == (found.width, found.height) == found.image.size
        assert np.abs(np.asarray(found.image.resize((200, 150)).convert("L"), int) - np.asarray(small)).mean() < 3
    codestream[8 + 16 : 8 + 20] = struct.pack(">I", 101)  # a tile would end between two samples
    with pytest.raises(NotAnImage):
        _decode(bytes(codestream))


def test_a_layered_psb_is_not_the_same_as_its_flattened_picture() -> None:
    """Its layers are not in the merged picture, so it has no name of its pixels."""
    flat = _written("PSB, 8-bit")
    layers = struct.pack(">QQh", 10, 2, 1)  # the section, the layers within it, their number
    layered = flat[:34] + layers + flat[42:]
    assert np.array_equal(np.asarray(_decode(layered).image), np.asarray(_decode(flat).image))
    assert _decode(flat).pixels is not None
    assert _decode(layered).pixels is None


def test_a_selection_saved_in_a_psd_hides_nothing() -> None:
    """A fourth channel is transparency with a negative number of layers only, as Photoshop marks it."""
    selected, mask = picture().convert("RGBA"), Image.new("L", (160, 120))
    mask.paste(255, (80, 0, 160, 120))
    selected.putalpha(mask)
    four = photoshop(1, 8, mode="RGBA")(selected)
    found = _decode(four)
    assert np.array_equal(np.asarray(found.image), np.asarray(picture()))
    assert (found.clear, found.pixels) == (None, None)
    layered = {number: four[:34] + struct.pack(">IIh", 40, 36, number) + bytes(34) + four[38:] for number in (1, -1)}
    assert _decode(layered[1]).clear is None
    clear = _decode(layered[-1]).clear
    assert clear is not None
    assert clear.getextrema() == (0, 255)


def test_an_icon_of_several_sizes_is_not_the_same_as_its_largest() -> None:
    """The others may be drawn differently; with one size it has the name of its pixels."""
    icon = picture(64, 64)
    one, several = (_decode(encoded(icon, "ICO", sizes=sizes)) for sizes in ([(64, 64)], [(16, 16), (64, 64)]))
    assert np.array_equal(np.asarray(one.image), np.asarray(several.image))
    assert one.pixels == _decode(encoded(icon, "PNG")).pixels
    assert several.pixels is None


def test_a_png_with_a_large_text_and_profile_is_the_same_pixels() -> None:
    """1.2 MiB of a compressed text or of a profile."""
    plain, large = encoded(picture(), "PNG"), bytes(1_200_000)
    for kind, head in ((b"zTXt", b"note\0\0"), (b"iCCP", b"name\0\0")):
        body = head + zlib.compress(large)
        chunk = struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        assert _decode(plain[:33] + chunk + plain[33:]).pixels == _decode(plain).pixels


def test_16_bits_behind_a_huge_text_have_no_name_of_their_pixels() -> None:
    """A PNG that Pillow refuses for its text is decoded without it, as deep as it is."""
    samples = np.asarray(picture()).astype(">u2") << 8 | 90
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    deep = _png((b"IHDR", struct.pack(">IIBBBBB", 160, 120, 16, 2, 0, 0, 0)), (b"IDAT", zlib.compress(rows)))
    shallow, text = encoded(picture(), "PNG"), b"note\0\0" + zlib.compress(bytes(17 << 20))
    found, plain = (_decode(data[:33] + _chunk(b"zTXt", text) + data[33:]) for data in (deep, shallow))
    assert np.array_equal(np.asarray(found.image), np.asarray(picture()))
    assert (found.damaged, found.pixels) == (False, None)
    assert plain.pixels == _decode(shallow).pixels is not None


def _png(*chunks: tuple[bytes, bytes]) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, body) for kind, body in (*chunks, (b"IEND", b"")))


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def test_a_png_animation_without_its_frames_header_is_a_picture() -> None:
    """A broken animation shows the still picture."""
    plain = encoded(picture(), "PNG")
    body = struct.pack(">II", 1, 0)
    chunk = struct.pack(">I", 8) + b"acTL" + body + struct.pack(">I", zlib.crc32(b"acTL" + body))
    found = _decode(plain[:33] + chunk + plain[33:])
    assert np.array_equal(np.asarray(found.image), np.asarray(picture()))
    assert not found.damaged


def test_a_png_with_a_broken_checksum_is_damaged() -> None:
    """A byte of the coded picture has changed: it is decoded as far as it goes."""
    data = bytearray(encoded(picture(), "PNG"))
    data[len(data) // 2] ^= 1
    assert _decode(bytes(data)).damaged


def test_a_run_length_bitmap_cut_short_is_damaged() -> None:
    """Its rows from the bottom up."""
    palette = b"".join(bytes([v, v, v, 0]) for v in range(256))
    runs = b"".join(bytes([60, 60 + row, 40, 200, 0, 0]) for row in range(50))
    header = struct.pack("<IiiHHIIiiII", 40, 100, 80, 1, 8, 1, len(runs), 0, 0, 256, 0)
    data = b"BM" + struct.pack("<IHHI", 0, 0, 0, 14 + 40 + 1024) + header + palette + runs
    found = _decode(data)
    assert found.damaged
    assert found.image.getpixel((50, 79)) == (60, 60, 60)


@pytest.mark.parametrize("kind", ["TIFF, float32", "TIFF, signed 16-bit", "TIFF, white is 0", "TIFF, WebP"])
def test_a_tiff_that_pillow_refuses_is_turned_upright(kind: str) -> None:
    """By its orientation, as other TIFFs."""
    _check_turned(WRITERS[kind])


def test_a_tiff_that_opencv_reads_is_turned_upright_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenCV itself turns those that it reads where the extra is not installed."""

    def refuse(*_args: object, **_options: object) -> None:
        raise ValueError

    monkeypatch.setattr(tifffile.TiffPage, "asarray", refuse)
    _check_turned(by_tifffile(lambda rgb: (rgb / 255).astype(np.float32), compression="zlib"))


def _check_turned(write: Writer) -> None:
    upright = picture(400, 300, seed=4)
    found = _decode(_with_orientation(write(upright.transpose(Image.Transpose.ROTATE_90)), 6))
    assert (found.width, found.height) == found.image.size == (400, 300)
    assert np.abs(_small(found.image) - _small(upright)).mean() < 12


def _with_orientation(tiff: bytes, orientation: int) -> bytes:
    """With a copy of the directory at the end, one entry longer."""
    (at,) = struct.unpack_from("<I", tiff, 4)
    (count,) = struct.unpack_from("<H", tiff, at)
    entries = [tiff[at + 2 + 12 * n : at + 14 + 12 * n] for n in range(count)]
    entries.append(struct.pack("<HHIHH", 274, 3, 1, orientation, 0))
    entries.sort(key=lambda entry: int.from_bytes(entry[:2], "little"))
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    return tiff[:4] + struct.pack("<I", len(tiff)) + tiff[8:] + directory


@needs_extra
def test_a_jpeg_of_12_bits_is_turned_upright_and_shown_by_its_profile() -> None:
    """By its EXIF and its ICC profile, in two segments, as other JPEG."""
    upright = picture(400, 300, seed=4)
    lying = in_space(upright, ADOBE_RGB, 2.2).transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6
    profile, plain = rgb_profile(ADOBE_RGB, 2.2), EXTRA_WRITERS["JPEG, 12-bit"](lying)
    pieces = [bytes([1, 2]) + profile[:300], bytes([2, 2]) + profile[300:]]
    bodies = [b"\xff\xe1", exif.tobytes()], *([b"\xff\xe2", b"ICC_PROFILE\0" + piece] for piece in reversed(pieces))
    segments = b"".join(marker + struct.pack(">H", len(body) + 2) + body for marker, body in bodies)
    found = _decode(plain[:2] + segments + plain[2:])
    assert (found.width, found.height) == found.image.size == (400, 300)
    assert np.abs(np.asarray(found.image, int) - np.asarray(upright)).mean() < 3


def test_a_raw_file_is_turned_as_its_outer_header_says() -> None:
    """The preview itself has no orientation."""
    upright = picture(400, 300, seed=4)
    data = bytearray(dng(upright))
    entry = struct.pack("<HHI", 254, 3, 1)  # the tag in front becomes an orientation
    at = data.index(entry)
    data[at : at + 12] = struct.pack("<HHIHH", 274, 3, 1, 6, 0)
    found = _decode(bytes(data))
    assert (found.width, found.height, found.format) == (600, 800, "RAW")


def test_the_preview_of_a_raw_file_is_decoded_no_larger_than_needed() -> None:
    """As a JPEG is; the size told is that of the whole picture."""
    upright = picture(800, 600, seed=4)
    found = decode(dng(upright), side_min=300, max_pixels=10_000_000)
    assert ((found.width, found.height), found.image.size) == ((1600, 1200), (400, 300))
    assert np.abs(_small(found.image) - _small(upright)).mean() < 4


def test_a_raw_file_without_a_preview_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where LibRaw is not installed, which would develop it."""
    monkeypatch.setattr(raw, "rawpy", None)
    with pytest.raises(NotAnImage, match=r"pip install 'shazimd\[formats\]'"):
        _decode(olympus(picture()).replace(preview(picture()), bytes(2000)))


def test_a_format_of_the_extra_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    """JPEG XR, and JPEG of 12 bits."""
    monkeypatch.setattr(codecs, "imagecodecs", None)
    jpeg = encoded(picture(), "JPEG")
    frame = jpeg.index(b"\xff\xc0")
    for data in (b"II\xbc\x01\x08\0\0\0\x02\0" + _sizes(), jpeg[: frame + 4] + b"\x0c" + jpeg[frame + 5 :]):
        with pytest.raises(NotAnImage, match=r"pip install 'shazimd\[formats\]'"):
            _decode(data)


def _sizes() -> bytes:
    return b"".join(struct.pack("<HHII", tag, 4, 1, 64) for tag in (0xBC80, 0xBC81))


@pytest.mark.parametrize("name", [name for name in WRITERS if name not in ("ICNS", "DNG", "CR3", "RAF", "ORF")])
def test_every_reader_refuses_a_header_of_too_many_pixels(name: str) -> None:
    """Before decoding."""
    with pytest.raises(TooLarge):
        _decode(_written(name), max_pixels=400)


def test_a_still_jpeg_xl_is_not_animated() -> None:
    """Small and large ones, with and without a container."""
    for size in ((8, 8), (400, 300), (1000, 64)):
        assert not jxl.is_animated(encoded(picture(*size), "JXL"))
    assert not jxl.is_animated(encoded(picture(), "JXL", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0"))
    assert not jxl.is_animated(b"")


_JXL_OF_16_MEGAPIXELS = bytes.fromhex("ff0a fa7c09")
"""The beginning of a JPEG XL of 4000x4000 pixels: a header of 13 bits for the height, ratio 1, and all else default."""
_IN_BOXES = b"\0\0\0\x0cJXL \r\n\x87\n" + b"\0\0\0\x0bxml \xff\x0a\0"


@pytest.mark.parametrize(
    "data",
    [
        _JXL_OF_16_MEGAPIXELS,
        _IN_BOXES + b"\0\0\0\0jxlc" + _JXL_OF_16_MEGAPIXELS,
        _IN_BOXES + b"\0\0\0\x01jxlc\0\0\0\0\0\0\0\x16" + _JXL_OF_16_MEGAPIXELS,
        _IN_BOXES + b"\0\0\0\x0fjxlp\0\0\0\0\xff\x0a\xfa" + b"\0\0\0\0jxlp\x80\0\0\1" + _JXL_OF_16_MEGAPIXELS[3:],
    ],
    ids=["bare", "in a box", "in a box with a long length", "in parts"],
)
def test_a_jpeg_xl_of_too_many_pixels_is_refused_by_its_first_bytes(data: bytes) -> None:
    """Decoders need not see the rest."""
    with pytest.raises(TooLarge, match="4000x4000"):
        _decode(data)


@pytest.mark.parametrize("name", ["empty boxes", "no codestream", "a length below the box"])
def test_a_jpeg_xl_without_a_size_is_no_picture(name: str) -> None:
    """Of a million empty boxes only the first are looked at."""
    rest = {"empty boxes": b"\0\0\0\x08free" * 10**6, "no codestream": b"", "a length below the box": b"\0\0\0\1jxlc"}
    with pytest.raises(NotAnImage):
        _decode(_IN_BOXES + rest[name])


@pytest.mark.parametrize(
    "size",
    [(8, 8), (256, 64), (33, 7), (144, 120), (160, 120), (180, 120), (213, 120), (150, 120), (240, 120), (3, 600)],
)
def test_every_header_of_a_jpeg_xl_tells_its_size(size: tuple[int, int]) -> None:
    """In steps of 8, by each ratio, and as two numbers."""
    data = encoded(Image.new("RGB", size, "teal"), "JXL")
    jxl.check(data, size[0] * size[1])
    with pytest.raises(TooLarge, match=f"{size[0]}x{size[1]} "):
        jxl.check(data, size[0] * size[1] - 1)


@needs_extra
def test_an_animated_jpeg_xl_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the extra's decoder."""
    data = EXTRA_WRITERS["JPEG XL, animated"](picture(400, 300))
    decoded: list[object] = []
    monkeypatch.setattr("imagecodecs.jpegxl_decode", lambda *_, **__: decoded.append(1))
    with pytest.raises(TooLarge):
        _decode(data, max_pixels=100)
    assert not decoded


def test_a_misread_tiff_of_a_wrong_header_is_no_picture() -> None:
    """Pillow takes such a header, and its own reader does not."""
    data = WRITERS["TIFF, white is 0"](picture())
    assert data.startswith(b"II*\0")
    with pytest.raises(NotAnImage, match="no decoder reads its samples"):
        _decode(b"II\0*" + data[4:])


def test_real_files_that_other_readers_open_are_opened(shared: Path) -> None:
    """Files from the test suites of decoders."""
    folder = shared / "data/hostile"
    refused = {"gif_14000_canvas_1px.gif", "color_grid_alpha_grid_tile_shared_in_dimg.avif"}
    failed = []
    for file in sorted(folder.iterdir()):
        if file.is_file() and file.suffix not in (".md", ".txt") and file.name not in refused:
            try:
                decode(file.read_bytes(), side_min=512, max_pixels=50_000_000)
            except NotAnImage as error:
                failed.append((file.name, error.message))
    assert failed == []


def test_the_first_frame_of_a_real_animated_jpeg_xl(shared: Path) -> None:
    """With the extra the first, as its still twin shows it."""
    folder = shared / "data/hostile"
    moving = (folder / "animated_2_frames.jxl").read_bytes()
    assert jxl.is_animated(moving)
    if HAS_EXTRA:
        first = Image.open(io.BytesIO((folder / "animated_2_frames.first_frame.png").read_bytes()))
        assert np.abs(_small(_decode(moving).image) - _small(first)).mean() < 2


DECODE_ALL = """
import pathlib, sys
import shazimd.imaging.extract
before = set(sys.modules)
opened = []
sys.addaudithook(lambda event, args: opened.append(args[0]) if event == "open" else None)
for data in [path.read_bytes() for path in pathlib.Path(sys.argv[1]).iterdir()]:
    opened.clear()
    shazimd.imaging.extract.Extractor(None, 5_000_000).query(data)
    assert not opened, opened
print(sorted(set(sys.modules) - before))
"""


def test_no_decoder_is_loaded_after_a_workers_start(tmp_path: Path) -> None:
    """A worker gives up opening files before its first job: no module and no file is opened while it decodes."""
    for number, write in enumerate((WRITERS | (EXTRA_WRITERS if HAS_EXTRA else {})).values()):
        (tmp_path / str(number)).write_bytes(write(picture(64, 48)))
    done = subprocess.run([sys.executable, "-c", DECODE_ALL, tmp_path], capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stderr
