"""What the Data screen's templates are given."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from fastapi import Request
from sqlalchemy.orm import Session

from app.accounts.permissions import Action, Actor
from app.annotations.shapes import classes_of
from app.contracts.tasks import TaskType
from app.core.ids import new_uuid
from app.db.tables import Project
from app.images import facets, growing, queries, vocabulary
from app.images.facets import Facets
from app.images.filters import ImageFilter
from app.images.queries import GridRow, ImageDetail
from app.images.vocabulary import ClassRef, FieldRef, ModelRef, TagRef, Vocabulary
from app.projects import service as project_service
from app.projects.palette import CATEGORY_COLORS

NOTHING_COLOR = CATEGORY_COLORS[-1]  # grey
_MOST_NAMED = 2  # classes that a tile names


@dataclass(frozen=True, slots=True)
class Links:
    """Addresses of one project's images, made once a page instead of once a tile."""

    project: str

    @classmethod
    def of(cls, request: Request, project_id: int) -> "Links":
        data = str(request.app.url_path_for("images.data", project_id=project_id))
        return cls(data.removesuffix("/data"))

    def data(self, wanted: ImageFilter, *, image_id: int | None = None) -> str:
        return f"{self.project}/data{wanted.query(image=image_id)}"

    def more(self, wanted: ImageFilter, cursor: str) -> str:
        return f"{self.project}/data/more{wanted.query(cursor=cursor)}"

    def label(self, wanted: ImageFilter, image_id: int | None = None) -> str:
        return f"{self.project}/label{wanted.query(image=image_id)}"

    def show(self, wanted: ImageFilter, image_id: int) -> str:
        return f"{self.project}/images/{image_id}{wanted.query()}"

    def thumb(self, image_id: int) -> str:
        return f"{self.project}/images/{image_id}/thumb"

    def view(self, image_id: int) -> str:
        return f"{self.project}/images/{image_id}/view"

    def file(self, image_id: int) -> str:
        return f"{self.project}/images/{image_id}/file"

    def heat(self, model_id: UUID, image_id: int) -> str:
        return f"{self.project}/models/{model_id}/heat/{image_id}.png"


@dataclass(frozen=True, slots=True)
class Tile:
    """One image of the grid, as the macro `tile` takes it."""

    id: int
    name: str
    width_px: int
    height_px: int
    split: str | None
    category: tuple[str, str] | None
    predicted: tuple[str, str, float] | None
    is_wrong: bool
    is_unsure: bool
    href: str
    open_href: str
    thumb: str


@dataclass(frozen=True, slots=True)
class Grid:
    """One page of tiles, and where the next one is."""

    tiles: tuple[Tile, ...]
    more: str | None


@dataclass(frozen=True, slots=True)
class Detail:
    """The panel of one image."""

    image: ImageDetail
    category: ClassRef | None
    classes: tuple[ClassRef, ...]
    predicted: ClassRef | None
    tags: tuple[TagRef, ...]
    other_tags: tuple[TagRef, ...]
    metadata: tuple[tuple[FieldRef, object], ...]
    heat: str | None
    notice: str | None = None


@dataclass(frozen=True, slots=True)
class Browse:
    """The whole screen. `stamp` differs from one answer to the next."""

    project: Project
    wanted: ImageFilter
    vocabulary: Vocabulary
    facets: Facets
    grid: Grid
    links: Links
    detail: Detail | None
    stamp: str

    @property
    def grows_into(self) -> frozenset[TaskType]:
        """The types of project that its images may become those of."""
        return growing.tasks_from(TaskType(self.project.task))


def tile_of(row: GridRow | ImageDetail, words: Vocabulary, links: Links, wanted: ImageFilter) -> Tile:
    predicted = words.find_class(row.predicted_id)
    return Tile(
        id=row.id,
        name=row.name,
        width_px=row.width_px,
        height_px=row.height_px,
        split=row.split,
        category=label_of(row, words),
        predicted=(predicted.name, predicted.color, row.score or 0.0) if predicted else None,
        is_wrong=row.is_wrong,
        is_unsure=row.is_unsure,
        href=links.label(wanted, row.id),
        open_href=links.show(wanted, row.id),
        thumb=links.thumb(row.id),
    )


