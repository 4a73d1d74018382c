"""The import name of the original: ``from shazim import ShazimEngine`` gives this package's engine."""

from shazimd.engine import ShazimEngine, ShazimImage

__all__ = ["ShazimEngine", "ShazimImage"]
