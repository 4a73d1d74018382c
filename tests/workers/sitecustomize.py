"""Imported by each interpreter that has this directory in its path: a confined worker can import no module, so the jobs
of the tests must be there before."""

from __future__ import annotations

import importlib

for module in ("break_out", "forging", "worker_jobs"):
    importlib.import_module(module)
