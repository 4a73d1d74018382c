"""Which file is kept, and why."""

from __future__ import annotations

import os
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageOps
from PIL.JpegImagePlugin import JpegImageFile

from shazimd.acting.facts import read_header
from shazimd.errors import UsageError
from shazimd.imaging.header import IJG_LUMINANCE, jpeg_quality
from shazimd.search.keep import MINUTE_NS, Choice, KeepFacts, choose, criteria, in_bin, parse_rule
from shazimd.types import PictureFacts

HOUR = 60 * MINUTE_NS


def facts_of(path: bytes, mtime_ns: int = 0, width: int = 0, height: int = 0, **given: Any) -> KeepFacts:
    """Facts about a file, and about the picture in it."""
    picture = {name: given.pop(name) for name in PictureFacts.__slots__ if name in given}
    return KeepFacts(path, mtime_ns, width, height, PictureFacts(**picture), **given)


def kept(*members: KeepFacts, rules: tuple[str, ...] = ()) -> tuple[bytes, str]:
    """The path that is kept and the reason, the same in any order."""
    by = criteria([parse_rule(rule) for rule in rules])
    answers = set()
    for order in permutations(members):
        choice = choose(order, by)
        answers.add((order[choice.position].path, choice.reason))
    (answer,) = answers
    return answer


@pytest.mark.parametrize(
    ("better", "worse", "reason"),
    [
        (facts_of(b"/z"), facts_of(b"/a", damaged=True, reference=True, camera="Camera"), "not damaged"),
        (facts_of(b"/z", 2 * HOUR, reference=True), facts_of(b"/a", camera="Camera"), "in a reference root"),
        (facts_of(b"/zz"), facts_of(b"/#recycle/a", camera="Camera"), "not in a bin or snapshot"),
        (facts_of(b"/z"), facts_of(b"/a", width=9, height=9, grey=True), "in colour"),
        (facts_of(b"/z", camera="Camera"), facts_of(b"/a", width=9, height=9), "has camera metadata"),
        (facts_of(b"/z", width=40, height=30), facts_of(b"/a", width=20, height=15), "largest (40x30)"),
        (facts_of(b"/z", lossless=True), facts_of(b"/a"), "lossless"),
        (
            facts_of(b"/z", captured="2019:01:02"),
            facts_of(b"/a", captured="2020:01:02"),
            "earliest capture date",
        ),
        (facts_of(b"/z", captured="2020:01:02"), facts_of(b"/a"), "earliest capture date"),
        (facts_of(b"/z", HOUR), facts_of(b"/a", 2 * HOUR, jpeg_quality=99), "oldest"),
        (
            facts_of(b"/z", 1, jpeg_quality=90),
            facts_of(b"/a", 0, jpeg_quality=75),
            "least compressed (JPEG quality 90)",
        ),
        (facts_of(b"/longer.jpg"), facts_of(b"/a (1).jpg"), "name without a copy mark"),
        (facts_of(b"/zz"), facts_of(b"/aaa"), "shortest path"),
        (facts_of(b"/a"), facts_of(b"/b"), "first by name"),
    ],
)
def test_each_criterion_decides(better: KeepFacts, worse: KeepFacts, reason: str) -> None:
    """Where all stronger criteria are equal, each decides, and is the reason."""
    assert kept(better, worse) == (better.path, reason)


def test_the_reason_names_each_criterion_that_ruled_a_member_out() -> None:
    """A third member is ruled out by another criterion than the second."""
    original = facts_of(b"/c", HOUR, 40, 30, camera="Camera")
    members = (original, facts_of(b"/a", HOUR, 40, 30), facts_of(b"/b", 2 * HOUR, 40, 30, camera="Camera"))
    assert kept(*members) == (b"/c", "has camera metadata, oldest")


def test_one_member_is_kept() -> None:
    """There is nothing to compare."""
    assert choose([facts_of(b"/a")], criteria()) == Choice(0, "the only one")


@pytest.mark.parametrize(
    ("rule", "path"),
    [
        ("path:/x/*", b"/x/long name.jpg"),
        ("name:b*", b"/y/b.jpg"),
        ("age:newest", b"/y/b.jpg"),
        ("age:oldest", b"/z/a.jpg"),
    ],
)
def test_a_rule_of_the_user_comes_before_the_picture(rule: str, path: bytes) -> None:
    """It beats camera metadata, and is named."""
    members = (
        facts_of(b"/x/long name.jpg", 2 * HOUR),
        facts_of(b"/y/b.jpg", 3 * HOUR),
        facts_of(b"/z/a.jpg", HOUR),
        facts_of(b"/w/c.jpg", 2 * HOUR, camera="Camera"),
    )
    found, reason = kept(*members, rules=(rule,))
    assert found == path
    assert "preferred" in reason


def test_a_rule_never_beats_a_place() -> None:
    """A reference root and a bin are stronger than a rule."""
    assert kept(facts_of(b"/x/#recycle/a"), facts_of(b"/y/a"), rules=("path:/x/*",))[0] == b"/y/a"


