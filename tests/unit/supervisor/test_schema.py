"""The cheap look at the database agrees with Alembic."""

import sqlite3
from contextlib import closing
from pathlib import Path

from alembic.script import ScriptDirectory

from app.db.migrate import alembic_config
from app.supervisor.schema import find_heads, is_prepared


def test_the_heads_are_those_that_alembic_finds() -> None:
    assert find_heads(Path(alembic_config().get_main_option("script_location")) / "versions") == set(
        ScriptDirectory.from_config(alembic_config()).get_heads()
    )


def test_prepared_means_newest_schema_and_a_person(tmp_path: Path) -> None:
    versions = tmp_path / "versions"
    versions.mkdir()
    (versions / "a.py").write_text('revision: str = "aaa"\ndown_revision: str | None = None\n')
    (versions / "b.py").write_text('revision = "bbb"\ndown_revision = "aaa"\n')
    database = tmp_path / "k.sqlite3"
    assert not is_prepared(database, versions)
    with closing(sqlite3.connect(database)) as connection, connection:
        assert not is_prepared(database, versions)
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
        connection.execute("CREATE TABLE user_account (id INTEGER)")
        connection.execute("INSERT INTO alembic_version VALUES ('aaa')")
        connection.commit()
        assert not is_prepared(database, versions)
        connection.execute("UPDATE alembic_version SET version_num = 'bbb'")
        connection.commit()
        assert not is_prepared(database, versions)
        connection.execute("INSERT INTO user_account VALUES (1)")
        connection.commit()
        assert is_prepared(database, versions)
