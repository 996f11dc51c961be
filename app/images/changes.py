"""What the Data screen changes: many images by the bar below the grid, one image in the panel beside it."""

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Query, Request, Response
from fastapi.responses import RedirectResponse
from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from app.accounts.permissions import Action, Actor
from app.annotations import service as annotation_service
from app.contracts.tasks import TaskType
from app.core.errors import Invalid, StaleVersion
from app.db.tables import Image, Project
from app.db.visibility import WITH_DELETED
from app.images import conditions, growing, queries, reversible, views, vocabulary
from app.images import metadata as image_metadata
from app.images import service as image_service
from app.images.filters import ImageFilter, parse_filter
from app.images.service import Selection
from app.images.views import Links
from app.images.vocabulary import Vocabulary
from app.projects import service as project_service
from app.references import service as reference_service
from app.web.deps import SessionDep, page_actor
from app.web.problems import wants_partial
from app.web.rendering import render

router = APIRouter(prefix="/projects/{project_id}", include_in_schema=False)

Labeler = Annotated[Actor, Depends(page_actor(Action.LABEL))]
Editor = Annotated[Actor, Depends(page_actor(Action.EDIT))]
OpenImage = Annotated[int | None, Query(alias="image")]


# --- many images -----------------------------------------------------------------------------------------------------


class BulkChange:
    """One change of many images: what is selected, and the screen that answers it.

    The filter comes from the address that was posted to, so the answer shows the same view, and “all that match” means
    exactly the images that the person was looking at.
    """

    def __init__(
        self,
        request: Request,
        session: Session,
        actor: Actor,
        project_id: int,
        image_ids: list[int] | None,
        everything: bool,
    ) -> None:
        self.request, self.session, self.actor, self.project_id = request, session, actor, project_id
        self._project = project_service.get_for(session, actor=actor, project_id=project_id, action=Action.VIEW)
        self._wanted = parse_filter(request.query_params.multi_items())
        self.words: Vocabulary = vocabulary.load(session, project_id, model_id=self._wanted.model_id)
        if not everything and not image_ids:
            raise Invalid("Select some images first.")
        self.selection: Selection = self._select_ids() if everything else (image_ids or [])

    def first_id(self) -> int | None:
        if isinstance(self.selection, list):
            return self.selection[0]
        return self.session.scalar(self._select_ids().limit(1))

    def _select_ids(self) -> Select:
        return conditions.select_ids(self._project.id, self._wanted, self.words.model, has_shapes=self.words.has_shapes)

    def answer(self, text: str, *, undo: dict[str, object] | None = None) -> Response:
        """Answer with the screen as it is now, and a message that may offer to undo."""
        links = Links.of(self.request, self._project.id)
        if not wants_partial(self.request):
            return RedirectResponse(links.data(self._wanted), status_code=303)
        browse = views.load_browse(
            self.request, self.session, self._project, self._wanted, n_tiles=_n_shown(self.request)
        )
        kind, change = next(iter((undo or {}).items()), (None, None))
        return render(
            self.request,
            "partials/images/_changed.html",
            headers={"HX-Trigger": "grid:clear"},  # what was selected has been dealt with
            project=self._project,
            browse=browse,
            text=text,
            undo_kind=kind if change is not None else None,
            undo_change=change,
            **views.permissions(self.actor),
        )


def _bulk(action: Action) -> Callable[..., BulkChange]:
    """Return the dependency of a route that changes what somebody selected, who may do `action`."""

    def dependency(
        request: Request,
        actor: Annotated[Actor, Depends(page_actor(action))],
        session: SessionDep,
        project_id: int,
        image_id: Annotated[list[int] | None, Form()] = None,
        everything: Annotated[bool, Form()] = False,
    ) -> BulkChange:
        return BulkChange(request, session, actor, project_id, image_id, everything)

    return dependency


LabelBulk = Annotated[BulkChange, Depends(_bulk(Action.LABEL))]
EditBulk = Annotated[BulkChange, Depends(_bulk(Action.EDIT))]
DeleteBulk = Annotated[BulkChange, Depends(_bulk(Action.DELETE))]
GrowBulk = Annotated[BulkChange, Depends(_bulk(Action.CREATE_PROJECT))]


