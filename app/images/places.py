"""Where images are abnormal, carried between anomaly detection and segmentation. Nothing here commits."""

from collections.abc import Sequence

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from app.accounts.permissions import Actor
from app.annotations import shapes as shape_service
from app.contracts.dataset import AnnotationValue
from app.contracts.shapes import Mask, Polygon
from app.contracts.tasks import TaskType
from app.core.clock import utc_now
from app.datasets.formats import masks
from app.db.tables import Annotation, Image, Project
from app.projects import service as project_service

_AT_ONCE = 500


def carry(session: Session, *, actor: Actor, source: Project, target: Project) -> None:
    """Give the images of a grown project the masks of those it grew from; other types carry none.

    Masks of an anomaly project become those of the class Abnormal; the shapes of a segmented image become one mask.

    Args:
        session: The request's session.
        actor: Who grows the project.
        source: The project with the masks.
        target: The new project, whose images and classes exist.
    """
    tasks = (TaskType(source.task), TaskType(target.task))
    if tasks not in ((TaskType.ANOMALY, TaskType.SEGMENTATION), (TaskType.SEGMENTATION, TaskType.ANOMALY)):
        return
    abnormal = next(one for one in project_service.list_categories(session, target.id) if not one.is_good)
    labelled = select(Image.sha256, Image.id).where(Image.project_id == source.id, Image.is_labelled)
    theirs = dict(session.execute(labelled).all())
    ours = session.execute(select(Image.sha256, Image.id).where(Image.project_id == target.id))
    same = {theirs[sha256]: image_id for sha256, image_id in ours if sha256 in theirs}
    old_ids = list(same)
    for start in range(0, len(old_ids), _AT_ONCE):
        found = shape_service.annotations_of(session, old_ids[start : start + _AT_ONCE])
        places = {same[image_id]: place for image_id, values in found.items() if (place := _place(values))}
        _store(session, actor, target, abnormal.id, places)


def _place(annotations: Sequence[AnnotationValue]) -> Mask | None:
    return masks.union([one.shape for one in annotations if isinstance(one.shape, Mask | Polygon)])


def _store(session: Session, actor: Actor, target: Project, category_id: int, places: dict[int, Mask]) -> None:
    ids = list(places)
    session.execute(delete(Annotation).where(Annotation.image_id.in_(ids)).execution_options(synchronize_session=False))
    values = {image_id: (AnnotationValue(category_id=category_id, mask=place),) for image_id, place in places.items()}
    shape_service.insert_annotations(session, values, actor=actor)
    if TaskType(target.task).has_shapes and ids:
        marked = shape_service.shape_classes(values[ids[0]])
        says = {"shape_classes": marked, "is_labelled": True, "version": 1}
        who = {"labelled_at": utc_now(), "labelled_by_id": actor.user_id}
        change = update(Image).where(Image.id.in_(ids)).values(says | who)
        session.execute(change.execution_options(synchronize_session=False))
