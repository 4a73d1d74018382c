"""Imported by each interpreter that has this directory in its path: a confined worker can import no module, so the jobs
of the tests must be there before."""

from __future__ import annotations

import break_out  # noqa: F401
import forging  # noqa: F401
import worker_jobs  # noqa: F401