@router.post("/bulk/class", name="images.bulk_class")
def bulk_class(
    bulk: LabelBulk,
    category_id: Annotated[str, Form(max_length=12)] = "",
) -> Response:
    """Give the selected images a class, or none with an empty `category_id`."""
    chosen = _optional_id(category_id)
    n, event_id = annotation_service.bulk_set_class(
        bulk.session, actor=bulk.actor, project_id=bulk.project_id, selection=bulk.selection, category_id=chosen
    )
    found = bulk.words.find_class(chosen)
    what = f"{images_text(n)} labelled {found.name}" if found else f"The class was taken from {images_text(n)}"
    return bulk.answer(what if n else "Nothing to change: they carry this class already", undo={"labels": event_id})


@router.post("/bulk/nothing", name="images.bulk_nothing")
def bulk_nothing(bulk: LabelBulk) -> Response:
    """Say of the selected images that are not labelled yet that there is nothing to mark on them."""
    n, event_id = annotation_service.bulk_nothing_to_label(
        bulk.session, actor=bulk.actor, project_id=bulk.project_id, selection=bulk.selection
    )
    what = f"Nothing to label on {images_text(n)}" if n else "Nothing to change: they are labelled already"
    return bulk.answer(what, undo={"labels": event_id})


@router.post("/bulk/split", name="images.bulk_split")
def bulk_split(
    bulk: EditBulk,
    split: Annotated[str, Form(max_length=5)] = "",
) -> Response:
    """Put the selected images into a split, or out of all with an empty `split`."""
    n, event_id = reversible.set_split(
        bulk.session, actor=bulk.actor, project_id=bulk.project_id, selection=bulk.selection, split=split or None
    )
    what = f"{images_text(n)} moved to {split}" if split else f"{images_text(n)} taken out of the splits"
    return bulk.answer(what if n else "Nothing to change: they are there already", undo={"split": event_id})


@router.post("/bulk/tag", name="images.bulk_tag")
def bulk_tag(
    bulk: LabelBulk,
    tag: Annotated[str, Form(max_length=1000)],
    remove: Annotated[bool, Form()] = False,
) -> Response:
    """Give the selected images a tag by its name, or take it from them."""
    name = project_service.required_name(tag)
    n, event_id = reversible.change_tag(
        bulk.session, actor=bulk.actor, project_id=bulk.project_id, selection=bulk.selection, name=name, add=not remove
    )
    what = f"The tag {name} was taken from {images_text(n)}" if remove else f"{images_text(n)} tagged {name}"
    return bulk.answer(what if n else "Nothing to change", undo={"tag": event_id})


@router.post("/bulk/reference", name="images.bulk_reference")
def bulk_reference(bulk: EditBulk) -> Response:
    """Make the selected images references, which the others are compared with."""
    n = reference_service.mark(bulk.session, actor=bulk.actor, project_id=bulk.project_id, selection=bulk.selection)
    is_one = n == 1
    what = "is a reference image" if is_one else "are reference images"
    return bulk.answer(f"{images_text(n)} {what} now: see References")


@router.post("/bulk/delete", name="images.bulk_delete")
def bulk_delete(bulk: DeleteBulk) -> Response:
    """Delete the selected images; the answer offers to bring them back."""
    one_id = bulk.first_id()
    n = image_service.delete_images(
        bulk.session, actor=bulk.actor, project_id=bulk.project_id, selection=bulk.selection
    )
    moment = bulk.session.scalar(select(Image.deleted_at).where(Image.id == one_id), execution_options=WITH_DELETED)
    return bulk.answer(f"{images_text(n)} deleted", undo={"deleted": moment.isoformat() if moment else None})


@router.post("/bulk/grow", name="images.bulk_grow")
def bulk_grow(
    bulk: GrowBulk,
    name: Annotated[str, Form(max_length=1000)],
    task: Annotated[TaskType, Form()],
) -> Response:
    """Create a project of another type from the selected images, and go there."""
    grown = growing.grow(
        bulk.session, actor=bulk.actor, source_id=bulk.project_id, name=name, task=task, selection=bulk.selection
    )
    address = Links.of(bulk.request, grown.id).data(ImageFilter())
    if wants_partial(bulk.request):
        return Response(headers={"HX-Redirect": address})
    return RedirectResponse(address, status_code=303)


# --- one image -------------------------------------------------------------------------------------------------------


@router.post("/images/{image_id}/class", name="images.set_class")
def set_class(
    request: Request,
    actor: Labeler,
    session: SessionDep,
    project_id: int,
    image_id: int,
    version: Annotated[int, Form()],
    category_id: Annotated[str, Form(max_length=12)] = "",
) -> Response:
    """Label the image in the panel; where somebody was faster, show theirs and say so."""

    def change() -> str | None:
        try:
            annotation_service.set_class(
                session,
                actor=actor,
                project_id=project_id,
                image_id=image_id,
                category_id=_optional_id(category_id),
                expected_version=version,
            )
        except StaleVersion as error:
            return f"{error.detail} This is theirs now."
        return None

    return _edited(request, session, actor, project_id, image_id, change)


