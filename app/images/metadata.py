"""Metadata of images: the values of the project's typed fields. Nothing here commits."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Integer, delete, insert, literal, select
from sqlalchemy.orm import Session

from app.accounts.permissions import Action, Actor
from app.core.errors import Invalid, NotFound
from app.db.base import Json
from app.db.tables import Image, ImageMetadata, MetadataField
from app.images.service import Selection, selected
from app.projects import service as project_service

MAX_TEXT = 1000
MAX_VALUES = 100

Scalar = str | float | bool
Value = Scalar | list[Scalar]


def metadata_of(session: Session, image_ids: Sequence[int]) -> dict[int, dict[str, Value]]:
    """Return, for each image, its values by field id (as text: the contract's keys). The caller checked the images."""
    found: dict[int, dict[str, Value]] = {image_id: {} for image_id in image_ids}
    query = select(ImageMetadata).where(ImageMetadata.image_id.in_(list(image_ids))).order_by(ImageMetadata.field_id)
    for row in session.scalars(query):
        found[row.image_id][str(row.field_id)] = row.value["v"]
    return found


def set_metadata(
    session: Session,
    *,
    actor: Actor,
    project_id: int,
    selection: Selection,
    values: Mapping[str, Any],
    append: bool = False,
) -> list[int]:
    """Give images these values; return the ids of the images.

    Args:
        values: By field name or id. None takes the field's value away.
        append: A field that allows several values keeps what it has and gains these; others are replaced.

    Raises:
        NotFound: No such project, image or field.
        PermissionDenied: The actor may not label.
        Invalid: A value does not fit its field.
    """
    project_service.get_for(session, actor=actor, project_id=project_id, action=Action.LABEL)
    checked = checked_values(project_service.list_metadata_fields(session, project_id), values)
    condition = selected(session, project_id=project_id, selection=selection)
    for field, value in checked:
        chosen = select(Image.id).where(condition)
        if append and field.allow_multiple and value is not None:
            _append(session, list(session.scalars(chosen)), field, value)
            continue
        session.execute(
            delete(ImageMetadata)
            .where(ImageMetadata.field_id == field.id, ImageMetadata.image_id.in_(chosen))
            .execution_options(synchronize_session=False)
        )
        if value is not None:
            rows = select(Image.id, literal(field.id, Integer), literal({"v": value}, Json)).where(condition)
            session.execute(insert(ImageMetadata).from_select(["image_id", "field_id", "value"], rows))
    return list(session.scalars(select(Image.id).where(condition).order_by(Image.id)))


def checked_values(
    fields: Sequence[MetadataField], values: Mapping[str, Any]
) -> list[tuple[MetadataField, Value | None]]:
    """Return the fields that `values` names, with values that fit them. Raises as `set_metadata` does."""
    by_key = {str(field.id): field for field in fields} | {field.name: field for field in fields}
    checked = []
    for key, value in values.items():
        field = by_key.get(key)
        if field is None:
            raise NotFound(f"The project has no metadata field “{key}”.")
        checked.append((field, None if value is None else _fitting(field, value)))
    return checked


def _fitting(field: MetadataField, value: Any) -> Value:
    if isinstance(value, list):
        if not field.allow_multiple:
            raise _invalid(field, "holds one value")
        if len(value) > MAX_VALUES:
            raise _invalid(field, f"holds at most {MAX_VALUES} values")
        return [_scalar(field, one) for one in value]
    one = _scalar(field, value)
    return [one] if field.allow_multiple else one


def _scalar(field: MetadataField, value: Any) -> Scalar:
    if field.type == "number":
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
            raise _invalid(field, "is a number")
    elif field.type == "boolean":
        if not isinstance(value, bool):
            raise _invalid(field, "is true or false")
    elif not isinstance(value, str) or len(value) > MAX_TEXT or "\0" in value:
        raise _invalid(field, f"is a text of at most {MAX_TEXT:,} characters")
    if field.predefined_choices and not field.is_value_flexible and value not in field.predefined_choices:
        raise _invalid(field, "is one of the predefined choices")
    return value


def _append(session: Session, image_ids: Sequence[int], field: MetadataField, value: Value) -> None:
    added = value if isinstance(value, list) else [value]
    of_field = (ImageMetadata.field_id == field.id, ImageMetadata.image_id.in_(image_ids))
    before = {row.image_id: row for row in session.scalars(select(ImageMetadata).where(*of_field))}
    for image_id in image_ids:
        row = before.get(image_id)
        if row is None:
            session.add(ImageMetadata(image_id=image_id, field_id=field.id, value={"v": added}))
        else:
            row.value = {"v": [*row.value["v"], *(one for one in added if one not in row.value["v"])]}
    session.flush()


def _invalid(field: MetadataField, what: str) -> Invalid:
    detail = f"The metadata field “{field.name}” {what}."
    return Invalid(detail, [{"pointer": f"/metadata/{field.id}", "detail": detail, "code": "metadata"}])
