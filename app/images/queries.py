"""The grid: pages of images by keyset, counts for its filters, and the neighbours of one image.

The order of a page is part of its cursor, so that reading on costs the same at the end as at the beginning, and images
that arrive or go meanwhile make no other image appear twice or not at all.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Integer, Select, String, Text, cast, func, literal, null, select, union_all
from sqlalchemy.orm import Session

from app.annotations.shapes import NOTHING, classes_of
from app.core.errors import NotFound
from app.core.pagination import Page, encode_cursor
from app.db.base import Json
from app.db.tables import Annotation, Image, ImageMetadata, ImageTag, Prediction, User
from app.images import conditions
from app.images.filters import ImageFilter, Sort
from app.images.vocabulary import ModelRef
from app.projects import service as project_service

PAGE_SIZE = 80
MAX_PAGE_SIZE = 500
_TEXTS: dict[str, Any] = {"split": String, "shape_classes": Text}


@dataclass(frozen=True, slots=True)
class GridRow:
    """One image of the grid. `uncertainty` is smaller the closer the model came to deciding otherwise."""

    id: int
    name: str
    width_px: int
    height_px: int
    split: str | None
    category_id: int | None
    shape_classes: str | None
    is_labelled: bool
    predicted_id: int | None
    score: float | None
    ng_score: float | None
    is_wrong: bool
    is_unsure: bool

    def place(self, sort: Sort, model: ModelRef | None) -> list[int | float | str]:
        """Return the row's place in an order, as a cursor holds it."""
        return conditions.place(sort, model, image_id=self.id, name=self.name, score=self.score, ng_score=self.ng_score)


@dataclass(frozen=True, slots=True)
class Count:
    """Images of one combination; the counts of every filter's values are sums over these.

    `has_no_class` is what the filter for no class asks for: see `app.images.conditions.has_no_class`.
    """

    class_ids: frozenset[int]
    has_no_class: bool
    split: str | None
    is_labelled: bool
    predicted_id: int | None
    is_wrong: bool
    is_unsure: bool
    n: int


@dataclass(frozen=True, slots=True)
class Counts:
    """What `count_images` found; `tags` is {tag id: images} with every condition applied."""

    cells: tuple[Count, ...]
    tags: dict[int, int]
    has_predictions: bool


@dataclass(frozen=True, slots=True)
class Neighbours:
    """What lies around one image in the order of a filter; each list runs in that order."""

    before: tuple[GridRow, ...]
    after: tuple[GridRow, ...]
    next_unlabelled_id: int | None


def list_images(
    session: Session,
    project_id: int,
    wanted: ImageFilter,
    *,
    model: ModelRef | None,
    cursor: str | None = None,
    limit: int = PAGE_SIZE,
) -> Page[GridRow]:
    """Return one page of the grid. The caller has checked that the project may be seen.

    Raises:
        Invalid: The cursor belongs to another order, or is none.
    """
    limit = max(1, min(limit, MAX_PAGE_SIZE))
    keys = conditions.sort_keys(wanted.sort, model)
    query = _select(session, project_id, wanted, model).order_by(*conditions.ordering(wanted.sort, keys))
    query = query.limit(limit + 1)
    if cursor is not None:
        query = query.where(conditions.beyond(wanted.sort, keys, conditions.position(wanted.sort, cursor)))
    rows = session.execute(query).all()
    items = [_row(row) for row in rows[:limit]]
    if len(rows) <= limit:
        return Page(items, None)
    return Page(items, encode_cursor(*items[-1].place(wanted.sort, model)))


def count_images(
    session: Session,
    project_id: int,
    wanted: ImageFilter,
    *,
    model: ModelRef | None,
    with_predictions: bool = False,
) -> Counts:
    """Count the images by everything the grid is filtered for, in one statement.

    The conditions that have no counts of their own (name, tags, metadata) hold in every count; `app.images.facets`
    applies the others, for which it needs the counts without them as well.

    Args:
        session: The request's session.
        project_id: The project; the caller has checked that it may be seen.
        wanted: The filter.
        model: Whose predictions are meant.
        with_predictions: Count by prediction too, also where no filter asks for it. That joins every image with its
            prediction; without it an index alone answers.
    """
    shown = model if with_predictions or wanted.asks_model else None
    has_shapes = project_service.has_shapes(session, project_id)
    cells = _cells(project_id, wanted, shown, has_shapes=has_shapes)
    tags = (
        select(
            *_nothing("category_id", "shape_classes", "split", "predicted_id"),
            *(literal(value=False) for _ in range(3)),
            ImageTag.tag_id,
            func.count(),
        )
        .join(Image, Image.id == ImageTag.image_id)
        .where(*conditions.where(project_id, wanted, model, has_shapes=has_shapes))
        .group_by(ImageTag.tag_id)
    )
    rows = session.execute(union_all(cells, conditions.with_prediction(tags, wanted, model))).all()
    return Counts(
        cells=tuple(_count(row, has_shapes=has_shapes) for row in rows if row.tag_id is None),
        tags={r.tag_id: r.n for r in rows if r.tag_id is not None},
        has_predictions=shown is not None,
    )


