"""What a picture may cost a worker; in a process of its own, since its limits stay."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pillow_jxl  # noqa: F401 - it adds JPEG XL to Pillow
import pytest
from PIL import Image

LIMITED = """
import json, resource, signal
from shazimd.imaging import effort
resource.setrlimit(resource.RLIMIT_DATA, (2 << 30, 2 << 30))
effort.limit(60.0, 2 << 30)
steps = []
def note():
    steps.append([round(signal.getitimer(signal.ITIMER_PROF)[0], 1), resource.getrlimit(resource.RLIMIT_DATA)[0]])
"""


def steps(program: str) -> list[list[Any]]:
    """Seconds and bytes at each ``note()`` of a program."""
    whole = f"{LIMITED}{program}\nprint(json.dumps(steps))"
    done = subprocess.run([sys.executable, "-c", whole], stdout=subprocess.PIPE, check=True)
    found: list[list[Any]] = json.loads(done.stdout)
    return found


def test_it_grows_with_bytes_and_pixels() -> None:
    """Pixels count once, though a reader and its caller tell them; those of a second picture are another's."""
    found = steps("""
effort.begin_job(0); note()
effort.begin_picture(1_000_000); note()
effort.has_pixels(2_000_000); note()
effort.has_pixels(2_000_000); note()
effort.begin_picture(0); effort.has_pixels(1_000_000, "JPEG"); note()
effort.end_job(); note()
effort.begin_job(0); note()
""")
    assert [6.0, 7.2, 17.2, 17.2, 17.5, 0.0, 6.0] == [seconds for seconds, _ in found]
    first, *others = [memory for _, memory in found]
    assert [3_000_000, 259_000_000, 259_000_000, 387_000_000, 387_000_000, 0] == [each - first for each in others]


def test_the_largest_picture_may_have_what_the_settings_allow() -> None:
    """And no more."""
    found = steps("effort.begin_job(1 << 30); effort.begin_picture(1 << 30); effort.has_pixels(10**9); note()")
    assert [[60.0, 2 << 30]] == found


def test_a_process_that_uses_up_its_time_ends() -> None:
    """Only while a job is under way."""
    spins = LIMITED.replace("60.0", "1.0") + "effort.begin_job(0); {}\nfor _ in range(10**9): pass"
    done = subprocess.run([sys.executable, "-c", spins.format("")], check=False)
    assert -signal.SIGPROF == done.returncode
    ended = "effort.begin_job(0); effort.end_job(); signal.raise_signal(signal.SIGTERM)"
    assert -signal.SIGTERM == subprocess.run([sys.executable, "-c", LIMITED + ended], check=False).returncode


def test_a_large_webp_is_decoded_within_its_limits(tmp_path: Path) -> None:
    """Its size is read from its header first: Pillow takes memory for two pictures when it opens one."""
    Image.new("RGB", (7000, 6000), "teal").save(tmp_path / "large.webp", method=0)
    assert [[7000, 6000]] == _sizes_decoded(tmp_path / "large.webp")


@pytest.mark.parametrize("transcodes", [False, True], ids=["pixels", "JPEG"])
def test_a_large_jpeg_xl_is_decoded_within_its_limits(tmp_path: Path, transcodes: bool) -> None:
    """So is its size: Pillow's plug-in decodes a picture when it opens one. Some hold a JPEG, which is decoded, too."""
    source = tmp_path / "large.jpg"
    Image.new("RGB", (9000, 7000), "teal").save(source)
    with Image.open(source) as image:
        image.save(tmp_path / "large.jxl", effort=1, lossless_jpeg=transcodes)
    assert [[9000, 7000]] == _sizes_decoded(tmp_path / "large.jxl")


def _sizes_decoded(path: Path) -> list[list[int]]:
    """The size of a picture that a worker decodes."""
    return steps(f"""
from shazimd.imaging.decode import decode
data = open({str(path)!r}, "rb").read()
effort.limit(60.0, 2 << 30)  # anew, with the decoders loaded
effort.begin_job(len(data))
picture = decode(data, side_min=256, max_pixels=100_000_000)
steps.append([picture.width, picture.height])
""")


def test_long_profiles_of_earlier_pictures_leave_memory_for_a_small_one() -> None:
    """Sixteen, as many as are kept of usual length."""
    found = steps("""
import io
from PIL import Image
from shazimd.imaging.decode import decode
def done(data):
    effort.begin_job(len(data))
    steps.append([decode(data, side_min=256, max_pixels=100_000_000).width])
def file(width, height, **options):
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(buffer, "PNG", **options)
    return buffer.getvalue()
files = [file(8, 8, icc_profile=bytes([number]) * (16 << 20)) for number in range(16)] + [file(640, 480)]
effort.limit(60.0, 2 << 30)  # anew, with the decoders loaded
for data in files:
    done(data)
""")
    assert [[8]] * 16 + [[640]] == found


@pytest.mark.parametrize("call", ["begin_job(0)", "begin_picture(1)", "has_pixels(1)", "end_job()"])
def test_nothing_is_limited_unasked(call: str) -> None:
    """As in a program that decodes by ``ShazimEngine.load_image``."""
    program = LIMITED.replace("effort.limit(60.0, 2 << 30)", "") + f"effort.{call}; note(); print(json.dumps(steps))"
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=True)
    assert [[0.0, 2 << 30]] == json.loads(done.stdout)
