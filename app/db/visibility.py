"""Deleted images and references are invisible to every query that does not ask for them.

Without this, each query of each feature would have to remember `deleted_at IS NULL`, and one that forgets shows
(or trains on) what a person threw away; or asks somebody to label what is only there to be compared with.
"""

from typing import Any

from sqlalchemy import event
from sqlalchemy.orm import ORMExecuteState, Session, with_loader_criteria

from app.db.tables.image import Image

# `session.execute(query, execution_options=WITH_DELETED)` sees every image; so does `session.scalars`.
WITH_DELETED: dict[str, Any] = {"with_deleted": True}
# References too, but nothing deleted.
WITH_REFERENCES: dict[str, Any] = {"with_references": True}

_LIVE = with_loader_criteria(Image, Image.deleted_at.is_(None), include_aliases=True)
_NO_REFERENCE = with_loader_criteria(Image, Image.is_reference.is_(False), include_aliases=True)


@event.listens_for(Session, "do_orm_execute")
def _hide_deleted(state: ORMExecuteState) -> None:
    """Add the condition to selects, updates and deletes that name `Image`; refreshing a loaded row is left alone."""
    if state.is_column_load or state.is_relationship_load or state.execution_options.get("with_deleted"):
        return
    if state.is_select or state.is_update or state.is_delete:
        hidden = [_LIVE] if state.execution_options.get("with_references") else [_LIVE, _NO_REFERENCE]
        state.statement = state.statement.options(*hidden)
