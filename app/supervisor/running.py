"""Find the Kizu that runs on a home."""

import fcntl
import json
from pathlib import Path

LOCK_NAME = "kizu.lock"


def find_address(run_dir: Path) -> str | None:
    """Return the address of the Kizu that runs on this home now, or None; one that is just starting has none yet."""
    try:
        with (run_dir / LOCK_NAME).open("r+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return str(json.loads(lock.read())["address"])
    except (OSError, ValueError, KeyError):
        pass
    return None
