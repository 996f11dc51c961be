"""The one containment check for paths that are made from data."""

import os
from pathlib import Path


def inside(root: Path, relative: str) -> Path:
    """Return `root / relative`, resolved.

    Raises:
        ValueError: The path would lie outside of `root` (`..`, an absolute path, a link that leads out, a NUL).
    """
    if "\0" in relative:
        raise ValueError("a path holds a NUL character")
    base = os.path.realpath(root)
    path = os.path.realpath(Path(base) / relative)
    if os.path.commonpath([base, path]) != base:
        raise ValueError(f"path leaves its folder: {relative!r}")
    return Path(path)
