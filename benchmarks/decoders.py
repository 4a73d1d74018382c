"""Which decoder reads a photograph the fastest, and what does a worker need for each format?

    python -m benchmarks.decoders [--python PYTHON] [--megapixels 12,24] [--formats]

Each line is a process of its own: median processor time of nine decodes, and how far the resident memory rose above
that before the decode. JPEGs are those of benchmarks/peers.py. They are decoded at an eighth of their scale where the
binding can do so. PYTHON has the bindings that shazimd does not need: simplejpeg, PyTurboJPEG (its library by its
path in $TURBOJPEG, if elsewhere), "pyvips[binary]", imagecodecs; in place of what it lacks stands the reason.

``--formats``: 24 megapixels of each format, by Pillow alone and by ``imaging.decode``, once each.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import importlib.util
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPEATS = 9
SIDE_MIN, SCALE = 256, 8
FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    "JPEG": ("JPEG", {"quality": 92}),
    "JPEG, progressive": ("JPEG", {"quality": 92, "progressive": True}),
    "PNG": ("PNG", {"compress_level": 1}),
    "PNG with alpha": ("PNG", {"compress_level": 1}),
    "WebP": ("WEBP", {"quality": 85, "method": 2}),
    "WebP, lossless": ("WEBP", {"lossless": True, "quality": 10, "method": 0}),
    "TIFF, LZW": ("TIFF", {"compression": "tiff_lzw"}),
    "BMP": ("BMP", {}),
    "GIF": ("GIF", {}),
    "HEIC": ("HEIF", {"quality": 65}),
    "AVIF": ("AVIF", {"quality": 70, "speed": 9}),
    "JPEG XL": ("JXL", {"quality": 85, "effort": 3}),
    "JPEG 2000": ("JPEG2000", {"quality_mode": "rates", "quality_layers": [12]}),
}

FUJI = b"FUJIFILMCCD-RAW 0201FF389501" + bytes(56)
"""The beginning of a raw file with its preview behind it."""
SAMPLES_BYTES = 30_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable, help="has the bindings")
    parser.add_argument("--megapixels", default="12,24")
    parser.add_argument("--formats", action="store_true")
    parser.add_argument("--child", nargs=2, metavar=("DECODER", "FILE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        measure(*options.child)
    elif options.formats:
        formats()
    else:
        bindings(options.python, options.megapixels.split(","))


def bindings(python: str, megapixels: list[str]) -> None:
    print("| JPEG | binding | ms | MiB | pixels |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="sz-") as folder:
        for kind in (f"{each}mp" for each in megapixels):
            path = _photo(Path(folder) / kind, f"{kind}.jpg")
            expected = ""
            for name in DECODERS:
                ms, mib, found = _child(python, name, path)
                expected = expected or found
                same = "" if not found else "the same" if found == expected else "others"
                print(f"| {kind}, {path.stat().st_size / 1e6:.1f} MB | {name} | {ms} | {mib} | {same} |", flush=True)


def formats() -> None:
    from PIL import Image

    _pillow()  # its plug-ins save, too
    print("| 24 megapixels | MB | Pillow, ms | MiB | imaging.decode, ms | MiB |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="sz-") as folder:
        image = Image.open(_photo(Path(folder) / "24mp", "24mp.jpg")).convert("RGB")
        clear = image.convert("RGBA")
        clear.putalpha(Image.linear_gradient("L").resize(image.size))
        path = Path(folder) / "picture"
        for name, (format_, settings) in FORMATS.items():
            (clear if "alpha" in name else image).save(path, format_, **settings)
            cells = [cell for decoder in ("Pillow", "decode") for cell in _child(sys.executable, decoder, path)[:2]]
            print(f"| {name} | {path.stat().st_size / 1e6:.1f} | {' | '.join(cells)} |", flush=True)
        jpeg = io.BytesIO()
        image.save(jpeg, "JPEG", quality=92)
        path.write_bytes(FUJI + jpeg.getvalue() + bytes(SAMPLES_BYTES))
        ms, mib, _ = _child(sys.executable, "decode", path)
        print(f"| raw, with a preview in full size | {path.stat().st_size / 1e6:.1f} | none | | {ms} | {mib} |")


def _photo(folder: Path, kind: str) -> Path:
    """A JPEG as benchmarks/peers.py makes it."""
    from benchmarks import peers

    folder.mkdir()
    _, many = peers.make(folder, kind, 0)
    return next(many.iterdir())


def _child(python: str, decoder: str, path: Path) -> tuple[str, str, str]:
    """Cells of a line: processor time, memory, and a hash of the pixels; the reason in place of a time."""
    command = [python, "-m", "benchmarks.decoders", "--child", decoder, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return next(line for line in reversed(done.stderr.splitlines()) if "Error" in line), "", ""
    ms, mib, digest = done.stdout.split()
    return ms, mib, digest


def measure(name: str, path: str) -> None:
    """Print milliseconds, MiB and a hash of the pixels of a decode in this process."""
    data = Path(path).read_bytes()
    decode = {**DECODERS, "decode": _decode}[name]()
    decode(_small())  # what only the first call loads
    _peak_mib()
    before = _peak_mib()
    seconds, rgb = _timed(decode, data)
    rose = _peak_mib() - before
    digest = hashlib.sha256(_bytes(rgb)).hexdigest()
    del rgb
    repeats = REPEATS - 1 if name in DECODERS and seconds < 0.2 else 0
    every = [seconds, *(_timed(decode, data)[0] for _ in range(repeats))]
    print(f"{statistics.median(every) * 1e3:.1f} {rose:.0f} {digest}")


def _timed(decode: Callable[[bytes], Any], data: bytes) -> tuple[float, Any]:
    started = time.process_time()
    rgb = decode(data)
    return time.process_time() - started, rgb


def _bytes(rgb: Any) -> bytes:
    """The pixels of a Pillow image or an array."""
    made: bytes = rgb.tobytes()
    return made


def _peak_mib() -> float:
    """Most memory resident since the last call, or now if that was only just; see proc_pid_clear_refs(5)."""
    with open("/proc/self/status") as file:
        peak = next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    return peak / 1024


def _small() -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.linear_gradient("L").resize((600, 600)).convert("RGB").save(file, "JPEG")
    return file.getvalue()


def _pillow() -> Callable[[bytes], Any]:
    import pillow_heif
    from PIL import Image

    pillow_heif.register_heif_opener(decode_threads=1)
    with_jxl = importlib.util.find_spec("pillow_jxl")
    if with_jxl:
        importlib.import_module("pillow_jxl")

    def decode(data: bytes) -> Image.Image:
        image = Image.open(io.BytesIO(data))
        image.draft(None, (SIDE_MIN, SIDE_MIN))
        image.load()
        return image

    return decode


def _simplejpeg() -> Callable[[bytes], Any]:
    simplejpeg = importlib.import_module("simplejpeg")
    return lambda data: simplejpeg.decode_jpeg(data, min_height=SIDE_MIN, min_width=SIDE_MIN)


def _turbojpeg() -> Callable[[bytes], Any]:
    turbo = importlib.import_module("turbojpeg").TurboJPEG(os.environ.get("TURBOJPEG"))
    return lambda data: turbo.decode(data, pixel_format=0, scaling_factor=(1, SCALE))


def _pyvips() -> Callable[[bytes], Any]:
    pyvips = importlib.import_module("pyvips")
    pyvips.cache_set_max(0)
    return lambda data: pyvips.Image.new_from_buffer(data, "", shrink=SCALE, access="sequential").numpy()


def _opencv() -> Callable[[bytes], Any]:
    import cv2
    import numpy as np

    cv2.setNumThreads(1)

    def decode(data: bytes) -> Any:
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_REDUCED_COLOR_8)
        return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB) if bgr is not None else bgr

    return decode


def _imagecodecs() -> Callable[[bytes], Any]:
    decode: Callable[[bytes], Any] = importlib.import_module("imagecodecs").jpeg8_decode
    return decode


def _decode() -> Callable[[bytes], Any]:
    from shazimd.imaging.decode import decode

    return lambda data: decode(data, side_min=SIDE_MIN, max_pixels=200_000_000).image


DECODERS: dict[str, Callable[[], Callable[[bytes], Any]]] = {
    "Pillow": _pillow,
    "simplejpeg": _simplejpeg,
    "PyTurboJPEG": _turbojpeg,
    "pyvips": _pyvips,
    "OpenCV": _opencv,
    "imagecodecs, whole": _imagecodecs,
}


if __name__ == "__main__":
    os.environ["VIPS_CONCURRENCY"] = "1"
    main()
