"""`shazimd` with workers that forge their replies."""

from __future__ import annotations

import sys

from shazimd.daemon.main import main
from shazimd.workers import process

process.MODULE = "forging_worker"
sys.exit(main())
