"""Alembic's entry: migrates the database that the settings name, or the connection it is handed."""

from alembic import context
from sqlalchemy import Connection

from app.db import tables  # noqa: F401  the metadata is complete only once every table is imported
from app.db.base import Base
from app.db.session import make_engine
from app.settings import get_settings


def _migrate(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=connection.dialect.name == "sqlite",  # SQLite changes a column by making the table anew
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    _migrate(given)
else:
    with make_engine(get_settings().sqlalchemy_url).connect() as own:
        _migrate(own)
        own.commit()
