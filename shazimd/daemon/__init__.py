"""The running daemon: built, started, reloaded, stopped."""

import importlib
import sys
from typing import Any

_modules: dict[str, Any] = sys.modules

# structlog imports rich where it finds it, for tracebacks of a kind that no line of ours has: 4 MiB, 5 % of the start.
if _modules.keys().isdisjoint({"structlog", "rich"}):
    _modules["rich"] = None  # importlib then takes it for absent
    importlib.import_module("structlog")  # imported by all others, without rich from now on
    del _modules["rich"]
