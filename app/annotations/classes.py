"""A class that is added beside an image, on whichever screen of Label."""

from fastapi import Request
from sqlalchemy.orm import Session

from app.core.errors import Conflict, Invalid
from app.db.tables import Project
from app.projects import service as project_service
from app.web.problems import wants_partial


def try_add_class(request: Request, session: Session, project: Project, name: str) -> str | None:
    """Add a class. Where it cannot be, return why to who asked for a part of the page, which then says so itself.

    Raises:
        Conflict: There is a class of this name, and the whole page was asked for.
        Invalid: The name cannot be one, and the whole page was asked for.
    """
    try:
        with session.begin_nested():
            project_service.add_category(session, project=project, name=name)
    except (Conflict, Invalid) as error:
        if not wants_partial(request):
            raise
        return error.detail
    return None