def _count(row: Any, *, has_shapes: bool) -> Count:
    return Count(
        class_ids=classes_of(row),
        has_no_class=row.shape_classes == NOTHING if has_shapes else row.category_id is None,
        split=row.split,
        is_labelled=bool(row.is_labelled),
        predicted_id=row.predicted_id,
        is_wrong=bool(row.is_wrong),
        is_unsure=bool(row.is_unsure),
        n=row.n,
    )


def _cells(project_id: int, wanted: ImageFilter, model: ModelRef | None, *, has_shapes: bool) -> Select:
    base = ImageFilter(tags=wanted.tags, metadata=wanted.metadata, text=wanted.text)
    groups: list[Any] = [Image.category_id, Image.shape_classes, Image.split]
    if model:
        groups += [Prediction.predicted_category_id, Image.is_labelled]
        groups += [conditions.is_wrong(), conditions.is_unsure(model)]
        columns = groups
    else:
        columns = [*groups, *_nothing("predicted_id"), Image.is_labelled, literal(value=False), literal(value=False)]
        groups.append(Image.is_labelled)
    names = ("category_id", "shape_classes", "split", "predicted_id", "is_labelled", "is_wrong", "is_unsure")
    query = select(
        *(column.label(name) for name, column in zip(names, columns, strict=True)),
        *_nothing("tag_id"),
        func.count().label("n"),
    ).where(*conditions.where(project_id, base, model, has_shapes=has_shapes))
    return conditions.with_prediction(query, wanted, model, always=True).group_by(*groups)


def _nothing(*names: str) -> list[Any]:
    """Return typed NULLs: PostgreSQL wants to know the type of a union's column."""
    return [cast(null(), _TEXTS.get(name, Integer)).label(name) for name in names]


def find_first_id(session: Session, project_id: int, wanted: ImageFilter, *, model: ModelRef | None) -> int | None:
    """Return the first image in the order of the filter, or None where nothing matches."""
    keys = conditions.sort_keys(wanted.sort, model)
    query = _select(session, project_id, wanted, model).order_by(*conditions.ordering(wanted.sort, keys)).limit(1)
    row = session.execute(query).first()
    return row.id if row else None


def get_neighbours(
    session: Session,
    project_id: int,
    wanted: ImageFilter,
    *,
    model: ModelRef | None,
    image: "ImageDetail",
    reach: int = 30,
) -> Neighbours:
    """Return up to `reach` images on either side of `image`, and the next unlabelled one.

    Behind the last unlabelled image comes the first again. The image itself need not match the filter (any more): its
    place in the order counts.
    """
    position = image.place(wanted.sort, model)
    keys = conditions.sort_keys(wanted.sort, model)
    fits = _select(session, project_id, wanted, model).where(Image.id != image.id)
    open_ones = fits.where(Image.is_labelled.is_(False))
    forwards = conditions.ordering(wanted.sort, keys)
    backwards = conditions.ordering(wanted.sort, keys, is_backward=True)
    follows = conditions.beyond(wanted.sort, keys, position)
    precedes = conditions.beyond(wanted.sort, keys, position, is_backward=True)
    branches = (
        fits.where(precedes).order_by(*backwards).limit(reach),
        fits.where(follows).order_by(*forwards).limit(reach),
        open_ones.where(follows).order_by(*forwards).limit(1),
        open_ones.order_by(*forwards).limit(1),
    )
    found: list[list[Any]] = [[], [], [], []]
    for row in session.execute(union_all(*(_numbered(branch, n, wanted.sort) for n, branch in enumerate(branches)))):
        found[row.branch].append(row)
    # A union promises no order: `turn` puts each branch back into its own.
    before, after, following, first = (sorted(rows, key=lambda row: row.turn) for rows in found)
    unlabelled = following or first
    return Neighbours(
        before=tuple(_row(row) for row in before),
        after=tuple(_row(row) for row in after),
        next_unlabelled_id=unlabelled[0].id if unlabelled else None,
    )


def _numbered(branch: Select, number: int, sort: Sort) -> Select:
    """Return the rows of a limited select with their place in the order of the filter, ready for a union."""
    inner = branch.subquery()
    keys = [inner.c.sort_key, inner.c.id]
    turn = func.row_number().over(order_by=conditions.ordering(sort, keys))
    return select(*inner.c, literal(number).label("branch"), turn.label("turn"))


