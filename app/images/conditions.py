"""A filter and an order as SQL: what `app.images.queries` puts into its statements."""

from typing import Any

from sqlalchemy import (
    ColumnElement,
    Integer,
    Select,
    and_,
    case,
    cast,
    exists,
    func,
    literal,
    null,
    or_,
    select,
    true,
    tuple_,
)

from app.annotations.shapes import NOTHING
from app.core.errors import Invalid
from app.core.pagination import decode_cursor
from app.db.tables import Annotation, Image, ImageMetadata, ImageTag, Prediction
from app.images.filters import NONE, ImageFilter, Sort
from app.images.vocabulary import ModelRef

_LAST = 9.0  # sorts what has no score behind every score, which lies in [0, 1]


def prediction_columns(model: ModelRef | None) -> list[Any]:
    if model is None:
        nothing = cast(null(), Integer)
        return [
            nothing.label("predicted_id"),
            nothing.label("score"),
            nothing.label("ng_score"),
            literal(value=False).label("is_wrong"),
            literal(value=False).label("is_unsure"),
        ]
    return [
        Prediction.predicted_category_id.label("predicted_id"),
        Prediction.score.label("score"),
        Prediction.ng_score.label("ng_score"),
        is_wrong().label("is_wrong"),
        is_unsure(model).label("is_unsure"),
    ]


def with_prediction(query: Select, wanted: ImageFilter, model: ModelRef | None, *, always: bool = False) -> Select:
    if model is None or not (always or wanted.asks_model):
        return query
    return query.join(Prediction, and_(Prediction.image_id == Image.id, Prediction.model_id == model.id), isouter=True)


def where(
    project_id: int, wanted: ImageFilter, model: ModelRef | None, *, has_shapes: bool
) -> list[ColumnElement[bool]]:
    """Return the conditions under which an image fits; `has_shapes` says how images of the project carry classes."""
    found: list[ColumnElement[bool]] = [Image.project_id == project_id, Image.deleted_at.is_(None)]
    by_label = _label_conditions(wanted, model, has_shapes=has_shapes)
    if by_label:
        together = and_(*by_label)
        found.append(or_(together, Image.labelled_at >= wanted.since) if wanted.since else together)
    if wanted.splits:
        named = [split for split in wanted.splits if split != NONE]
        choices = [Image.split.in_(named)] if named else []
        found.append(or_(*choices, *([Image.split.is_(None)] if NONE in wanted.splits else [])))
    if wanted.predicted:
        found.append(Prediction.predicted_category_id.in_(wanted.predicted) if model else ~true())
    if wanted.is_unsure:
        found.append(is_unsure(model) if model else ~true())
    found += [
        exists().where(ImageTag.image_id == Image.id, ImageTag.tag_id == tag_id).correlate(Image)
        for tag_id in wanted.tags
    ]
    found += [_has_metadata(field_id, value) for field_id, value in wanted.metadata]
    if wanted.text:
        found.append(Image.name.icontains(wanted.text, autoescape=True))
    return found


def select_ids(project_id: int, wanted: ImageFilter, model: ModelRef | None, *, has_shapes: bool) -> Select:
    """Return the query for the ids of all images that match: what “all that match” stands for."""
    conditions = where(project_id, wanted, model, has_shapes=has_shapes)
    return with_prediction(select(Image.id).where(*conditions), wanted, model)


def has_no_class(*, has_shapes: bool) -> ColumnElement[bool]:
    """Return the condition of carrying no class; with shapes, that a person found nothing to label."""
    return Image.shape_classes == NOTHING if has_shapes else Image.category_id.is_(None)


def _label_conditions(wanted: ImageFilter, model: ModelRef | None, *, has_shapes: bool) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.classes or wanted.has_no_class:
        choices = []
        if wanted.classes and has_shapes:
            choices.append(Image.id.in_(select(Annotation.image_id).where(Annotation.category_id.in_(wanted.classes))))
        elif wanted.classes:
            choices.append(Image.category_id.in_(wanted.classes))
        found.append(or_(*choices, *([has_no_class(has_shapes=has_shapes)] if wanted.has_no_class else [])))
    if wanted.is_labelled is not None:
        found.append(Image.is_labelled.is_(wanted.is_labelled))
    if wanted.is_wrong:
        found.append(is_wrong() if model else ~true())
    return found


