"""What is read of references and of the images that are compared with them, each in one statement."""

from sqlalchemy import and_, cast, func, literal, null, select
from sqlalchemy.orm import Session

from app.contracts.reference import ReferenceRule
from app.db.base import Json
from app.db.tables import Image, ImageMetadata
from app.db.visibility import WITH_REFERENCES
from app.references.pairing import Marked, Subject


def list_marked(session: Session, project_id: int, rule: ReferenceRule | None) -> list[Marked]:
    """Return the references of a project, by id, with their values where the rule goes by metadata."""
    field_id = rule.field_id if rule is not None and rule.kind == "metadata" else None
    columns = (Image.id, Image.name, Image.sha256, Image.blob_key, Image.width_px, Image.height_px)
    query = (
        select(*columns, ImageMetadata.value)
        .outerjoin(ImageMetadata, and_(ImageMetadata.image_id == Image.id, ImageMetadata.field_id == field_id))
        .where(Image.project_id == project_id, Image.is_reference.is_(True))
        .order_by(Image.id)
    )
    rows = session.execute(query, execution_options=WITH_REFERENCES)
    return [
        Marked(row.id, row.name, row.sha256, row.blob_key, row.width_px, row.height_px, _plain(row.value))
        for row in rows
    ]


def list_subjects(session: Session, project_id: int, rule: ReferenceRule) -> list[Subject]:
    """Return the images that are compared; those that the rule cannot tell apart are counted together."""
    facts = (Image.width_px, Image.height_px, Image.is_labelled)
    if rule.kind == "metadata":
        of_image = and_(ImageMetadata.image_id == Image.id, ImageMetadata.field_id == rule.field_id)
        query = select(Image.name, *facts, ImageMetadata.value, literal(1).label("n")).outerjoin(
            ImageMetadata, of_image
        )
    else:
        alike = facts if rule.kind == "one" else (Image.name, *facts)
        query = select(
            func.min(Image.name).label("name"), *facts, cast(null(), Json).label("value"), func.count().label("n")
        ).group_by(*alike)
    rows = session.execute(query.where(Image.project_id == project_id))
    return [Subject(row.name, row.width_px, row.height_px, row.is_labelled, _plain(row.value), row.n) for row in rows]


def values_of(session: Session, project_id: int, field_id: int) -> dict[int, object]:
    """Return the values of a metadata field, by image."""
    query = (
        select(ImageMetadata.image_id, ImageMetadata.value)
        .join(Image, Image.id == ImageMetadata.image_id)
        .where(Image.project_id == project_id, ImageMetadata.field_id == field_id)
    )
    return {image_id: _plain(value) for image_id, value in session.execute(query)}


def _plain(stored: dict | None) -> object:
    return None if stored is None else stored.get("v")
