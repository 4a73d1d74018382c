"""Whether a file begins like a picture, for files whose names don't tell."""

from __future__ import annotations

import os
import re

from shazimd.posix.reach import within_reach

HEAD_BYTES = 32

_PICTURE = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|RIFF....WEBP|BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0"
    rb"|II\*\0|MM\0\*|II\+\0|MM\0\+|IIR[OS]|MMOR|IIU\0|II\xbc\x01|FUJIFILMCCD-RAW"
    rb"|....ftyp(?:avi[fs]|hei[cfmsx]|hev[cmsx]|mif[123]|msf1|crx )"
    rb"|\xff\x0a|\0\0\0\x0cJXL |\0\0\0\x0cjP  |\xff\x4f\xff\x51"
    rb"|8BPS\0[\x01\x02]|qoif|icns|DDS |\x01\xda[\0\x01][\x01\x02]"
    rb"|\x0a[\0\x02-\x05]\x01[\x01\x02\x04\x08]|\0\0\x01\0[^\0]"
    rb"|P[1-6Ff]\s+[0-9#]|P7\nWIDTH|#\?R(?:ADIANCE|GBE)\n",
    re.DOTALL,
)
"""First bytes of the formats that are decoded, but for TGA, which has none of its own."""


def begins_like_a_picture(path: bytes, *, follow_symlinks: bool) -> bool:
    """Read the first bytes of a file. True also if it can't be opened: a reader is to report that; False for none."""
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK  # a FIFO in its place must not block
    try:
        with within_reach(path) as near:
            opened = os.open(near, flags if follow_symlinks else flags | os.O_NOFOLLOW)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    try:
        return _PICTURE.match(os.read(opened, HEAD_BYTES)) is not None
    except OSError:
        return True
    finally:
        os.close(opened)
