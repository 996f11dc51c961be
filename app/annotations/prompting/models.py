"""A model from strokes: a training like any other, of the method `prompting`. Nothing here commits."""

from sqlalchemy.orm import Session

from app.accounts.permissions import Action, Actor
from app.annotations.prompting.strokes import get_project
from app.contracts.jobs import TrainSpec
from app.db.tables import Job
from app.jobs import service as job_service


def start_training(session: Session, *, actor: Actor, project_id: int) -> Job:
    """Freeze the strokes with the labels, and queue a training on them.

    Raises:
        NotFound: No such project.
        PermissionDenied: The actor may not train in it.
        DatasetNotReady: No stroke shows a class.
    """
    get_project(session, actor=actor, project_id=project_id, action=Action.TRAIN)
    return job_service.start_training(
        session, actor=actor, project_id=project_id, spec=TrainSpec(method="visual_prompting")
    )
