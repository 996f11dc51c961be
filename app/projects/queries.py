"""Reading for the list of projects: two statements, however many projects there are."""

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from app.accounts.permissions import Actor
from app.contracts.tasks import TaskType
from app.db.tables import Image, ModelVersion, Project
from app.inference.headline import HEADLINES, headline_of
from app.projects.schemas import ProjectCard
from app.projects.service import visible_projects

N_THUMBS = 4


def list_cards(session: Session, *, actor: Actor) -> list[ProjectCard]:
    """Return a card for each project that the actor may enter, the last changed first."""
    counts = (
        select(
            Image.project_id,
            func.count(Image.id).label("n_images"),
            func.sum(case((Image.is_labelled, 1), else_=0)).label("n_labelled"),
        )
        .group_by(Image.project_id)
        .subquery()
    )
    newest_model = (
        select(ModelVersion.id)
        .where(ModelVersion.project_id == Project.id)
        .order_by(ModelVersion.created_at.desc())
        .limit(1)
        .correlate(Project)
        .scalar_subquery()
    )
    rows = session.execute(
        visible_projects(actor)
        .add_columns(counts.c.n_images, counts.c.n_labelled, ModelVersion.metrics)
        .outerjoin(counts, counts.c.project_id == Project.id)
        .outerjoin(ModelVersion, ModelVersion.id == newest_model)
    ).all()
    thumbs = _newest_images(session, [project.id for project, *_ in rows])
    return [
        ProjectCard(
            id=project.id,
            name=project.name,
            task=project.task,
            is_invite_only=project.is_invite_only,
            n_images=n_images or 0,
            n_labelled=n_labelled or 0,
            score=_headline(TaskType(project.task), metrics),
            updated_at=project.updated_at,
            image_ids=tuple(thumbs.get(project.id, ())),
        )
        for project, n_images, n_labelled, metrics in rows
    ]


def _newest_images(session: Session, project_ids: list[int]) -> dict[int, list[int]]:
    if not project_ids:
        return {}
    place = func.row_number().over(partition_by=Image.project_id, order_by=Image.id.desc()).label("place")
    ranked = select(Image.project_id, Image.id, place).where(Image.project_id.in_(project_ids)).subquery()
    found: dict[int, list[int]] = {}
    for project_id, image_id in session.execute(
        select(ranked.c.project_id, ranked.c.id).where(ranked.c.place <= N_THUMBS).order_by(ranked.c.id.desc())
    ):
        found.setdefault(project_id, []).append(image_id)
    return found


def _headline(task: TaskType, metrics: dict | None) -> dict | None:
    """Return the figure of the newest model on its most honest split that has one, with its name and split."""
    for split in ("test", "dev", "train"):
        if figure := headline_of(task, metrics, split):
            return {**figure, "split": split, "name": HEADLINES[task][0]}
    return None
