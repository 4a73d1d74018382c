"""Imported by Python at its start: the wall clock of this process is off by SHAZIMD_CLOCK_OFFSET_S seconds.

Not libfaketime: it answers clock_nanosleep(2) with EINVAL, as Python's time.sleep calls it.
"""

import os
import time

_now, _now_ns = time.time, time.time_ns
_offset_s = int(os.environ.get("SHAZIMD_CLOCK_OFFSET_S", "0"))

time.time = lambda: _now() + _offset_s
time.time_ns = lambda: _now_ns() + _offset_s * 10**9