@pytest.mark.parametrize("rule", ["", "path:", "size:largest", "age:", "age:young", "name"])
def test_a_rule_that_makes_no_sense_is_an_error(rule: str) -> None:
    """It is named with the forms that are expected."""
    with pytest.raises(UsageError, match="expected path:GLOB"):
        parse_rule(rule)


@pytest.mark.parametrize(
    "folder",
    [
        "#recycle",
        "@Recycle",
        "#snapshot",
        "@Recently-Snapshot",
        "$RECYCLE.BIN",
        ".Trash",
        ".Trash-1000",
        "lost+found",
        "Trash/files",
    ],
)
def test_bins_and_snapshots_are_known(folder: str) -> None:
    """At any depth, and only as the name of a folder."""
    assert in_bin(f"/srv/{folder}/a/b.jpg".encode())
    assert not in_bin(f"/srv/{folder}".encode())
    assert not in_bin(f"/srv/my{folder}/b.jpg".encode())


def photo(seed: int = 1) -> Image.Image:
    return Image.effect_noise((160, 120), 40 + seed).convert("RGB")


def camera_exif(date: str = "2019:05:04 10:11:12") -> Image.Exif:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "ACME", "Camera 1"
    exif.get_ifd(0x8769)[0x9003] = date
    return exif


def facts(path: Path) -> KeepFacts:
    return read_header(os.fsencode(path), path.stat().st_mtime_ns, (160, 120), reference=False, damaged=False)


def test_a_mirrored_export_with_more_bytes_is_not_kept(tmp_path: Path) -> None:
    """The original has camera data; the export has the same size in pixels, more bytes and a later name."""
    photo().save(tmp_path / "z.jpg", quality=80, exif=camera_exif())
    ImageOps.mirror(photo()).save(tmp_path / "a.jpg", quality=97)
    assert (tmp_path / "a.jpg").stat().st_size > (tmp_path / "z.jpg").stat().st_size
    assert kept(facts(tmp_path / "a.jpg"), facts(tmp_path / "z.jpg")) == (
        os.fsencode(tmp_path / "z.jpg"),
        "has camera metadata",
    )


def test_an_older_original_without_camera_data_is_kept(tmp_path: Path) -> None:
    """The age decides before the quality."""
    photo().save(tmp_path / "z.jpg", quality=80)
    ImageOps.mirror(photo()).save(tmp_path / "a.jpg", quality=97)
    os.utime(tmp_path / "z.jpg", (1e9, 1e9))
    assert kept(facts(tmp_path / "a.jpg"), facts(tmp_path / "z.jpg")) == (os.fsencode(tmp_path / "z.jpg"), "oldest")


def test_facts_are_read_from_the_header(tmp_path: Path) -> None:
    """Camera, capture date, quality, losslessness and colour."""
    photo().save(tmp_path / "a.jpg", quality=85, exif=camera_exif())
    photo().convert("L").save(tmp_path / "b.png")
    assert facts(tmp_path / "a.jpg") == facts_of(
        os.fsencode(tmp_path / "a.jpg"),
        (tmp_path / "a.jpg").stat().st_mtime_ns,
        160,
        120,
        jpeg_quality=85,
        camera="ACME Camera 1",
        captured="2019:05:04 10:11:12",
    )
    assert (facts(tmp_path / "b.png").picture.lossless, facts(tmp_path / "b.png").picture.grey) == (True, True)


@pytest.mark.parametrize(
    ("date", "captured"),
    [("2019:05:04 10:11:12", "2019:05:04 10:11:12"), ("0000:00:00 00:00:00", ""), ("    :  :  ", ""), ("x", "")],
)
def test_a_capture_date_that_is_not_set_is_none(tmp_path: Path, date: str, captured: str) -> None:
    """Cameras with an unset clock write zeros or blanks, which are not the earliest date."""
    photo().save(tmp_path / "a.jpg", exif=camera_exif(date))
    assert facts(tmp_path / "a.jpg").picture.captured == captured


@pytest.mark.parametrize("content", [b"", b"no picture", b"\xff\xd8\xff\xe1\x00\x10Exif\x00\x00broken", b"\x89PNG\r\n"])
def test_a_header_that_cannot_be_read_leaves_the_rest(tmp_path: Path, content: bytes) -> None:
    """Path, age and size are known without it."""
    (tmp_path / "a.jpg").write_bytes(content)
    mtime_ns = (tmp_path / "a.jpg").stat().st_mtime_ns
    assert facts(tmp_path / "a.jpg") == facts_of(os.fsencode(tmp_path / "a.jpg"), mtime_ns, 160, 120)


@pytest.mark.parametrize("quality", [10, 25, 50, 75, 85, 95, 100])
def test_the_quality_is_estimated(tmp_path: Path, quality: int) -> None:
    """Within two of the setting that Pillow was given."""
    photo().save(tmp_path / "a.jpg", quality=quality)
    with Image.open(tmp_path / "a.jpg") as image:
        assert isinstance(image, JpegImageFile)
        tables = image.quantization
    assert abs(jpeg_quality(tables) - quality) <= 2


def test_the_table_of_the_standard_is_quality_50() -> None:
    """libjpeg scales it by one there; without tables the quality is unknown."""
    assert (jpeg_quality({0: list(IJG_LUMINANCE)}), jpeg_quality({})) == (50, 0)