@dataclass(frozen=True, slots=True)
class ImageDetail:
    """Everything the panel beside the grid and the Label screen say about one image."""

    id: int
    name: str
    width_px: int
    height_px: int
    format: str
    mode: str
    n_bytes: int
    sha256: str
    split: str | None
    category_id: int | None
    shape_classes: str | None
    is_labelled: bool
    version: int
    labelled_at: datetime | None
    labelled_by: str | None
    uploaded_at: datetime
    uploaded_by: str | None
    predicted_id: int | None
    score: float | None
    ng_score: float | None
    is_wrong: bool
    is_unsure: bool

    def place(self, sort: Sort, model: ModelRef | None) -> list[int | float | str]:
        """Return the image's place in an order, as a cursor holds it."""
        return conditions.place(sort, model, image_id=self.id, name=self.name, score=self.score, ng_score=self.ng_score)


def get_image(session: Session, project_id: int, image_id: int, *, model: ModelRef | None) -> ImageDetail:
    """Return one image with its prediction and the names of who uploaded and labelled it.

    Raises:
        NotFound: The project has no such image, or it was deleted.
    """
    labeler, uploader = User.__table__.alias("labeler"), User.__table__.alias("uploader")
    names: tuple[str, ...] = (
        "id",
        "name",
        "width_px",
        "height_px",
        "format",
        "mode",
        "n_bytes",
        "sha256",
        "split",
        "category_id",
        "shape_classes",
    )
    names += ("is_labelled", "version", "labelled_at", "uploaded_at")
    query = (
        select(
            *(getattr(Image, name) for name in names),
            *conditions.prediction_columns(model),
            labeler.c.name.label("labelled_by"),
            uploader.c.name.label("uploaded_by"),
        )
        .join(labeler, labeler.c.id == Image.labelled_by_id, isouter=True)
        .join(uploader, uploader.c.id == Image.uploaded_by_id, isouter=True)
        .where(Image.id == image_id, Image.project_id == project_id, Image.deleted_at.is_(None))
    )
    row = session.execute(conditions.with_prediction(query, ImageFilter(), model, always=True)).first()
    if row is None:
        raise NotFound("There is no such image in this project. It may have been deleted.")
    return ImageDetail(
        **{name: getattr(row, name) for name in (*names, "labelled_by", "uploaded_by")},
        predicted_id=row.predicted_id,
        score=row.score,
        ng_score=row.ng_score,
        is_wrong=bool(row.is_wrong),
        is_unsure=bool(row.is_unsure),
    )


def get_extras(session: Session, image_id: int) -> tuple[list[int], dict[int, Any]]:
    """Return the tags and the metadata of an image: tag ids, and {field id: value}."""
    values = select(literal("meta").label("kind"), ImageMetadata.field_id.label("key"), ImageMetadata.value)
    tags = select(literal("tag"), ImageTag.tag_id, cast(null(), Json))
    rows = session.execute(
        union_all(values.where(ImageMetadata.image_id == image_id), tags.where(ImageTag.image_id == image_id))
    ).all()
    tag_ids = sorted(row.key for row in rows if row.kind == "tag")
    return tag_ids, {row.key: row.value.get("v") for row in rows if row.kind == "meta"}


def count_by_class(session: Session, project_id: int) -> dict[int | None, int]:
    """Return how many images carry each class; None stands for those without one."""
    live = (Image.project_id == project_id, Image.deleted_at.is_(None))
    by_class: Select = select(Image.category_id, func.count()).where(*live).group_by(Image.category_id)
    if project_service.has_shapes(session, project_id):
        by_class = (
            select(Annotation.category_id, func.count(func.distinct(Annotation.image_id)))
            .join(Image, Image.id == Annotation.image_id)
            .where(*live)
            .group_by(Annotation.category_id)
        )
    return {row[0]: row[1] for row in session.execute(by_class)}


# --- details ---------------------------------------------------------------------------------------------------------


def _select(session: Session, project_id: int, wanted: ImageFilter, model: ModelRef | None) -> Select:
    has_shapes = project_service.has_shapes(session, project_id)
    keys = conditions.sort_keys(wanted.sort, model)
    query = select(
        Image.id,
        Image.name,
        Image.width_px,
        Image.height_px,
        Image.split,
        Image.category_id,
        Image.shape_classes,
        Image.is_labelled,
        *conditions.prediction_columns(model),
        keys[0].label("sort_key"),
    ).where(*conditions.where(project_id, wanted, model, has_shapes=has_shapes))
    return conditions.with_prediction(query, wanted, model, always=True)


def _row(row: Any) -> GridRow:
    return GridRow(
        id=row.id,
        name=row.name,
        width_px=row.width_px,
        height_px=row.height_px,
        split=row.split,
        category_id=row.category_id,
        shape_classes=row.shape_classes,
        is_labelled=bool(row.is_labelled),
        predicted_id=row.predicted_id,
        score=row.score,
        ng_score=row.ng_score,
        is_wrong=bool(row.is_wrong),
        is_unsure=bool(row.is_unsure),
    )
