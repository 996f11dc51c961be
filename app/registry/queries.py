"""Statements about models. Whoever calls them has checked that the project may be seen."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Uuid, literal, select, tuple_
from sqlalchemy.orm import Session

from app.core.errors import Invalid
from app.core.pagination import Page, decode_cursor, encode_cursor
from app.db.base import UtcDateTime
from app.db.tables import DatasetVersion, Deployment, Image, ModelVersion, Prediction, User
from app.db.visibility import WITH_DELETED
from app.registry.schemas import ModelHead

PAGE_SIZE = 50
MAX_PAGE_SIZE = 500


@dataclass(frozen=True, slots=True)
class ModelRow:
    """A model with what it hangs together with."""

    model: ModelVersion
    head: ModelHead


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What a gallery shows of an image besides what a model said."""

    id: int
    name: str
    width_px: int
    height_px: int
    sha256: str
    is_deleted: bool


@dataclass(frozen=True, slots=True)
class SaidShapes:
    """What a model found on an image and what was drawn there, as the database holds it."""

    split: str | None
    scores: list[float]
    shapes: list[dict[str, Any]]
    drawn: list[dict[str, Any]]


def list_models(
    session: Session, project_id: int, *, cursor: str | None = None, limit: int = PAGE_SIZE
) -> Page[ModelRow]:
    """Return models, the newest first. Raises `Invalid` for a cursor that is none of ours."""
    limit = max(1, min(limit, MAX_PAGE_SIZE))
    chosen = (
        select(ModelVersion.id)
        .where(ModelVersion.project_id == project_id)
        .order_by(ModelVersion.created_at.desc(), ModelVersion.id.desc())
        .limit(limit + 1)
    )
    if cursor is not None:
        moment, last_id = _position(cursor)
        position = tuple_(literal(moment, UtcDateTime()), literal(last_id, Uuid()))
        chosen = chosen.where(tuple_(ModelVersion.created_at, ModelVersion.id) < position)
    rows = _collect(session, ModelVersion.id.in_(chosen.subquery().select()))
    if len(rows) <= limit:
        return Page(rows, None)
    last = rows[limit - 1].model
    return Page(rows[:limit], encode_cursor(last.created_at.isoformat(), str(last.id)))


def find_model(session: Session, project_id: int, model_id: UUID) -> ModelRow | None:
    rows = _collect(session, (ModelVersion.id == model_id) & (ModelVersion.project_id == project_id))
    return rows[0] if rows else None


def find_models(session: Session, project_id: int, model_ids: Sequence[UUID]) -> dict[UUID, ModelRow]:
    rows = _collect(session, ModelVersion.id.in_(model_ids) & (ModelVersion.project_id == project_id))
    return {row.model.id: row for row in rows}


def names_of_models(session: Session, project_id: int) -> list[tuple[UUID, str]]:
    """Return every model's id and name, the newest first: the choices of a comparison."""
    query = select(ModelVersion.id, ModelVersion.name).where(ModelVersion.project_id == project_id)
    return [(row[0], row[1]) for row in session.execute(query.order_by(ModelVersion.created_at.desc()).limit(500))]


def images_by_id(session: Session, project_id: int, image_ids: Sequence[int]) -> dict[int, ImageFacts]:
    """Return images, deleted ones too: a report stays as it was on the day of the training."""
    if not image_ids:
        return {}
    rows = session.execute(
        select(Image.id, Image.name, Image.width_px, Image.height_px, Image.sha256, Image.deleted_at).where(
            Image.project_id == project_id, Image.id.in_(image_ids)
        ),
        execution_options=WITH_DELETED,
    )
    return {row[0]: ImageFacts(*row[:5], is_deleted=row[5] is not None) for row in rows}


