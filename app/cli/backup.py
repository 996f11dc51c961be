"""A backup of an embedded installation: one tar file that, unpacked, is a `KIZU_HOME`."""

import sqlite3
import tarfile
import tempfile
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from app.settings import get_settings

# Made again by themselves, of one run only, or backups themselves; the database is copied in its own way.
_LEFT_OUT = {"cache", "logs", "run", "backups"}


def write(output: Path | None) -> Path:
    """Write the tar file and return its path.

    The database is copied first, consistently, while Kizu may run: a file is stored before the row that names it and
    never changed, so the files packed afterwards hold all that the copied rows name.

    Raises:
        SystemExit: The database or the files are not under `KIZU_HOME`, or there is nothing to back up.
    """
    settings = get_settings()
    if settings.database_url or settings.storage_url:
        raise SystemExit(
            "This installation keeps its data elsewhere: back up PostgreSQL with pg_dump, and the S3 bucket."
        )
    database = settings.home / "kizu.sqlite3"
    if not database.exists():
        raise SystemExit(f"There is nothing to back up in {settings.home}.")
    target = output or settings.home / "backups" / f"kizu-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.tar"
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(target.name + ".part")
    # No compression: images and models are compressed already.
    with tempfile.TemporaryDirectory(dir=target.parent) as folder, tarfile.open(unfinished, "w") as tar:
        copy = Path(folder) / database.name
        copy_sqlite(database, copy)
        tar.add(copy, arcname=database.name)
        for entry in sorted(settings.home.iterdir()):
            if entry.name not in _LEFT_OUT and not entry.name.startswith(database.name):
                tar.add(entry, arcname=entry.name)
    unfinished.chmod(0o600)
    return unfinished.replace(target)


def copy_sqlite(source: Path, target: Path) -> None:
    """Copy a database that is in use, as of one moment."""
    with closing(sqlite3.connect(source)) as live, closing(sqlite3.connect(target)) as copy:
        live.backup(copy)
