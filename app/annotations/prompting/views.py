"""What the templates of visual prompting are given."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fastapi import Request
from sqlalchemy.orm import Session

from app.annotations.prompting import masks as mask_service
from app.annotations.prompting import runs
from app.annotations.prompting.masks import PAGE_SIZE, MarkedImage
from app.annotations.prompting.runs import RunState
from app.contracts.shapes import Mask
from app.core.errors import NotFound
from app.db.tables import Category, Image, Project, PromptedMasks
from app.images.views import Links
from app.projects import service as project_service
from app.registry.overlays import OverlayShape, outline

_MOST_DRAWN = 60  # masks of one tile


@dataclass(frozen=True, slots=True)
class Tile:
    """One image of the results. `note` says in a word or two what is on it."""

    id: int
    name: str
    width_px: int
    height_px: int
    href: str
    thumb: str
    overlay: tuple[OverlayShape, ...]
    note: str
    is_painted: bool
    is_labelled: bool


@dataclass(frozen=True, slots=True)
class Results:
    """A page of the results, and where the next one is."""

    tiles: tuple[Tile, ...]
    more: str | None


@dataclass(frozen=True, slots=True)
class FoundOnImage:
    """What the last run found on one image; `is_known` is false where none looked at it."""

    width_px: int
    height_px: int
    overlay: tuple[OverlayShape, ...]
    is_known: bool


@dataclass(frozen=True, slots=True)
class PromptScreen:
    """Everything of the screen for one image."""

    found: FoundOnImage
    image: Image
    view: str
    classes: tuple[Category, ...]
    previous: str | None
    next: str | None
    state: RunState
    results: Results


def load_screen(request: Request, session: Session, project: Project, image_id: int | None) -> PromptScreen | None:
    """Return the screen of an image, by default the first of the results; None where the project has no image.

    Raises:
        NotFound: The project has no such image.
    """
    found = mask_service.list_images(session, project.id)
    if not found:
        return None
    image = session.get(Image, image_id if image_id is not None else found[0].id)
    if image is None or image.project_id != project.id:
        raise NotFound("There is no such image in this project. It may have been deleted.")
    classes = tuple(project_service.list_categories(session, project.id))
    links = Links.of(request, project.id)
    own = mask_service.find_masks(session, project_id=project.id, image_id=image.id)
    ids = [one.id for one in found]
    place = ids.index(image.id) if image.id in ids else -1
    return PromptScreen(
        image=image,
        view=links.view(image.id),
        found=_found(image, own, classes),
        classes=classes,
        previous=_href(links, ids[place - 1]) if place > 0 else None,
        next=_href(links, ids[place + 1]) if place + 1 < len(ids) and ids[place + 1] != image.id else None,
        state=runs.load_state(session, project.id),
        results=_results(found, links, classes, skip=0),
    )


def load_results(request: Request, session: Session, project: Project, *, skip: int) -> Results:
    """Return a page of the results."""
    found = mask_service.list_images(session, project.id, skip=skip)
    classes = project_service.list_categories(session, project.id)
    return _results(found, Links.of(request, project.id), classes, skip=skip)


def load_overlay(session: Session, project: Project, image_id: int) -> FoundOnImage:
    """Return what the last run found on an image. Raises `NotFound` where the project has no such image."""
    image = session.get(Image, image_id)
    if image is None or image.project_id != project.id:
        raise NotFound("There is no such image in this project. It may have been deleted.")
    own = mask_service.find_masks(session, project_id=project.id, image_id=image_id)
    return _found(image, own, project_service.list_categories(session, project.id))


def _found(image: Image, own: PromptedMasks | None, classes: Sequence[Category]) -> FoundOnImage:
    return FoundOnImage(
        image.width_px, image.height_px, overlay_of(own.masks if own else (), classes), is_known=own is not None
    )


def overlay_of(masks: Sequence[Mapping[str, object]], classes: Sequence[Category]) -> tuple[OverlayShape, ...]:
    """Return masks as outlines, the best first; those of classes that are gone are left out."""
    by_id = {category.id: category for category in classes}
    drawn = []
    for one in masks[:_MOST_DRAWN]:
        category = by_id.get(one["category_id"])  # type: ignore[call-overload]
        if category is not None:
            mask = Mask.model_validate(one["mask"])
            drawn.append(outline(category.name, category.color, mask, float(one["score"])))  # type: ignore[arg-type]
    return tuple(drawn)


def _results(found: Sequence[MarkedImage], links: Links, classes: Sequence[Category], *, skip: int) -> Results:
    more = f"{links.project}/prompt/masks?skip={skip + PAGE_SIZE}" if len(found) == PAGE_SIZE else None
    return Results(tuple(_tile(one, links, classes) for one in found), more)


def _tile(one: MarkedImage, links: Links, classes: Sequence[Category]) -> Tile:
    if one.masks is None:
        note = ""
    else:
        note = f"{len(one.masks)} found" if one.masks else "nothing"
    return Tile(
        id=one.id,
        name=one.name,
        width_px=one.width_px,
        height_px=one.height_px,
        href=_href(links, one.id),
        thumb=links.thumb(one.id),
        overlay=overlay_of(one.masks or (), classes),
        note=note,
        is_painted=one.n_strokes > 0,
        is_labelled=one.is_labelled,
    )


def _href(links: Links, image_id: int) -> str:
    return f"{links.project}/prompt?image={image_id}"