def images_with_shapes(
    session: Session, project_id: int, model_id: UUID, image_ids: Sequence[int]
) -> dict[int, tuple[ImageFacts, SaidShapes]]:
    """Return images, deleted ones too, with the shapes that a model found on them; those it never saw are left out."""
    if not image_ids:
        return {}
    facts = (Image.id, Image.name, Image.width_px, Image.height_px, Image.sha256, Image.deleted_at)
    rows = session.execute(
        select(*facts, Prediction.split, Prediction.scores, Prediction.shapes, Prediction.drawn)
        .join(Prediction, (Prediction.image_id == Image.id) & (Prediction.model_id == model_id))
        .where(Image.project_id == project_id, Image.id.in_(image_ids)),
        execution_options=WITH_DELETED,
    )
    return {
        row[0]: (
            ImageFacts(row[0], row[1], row[2], row[3], row[4], is_deleted=row[5] is not None),
            SaidShapes(row[6], row[7], row[8] or [], row[9] or []),
        )
        for row in rows
    }


def find_prediction(
    session: Session, *, project_id: int, model_id: UUID, image_id: int
) -> tuple[Image, Prediction] | None:
    """Return an image, even a deleted one, and what a model said of it."""
    query = (
        select(Image, Prediction)
        .join(Prediction, Prediction.image_id == Image.id)
        .where(Image.id == image_id, Image.project_id == project_id, Prediction.model_id == model_id)
    )
    row = session.execute(query, execution_options=WITH_DELETED).one_or_none()
    return None if row is None else (row[0], row[1])


def list_predictions(
    session: Session, model_id: UUID, *, split: str | None, cursor: str | None, limit: int
) -> Page[Prediction]:
    """Return predictions in the order of the images' ids; `split` None means all."""
    query = select(Prediction).where(Prediction.model_id == model_id).order_by(Prediction.image_id).limit(limit + 1)
    if split is not None:
        query = query.where(Prediction.split.is_(None) if split == "unlabelled" else Prediction.split == split)
    if cursor is not None:
        (last,) = decode_cursor(cursor, 1)
        if not isinstance(last, int) or abs(last) >= 2**63:
            raise Invalid("This page link is not valid. Start again from the first page.")
        query = query.where(Prediction.image_id > last)
    rows = list(session.scalars(query))
    return Page(rows[:limit], encode_cursor(rows[limit - 1].image_id) if len(rows) > limit else None)


def _collect(session: Session, condition: object) -> list[ModelRow]:
    """Return models in one statement: a model that serves twice comes as two rows, put together here."""
    query = (
        select(ModelVersion, DatasetVersion.number, DatasetVersion.n_images, User.name, Deployment.id, Deployment.name)
        .outerjoin(DatasetVersion, DatasetVersion.id == ModelVersion.dataset_version_id)
        .outerjoin(User, User.id == ModelVersion.created_by_id)
        .outerjoin(Deployment, (Deployment.model_id == ModelVersion.id) & Deployment.deleted_at.is_(None))
        .where(condition)  # type: ignore[arg-type]  # a column expression
        .order_by(ModelVersion.created_at.desc(), ModelVersion.id.desc(), Deployment.name)
    )
    found: dict[UUID, tuple[ModelVersion, int | None, int | None, str | None, list[tuple[UUID, str]]]] = {}
    for model, number, n_images, user_name, deployment_id, deployment_name in session.execute(query):
        entry = found.setdefault(model.id, (model, number, n_images, user_name, []))
        if deployment_id is not None:
            entry[4].append((deployment_id, deployment_name))
    return [
        ModelRow(model, _head(model, number, n_images, user_name, deployments))
        for model, number, n_images, user_name, deployments in found.values()
    ]


def _head(
    model: ModelVersion,
    number: int | None,
    n_images: int | None,
    user_name: str | None,
    deployments: list[tuple[UUID, str]],
) -> ModelHead:
    return ModelHead(
        id=model.id,
        name=model.name,
        created_at=model.created_at,
        created_by=user_name,
        dataset_number=number,
        dataset_n_images=n_images or 0,
        deployments=tuple(deployments),
        job_id=model.job_id,
        n_bytes=model.n_bytes,
    )


def _position(cursor: str) -> tuple[datetime, UUID]:
    created_at, model_id = decode_cursor(cursor, 2)
    try:
        moment, last_id = datetime.fromisoformat(str(created_at)), UUID(str(model_id))
    except ValueError as error:
        raise Invalid("This page link is not valid. Start again from the first page.") from error
    if moment.tzinfo is None:
        raise Invalid("This page link is not valid. Start again from the first page.")
    return moment, last_id