def label_of(row: GridRow | ImageDetail, words: Vocabulary) -> tuple[str, str] | None:
    """Return what an image is labelled with in a few words, and the colour of its first class; None unlabelled."""
    held = [one for one in words.classes if one.id in classes_of(row)]
    if not held:
        return ("nothing", NOTHING_COLOR) if row.shape_classes is not None else None
    more = f" + {len(held) - _MOST_NAMED}" if len(held) > _MOST_NAMED else ""
    return ", ".join(one.name for one in held[:_MOST_NAMED]) + more, held[0].color


def load_grid(
    session: Session,
    project_id: int,
    wanted: ImageFilter,
    words: Vocabulary,
    links: Links,
    *,
    cursor: str | None = None,
    n_tiles: int = queries.PAGE_SIZE,
) -> Grid:
    """Return one page of tiles. Raises `Invalid` where the cursor belongs to another order."""
    page = queries.list_images(session, project_id, wanted, model=words.model, cursor=cursor, limit=n_tiles)
    return Grid(
        tiles=tuple(tile_of(row, words, links, wanted) for row in page.items),
        more=links.more(wanted, page.next_cursor) if page.next_cursor else None,
    )


def load_detail(
    session: Session, project_id: int, image_id: int, words: Vocabulary, links: Links, *, notice: str | None = None
) -> Detail:
    """Return the panel of an image. Raises `NotFound` where the project has no such image."""
    image = queries.get_image(session, project_id, image_id, model=words.model)
    tag_ids, values = queries.get_extras(session, image_id)
    return Detail(
        image=image,
        category=words.find_class(image.category_id),
        classes=tuple(one for one in words.classes if one.id in classes_of(image)),
        predicted=words.find_class(image.predicted_id),
        tags=tuple(tag for tag in words.tags if tag.id in tag_ids),
        other_tags=tuple(tag for tag in words.tags if tag.id not in tag_ids),
        metadata=tuple((field, values.get(field.id)) for field in words.fields),
        heat=heat_of(image, words.model, links),
        notice=notice,
    )


def heat_of(image: ImageDetail, model: ModelRef | None, links: Links) -> str | None:
    """Return the address of the image's heat map, None where no model has said anything of it."""
    if model is None or not model.has_heat or image.predicted_id is None:
        return None
    return links.heat(model.id, image.id)


def load_browse(
    request: Request,
    session: Session,
    project: Project,
    wanted: ImageFilter,
    *,
    image_id: int | None = None,
    n_tiles: int = queries.PAGE_SIZE,
) -> Browse:
    """Return the whole screen: vocabulary, `n_tiles` images, counts, the open image. The caller checked the project."""
    words = vocabulary.load(session, project.id, model_id=wanted.model_id)
    links = Links.of(request, project.id)
    counts = queries.count_images(session, project.id, wanted, model=words.model)
    return Browse(
        project=project,
        wanted=wanted,
        vocabulary=words,
        facets=facets.build(wanted, counts, words),
        grid=load_grid(session, project.id, wanted, words, links, n_tiles=n_tiles),
        links=links,
        detail=load_detail(session, project.id, image_id, words, links) if image_id else None,
        stamp=new_uuid().hex[:8],
    )


def permissions(actor: Actor) -> dict[str, Any]:
    """Return what the screen may offer this person; the routes check it again."""
    return {
        "may_label": actor.may(Action.LABEL),
        "may_edit": actor.may(Action.EDIT),
        "may_delete": actor.may(Action.DELETE),
        "may_upload": actor.may(Action.UPLOAD),
        "new_tasks": sorted(project_service.SUPPORTED_TASKS) if actor.may(Action.CREATE_PROJECT) else [],
    }
