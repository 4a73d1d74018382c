"""The versions of all that decodes pictures: when they change, failed files are tried again."""

from __future__ import annotations

from importlib import metadata

PACKAGES = (
    *("shazimd", "pillow", "pillow-heif", "pillow-jxl-plugin", "opencv-python-headless", "numpy", "tifffile"),
    *("imagecodecs", "rawpy"),
)


def decoder_versions() -> str:
    """The packages and their versions, such as "shazimd 0.1.0, pillow 11.1.0"; loads no decoder."""
    return ", ".join(f"{package} {_version(package)}" for package in PACKAGES)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # an extra that is not installed, or another build of a package
        return "unknown"
