"""Which code is running, for the lineage of models."""

import tomllib
from functools import lru_cache

from app.settings import ROOT


@lru_cache
def code_version() -> str:
    """Return the version, and the commit where the code is a git checkout: `0.1.0+f4430d0c2b1a`."""
    version = str(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"])
    commit = _find_commit()
    return f"{version}+{commit[:12]}" if commit else version


def _find_commit() -> str | None:
    """Read the checked-out commit from git's own files: production hosts have no git."""
    git = ROOT / ".git"
    try:
        head = (git / "HEAD").read_text().strip()
        if not head.startswith("ref: "):
            return head
        name = head.removeprefix("ref: ")
        loose = git / name
        if loose.is_file():
            return loose.read_text().strip()
        packed = (line.split(" ", 1) for line in (git / "packed-refs").read_text().splitlines() if " " in line)
        return next((commit for commit, ref in packed if ref == name), None)
    except OSError:
        return None
