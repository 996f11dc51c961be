"""Tell within milliseconds whether an SQLite installation needs preparing, without importing SQLAlchemy."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path

MIGRATIONS_DIR = Path(__file__).resolve().parents[2] / "migrations" / "versions"
_REVISION = re.compile(r"^revision(?::[^=]+)?\s*=\s*[\"'](\w+)[\"']", re.MULTILINE)
_DOWN = re.compile(r"^down_revision(?::[^=]+)?\s*=\s*[\"'](\w+)[\"']", re.MULTILINE)


def is_prepared(database: Path, migrations_dir: Path = MIGRATIONS_DIR) -> bool:
    """Tell whether the database has the newest schema and somebody who can sign in.

    A false "no" costs a second, for `kizu migrate` then looks again; there is no false "yes".
    """
    if not database.exists():
        return False
    heads = find_heads(migrations_dir)
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=5)) as connection:
            revisions = {row[0] for row in connection.execute("SELECT version_num FROM alembic_version")}
            has_people = connection.execute("SELECT 1 FROM user_account LIMIT 1").fetchone() is not None
    except sqlite3.Error:
        return False
    return bool(heads) and revisions == heads and has_people


def find_heads(migrations_dir: Path) -> set[str]:
    """Return the revisions on which no other builds, read from the files as text."""
    texts = [path.read_text() for path in migrations_dir.glob("*.py")]
    revisions = {name for text in texts for name in _REVISION.findall(text)}
    return revisions - {name for text in texts for name in _DOWN.findall(text)}
