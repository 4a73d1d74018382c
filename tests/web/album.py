"""Groups of an album, as the daemon would send them: files on the disk, relations verified by geometry."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from PIL import Image

from shazimd.daemon.wire import geometry
from shazimd.imaging.extract import Extractor
from shazimd.imaging.verify import verify
from shazimd.types import digest_of

PIXELS_MAX = 200_000_000


def groups_of(album: Path) -> list[dict[str, Any]]:
    """A group for each original in ``camera/`` that has copies, largest saving first."""
    groups = [_group(original, album) for original in sorted((album / "camera").iterdir())]
    return sorted((g for g in groups if len(g["members"]) > 1), key=lambda g: (-g["saves_bytes"], g["id"]))


def _group(original: Path, album: Path) -> dict[str, Any]:
    first = member_of(original)
    copies = sorted([*album.glob(f"backup/{original.stem}*"), *album.glob(f"shared/{original.stem}*")])
    members = [first, *(related(first, path) for path in copies)]
    return {
        "id": first["content"],
        "saves_bytes": sum(m["size_bytes"] for m in members[1:]),
        "files": len(members),
        "decision": None,
        "reason": "most detail, has camera metadata",
        "members": members,
    }


def related(first: dict[str, Any], path: Path) -> dict[str, Any]:
    """A member with its verified relation to the first."""
    member = member_of(path)
    if member["content"] == first["content"]:
        return member | {"verdict": "exact", "score": 1.0}
    found = verify(_features(path), _features(Path(first["path"])))
    return member | geometry(found) | {"verdict": str(found.verdict), "score": 0.9}


def member_of(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    with Image.open(path) as image:
        exif = image.getexif()
        facts = {
            "camera": f"{exif[0x010F]} {exif[0x0110]}" if 0x010F in exif else None,
            "captured": exif.get_ifd(0x8769).get(0x9003),
            "jpeg_quality": 90,
            "lossless": False,
            "grey": image.mode == "L",
        }
        return {
            "path": os.fspath(path),
            "content": digest_of(data).hex(),
            "size_bytes": len(data),
            "width": image.width,
            "height": image.height,
            "format": image.format,
            "mtime": path.stat().st_mtime,
            "also": [],
            "verdict": None,
            "score": None,
            "dah": None,
            "ddh": None,
            "dfv": None,
            "facts": facts,
        }


def _features(path: Path) -> bytes:
    return Extractor(None, PIXELS_MAX, features=True).query(path.read_bytes()).features
