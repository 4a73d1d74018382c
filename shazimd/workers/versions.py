"""The versions and limits of all that decodes pictures: when they change, failed files are tried again."""

from __future__ import annotations

from importlib import metadata

from shazimd.config import WorkersConfig

PACKAGES = (
    *("shazimd", "pillow", "pillow-heif", "pillow-jxl-plugin", "opencv-python-headless", "numpy", "tifffile"),
    *("imagecodecs", "rawpy"),
)


def decoders(limits: WorkersConfig) -> str:
    """The packages, their versions and the limits, such as "shazimd 0.1.0, pillow 11.1.0; 512 MB"; loads no decoder."""
    versions = ", ".join(f"{package} {_version(package)}" for package in PACKAGES)
    return (
        f"{versions}; {limits.max_file_mb} MB, {limits.max_pixels} pixels, {limits.memory_mb} MB, {limits.timeout_s} s"
    )


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # an extra that is not installed, or another build of a package
        return "unknown"
