"""Where maps of images are kept, and for how long. Imports nothing heavy: an idle worker tidies."""

import time
from pathlib import Path

_KEPT_S = 7 * 86_400.0


def folder_of(cache_dir: Path) -> Path:
    return cache_dir / "prompting"


def forget_old(cache_dir: Path) -> int:
    """Remove maps that nobody has looked at for a week; return how many."""
    oldest, n_removed = time.time() - _KEPT_S, 0
    for path in folder_of(cache_dir).glob("*/*/*.npy"):
        stat = path.stat()
        if max(stat.st_atime, stat.st_mtime) < oldest:
            path.unlink(missing_ok=True)
            n_removed += 1
    return n_removed
