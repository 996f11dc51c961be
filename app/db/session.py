"""The engine, the one kind of session, and work that must wait for the commit."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from sqlalchemy import CursorResult, Engine, UpdateBase, create_engine, event
from sqlalchemy.orm import Session, SessionTransaction, sessionmaker

from app.db.guard import Unstorable, check_values, to_json
from app.settings import get_settings

log = logging.getLogger(__name__)

_NUMBER_OUT_OF_RANGE = "22003"  # PostgreSQL's SQLSTATE numeric_value_out_of_range


def make_engine(url: str) -> Engine:
    """Return an engine for `url`, with what each database needs for many short transactions."""
    common: dict[str, Any] = {"pool_size": 10, "max_overflow": 20, "json_serializer": to_json}
    if url.startswith("sqlite"):
        engine = create_engine(url, connect_args={"timeout": 30, "check_same_thread": False}, **common)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    else:
        engine = create_engine(url, pool_pre_ping=True, **common)
        event.listen(engine, "handle_error", _refuse_large_number)
    event.listen(engine, "before_cursor_execute", _check_values)
    return engine


def _check_values(_connection: Any, _cursor: Any, _statement: str, parameters: Any, _context: Any, _many: bool) -> None:
    check_values(parameters)


def _refuse_large_number(context: Any) -> None:
    # Only PostgreSQL knows how wide the column is that a number is compared with.
    if getattr(context.original_exception, "sqlstate", None) == _NUMBER_OUT_OF_RANGE:
        raise Unstorable("A number in this request is too large.") from context.original_exception


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # pysqlite's own transaction handling is switched off, so that BEGIN is ours and SAVEPOINT works.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        "synchronous=NORMAL",
        "foreign_keys=ON",
        "busy_timeout=30000",
        "temp_store=MEMORY",
        "cache_size=-32000",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Any) -> None:
    # A transaction that reads first and writes later cannot be upgraded while another writes: such sessions say so.
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("write_lock") else "BEGIN")


@lru_cache
def get_engine() -> Engine:
    return make_engine(get_settings().sqlalchemy_url)


@lru_cache
def _factory(*, writes: bool) -> sessionmaker[Session]:
    engine = get_engine()
    return sessionmaker(engine.execution_options(write_lock=True) if writes else engine, expire_on_commit=False)


def new_session(*, writes: bool = False) -> Session:
    """Return a new session, which takes a connection at its first statement.

    Args:
        writes: The transaction will write. On SQLite its first statement takes the write lock and waits its turn there,
            instead of failing with "database is locked" when it writes after reading.
    """
    return _factory(writes=writes)()


@contextmanager
def transaction(*, writes: bool = True) -> Iterator[Session]:
    """Give a session that commits at the end of the block, or rolls back when the block raises."""
    with new_session(writes=writes) as session:
        try:
            yield session
            session.commit()
        except BaseException:
            session.rollback()
            raise


def on_commit(session: Session, callback: Callable[[], None]) -> None:
    """Run `callback` once, after this transaction commits; never if it rolls back."""
    session.info.setdefault("on_commit", []).append(callback)


@event.listens_for(Session, "after_commit")
def _run_on_commit(session: Session) -> None:
    if session.in_nested_transaction():
        return
    for callback in session.info.pop("on_commit", []):
        try:
            callback()
        except Exception:  # the row is the truth; the reaper sends it again
            log.exception("a callback after the commit failed")


@event.listens_for(Session, "after_soft_rollback")
def _drop_on_commit(session: Session, previous_transaction: SessionTransaction) -> None:
    if previous_transaction.parent is None:
        session.info.pop("on_commit", None)


def change_rows(session: Session, statement: UpdateBase, **options: Any) -> int:
    """Run a statement on whole sets of rows, past the objects that the session holds; return how many rows it changed.

    Args:
        **options: Further execution options.
    """
    result = session.execute(statement, execution_options={"synchronize_session": False, **options})
    assert isinstance(result, CursorResult)
    return result.rowcount


def dispose_engine() -> None:
    """Close all connections; a forked child calls this first, for connections do not survive a fork."""
    if get_engine.cache_info().currsize:
        get_engine().dispose(close=False)
    get_engine.cache_clear()
    _factory.cache_clear()
