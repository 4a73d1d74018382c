"""Tells, the moment an image lands in a directory, whether it has been there before.

Importing this package imports nothing else: the command line must answer before the prompt is missed.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from shazimd.engine import ShazimEngine

__all__ = ["ShazimEngine", "__version__"]
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    if name == "ShazimEngine":
        from shazimd.engine import ShazimEngine

        return ShazimEngine
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