@router.post("/images/{image_id}/split", name="images.set_split")
def set_split(
    request: Request,
    actor: Editor,
    session: SessionDep,
    project_id: int,
    image_id: int,
    split: Annotated[str, Form(max_length=5)] = "",
) -> Response:
    def change() -> None:
        image_service.set_split(session, actor=actor, project_id=project_id, selection=[image_id], split=split or None)

    return _edited(request, session, actor, project_id, image_id, change)


@router.post("/images/{image_id}/tags", name="images.set_tags")
def set_tags(
    request: Request,
    actor: Labeler,
    session: SessionDep,
    project_id: int,
    image_id: int,
    add: Annotated[str, Form(max_length=1000)] = "",
    remove: Annotated[int | None, Form()] = None,
) -> Response:
    """Add a tag by its name, or take one away by its id."""

    def change() -> None:
        if remove is not None:
            image_service.remove_tags(
                session, actor=actor, project_id=project_id, selection=[image_id], tag_ids=[remove]
            )
        if add.strip():
            image_service.add_tags(session, actor=actor, project_id=project_id, selection=[image_id], names=[add])

    return _edited(request, session, actor, project_id, image_id, change)


@router.post("/images/{image_id}/metadata", name="images.set_metadata")
def set_metadata(
    request: Request,
    actor: Labeler,
    session: SessionDep,
    project_id: int,
    image_id: int,
    field_id: Annotated[int, Form()],
    value: Annotated[str, Form(max_length=2000)] = "",
) -> Response:
    """Set one metadata field from the text of its input; an empty text takes the value away."""

    def change() -> None:
        field = project_service.get_metadata_field(session, project_id=project_id, field_id=field_id)
        image_metadata.set_metadata(
            session,
            actor=actor,
            project_id=project_id,
            selection=[image_id],
            values={str(field_id): _typed(field.type, field.name, value.strip())},
        )

    return _edited(request, session, actor, project_id, image_id, change)


def _edited(
    request: Request,
    session: Session,
    actor: Actor,
    project_id: int,
    image_id: int,
    change: Callable[[], str | None],
) -> Response:
    """Make a change to one image and answer with its panel and its tile as they are now."""
    wanted: ImageFilter = parse_filter(request.query_params.multi_items())
    project: Project = project_service.get_for(session, actor=actor, project_id=project_id, action=Action.VIEW)
    image_service.get_image(session, actor=actor, project_id=project_id, image_id=image_id, action=Action.VIEW)
    notice = change()
    links = Links.of(request, project_id)
    if not wants_partial(request):
        return RedirectResponse(links.data(wanted, image_id=image_id), status_code=303)
    words = vocabulary.load(session, project_id, model_id=wanted.model_id)
    detail = views.load_detail(session, project_id, image_id, words, links, notice=notice)
    return render(
        request,
        "partials/images/_edited.html",
        project=project,
        wanted=wanted,
        words=words,
        links=links,
        detail=detail,
        tile=views.tile_of(detail.image, words, links, wanted),
        **views.permissions(actor),
    )


# --- details ---------------------------------------------------------------------------------------------------------


def images_text(n: int) -> str:
    return "1 image" if n == 1 else f"{n:,} images"


def _n_shown(request: Request) -> int:
    """Return how many images the grid held when it asked: it gets as many back, and need not jump to its beginning."""
    given = request.headers.get("Kizu-Shown", "")
    is_number = given.isascii() and given.isdigit() and len(given) <= 6
    return min(max(int(given), queries.PAGE_SIZE), queries.MAX_PAGE_SIZE) if is_number else queries.PAGE_SIZE


def _optional_id(given: str) -> int | None:
    """Return the id in a form's field, None for an empty one. Raises `Invalid` for anything else."""
    if not given:
        return None
    if not (given.isascii() and given.isdigit()):
        raise Invalid("Choose one of the classes.")
    return min(int(given), 2**31 - 1)


def _typed(kind: str, name: str, text: str) -> str | float | bool | None:
    """Return a metadata value from what a person typed."""
    if not text:
        return None
    if kind == "boolean":
        if text not in {"true", "false"}:
            raise Invalid(f"“{name}” is yes or no.")
        return text == "true"
    if kind == "number":
        try:
            return float(text) if not text.lstrip("+-").isdigit() else int(text)
        except ValueError as error:
            raise Invalid(f"“{name}” is a number.") from error
    return text