def is_wrong() -> ColumnElement[bool]:
    """Compare with the class that the image carries now: a label that was put right is no mistake of the model's.

    Of shapes it counts what was found when the model was evaluated.
    """
    differs = and_(Image.category_id.is_not(None), Prediction.predicted_category_id != Image.category_id)
    missed = and_(Image.shape_classes.is_not(None), Prediction.is_wrong.is_(True))
    return case((or_(differs, missed), literal(value=True)), else_=literal(value=False))


def is_unsure(model: ModelRef) -> ColumnElement[bool]:
    if model.rule == "ng":
        close = func.abs(Prediction.ng_score - model.threshold) <= model.unsure_band
    else:
        close = Prediction.score < model.threshold
    return case((close, literal(value=True)), else_=literal(value=False))


def _has_metadata(field_id: int, value: str) -> ColumnElement[bool]:
    """Compare as text: a number or boolean of the address means the one that is shown so."""
    stored = func.lower(ImageMetadata.value["v"].as_string())
    # SQLite reads a JSON true as 1.
    alike = {"true": ("true", "1"), "false": ("false", "0")}.get(value.lower(), (value.lower(),))
    return (
        exists()
        .where(ImageMetadata.image_id == Image.id, ImageMetadata.field_id == field_id, stored.in_(alike))
        .correlate(Image)
    )


# --- order -----------------------------------------------------------------------------------------------------------


def sort_keys(sort: Sort, model: ModelRef | None) -> list[Any]:
    if sort is Sort.NAME:
        return [Image.name, Image.id]
    if sort in {Sort.UNSURE, Sort.NG}:
        if model is None:
            return [literal(_LAST), Image.id]
        if sort is Sort.NG:
            value: Any = -Prediction.ng_score
        elif model.rule == "ng":
            value = func.abs(Prediction.ng_score - model.threshold)
        else:
            value = Prediction.score
        return [func.coalesce(value, _LAST), Image.id]
    return [Image.id]


def is_descending(sort: Sort, *, is_backward: bool = False) -> bool:
    return (sort is Sort.NEWEST) != is_backward


def ordering(sort: Sort, keys: list[Any], *, is_backward: bool = False) -> list[Any]:
    return [key.desc() if is_descending(sort, is_backward=is_backward) else key.asc() for key in keys]


def beyond(sort: Sort, keys: list[Any], position: list[Any], *, is_backward: bool = False) -> ColumnElement[bool]:
    """Return the condition of lying behind `position` in the order, or before it."""
    is_smaller = is_descending(sort, is_backward=is_backward)
    if len(keys) == 1:
        return keys[0] < position[0] if is_smaller else keys[0] > position[0]
    left, right = tuple_(*keys), tuple_(*(literal(value) for value in position))
    return left < right if is_smaller else left > right


def position(sort: Sort, cursor: str) -> list[Any]:
    position = decode_cursor(cursor, 1 if sort in {Sort.NEWEST, Sort.OLDEST} else 2)
    kinds = {Sort.NAME: (str, int), Sort.UNSURE: (int | float, int), Sort.NG: (int | float, int)}.get(sort, (int,))
    fits = all(
        isinstance(value, kind) and not isinstance(value, bool) for value, kind in zip(position, kinds, strict=True)
    )
    if not fits or abs(int(position[-1] or 0)) >= 2**63:
        raise Invalid("This page link is not valid. Start again from the first page.")
    return position


def place(
    sort: Sort, model: ModelRef | None, *, image_id: int, name: str, score: float | None, ng_score: float | None
) -> list[int | float | str]:
    """Return an image's place in an order, as a cursor holds it: the values of `sort_keys` for it."""
    if sort is Sort.NAME:
        return [name, image_id]
    if sort in {Sort.NEWEST, Sort.OLDEST}:
        return [image_id]
    if model is None or score is None:
        return [_LAST, image_id]
    if sort is Sort.NG:
        return [_LAST if ng_score is None else -ng_score, image_id]
    if model.rule == "ng":
        return [_LAST if ng_score is None else abs(ng_score - model.threshold), image_id]
    return [score, image_id]
