"""The Models screens: list, report, galleries, one image, and what can be done with a model."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Form, Path, Query, Request, Response
from fastapi.responses import RedirectResponse, StreamingResponse

from app.accounts.permissions import Action, Actor
from app.contracts.bundle import BundleManifest
from app.contracts.tasks import TaskType
from app.core.errors import AppError, NotFound
from app.db.session import new_session
from app.db.tables import Project
from app.projects import service as project_service
from app.registry import boundaries, queries, screens
from app.registry import service as registry_service
from app.registry.heat import HeatSource, NoHeatMap, heat_png
from app.registry.queries import ModelRow
from app.registry.report import marks_of
from app.registry.schemas import UNLABELLED
from app.registry.tables import tables_of
from app.registry.task_screens import SCREENS
from app.web.deps import SessionDep, page_actor
from app.web.problems import wants_partial
from app.web.rendering import render

router = APIRouter(prefix="/projects/{project_id}/models", include_in_schema=False)

Viewer = Annotated[Actor, Depends(page_actor(Action.VIEW))]
Trainer = Annotated[Actor, Depends(page_actor(Action.TRAIN))]
Deleter = Annotated[Actor, Depends(page_actor(Action.DELETE))]

Threshold = Annotated[float | None, Query(ge=0.0, le=1.0, allow_inf_nan=False)]
LabelledSplit = Annotated[str | None, Query(pattern="^(train|dev|test)$")]
AnySplit = Annotated[str | None, Query(pattern="^(train|dev|test|unlabelled)$")]
Which = Annotated[str | None, Query(max_length=20)]
Cursor = Annotated[str | None, Query(max_length=200)]
ImageId = Annotated[int, Path(ge=1, le=2**31 - 1)]
_PICTURE_HEADERS = {"Cache-Control": "private, max-age=3600", "X-Content-Type-Options": "nosniff"}
ClassId = Annotated[int | None, Query(ge=1, le=2**31 - 1)]

_N_REFERENCES = 8  # that the report shows


@router.get("", name="registry.list")
def list_models(
    request: Request, actor: Viewer, session: SessionDep, project_id: int, cursor: Cursor = None
) -> Response:
    project = project_service.get_for(session, actor=actor, project_id=project_id, action=Action.VIEW)
    page = queries.list_models(session, project_id, cursor=cursor)
    return render(
        request,
        "pages/registry/list.html",
        nav="models",
        project=project,
        cards=[screens.card_of(row) for row in page.items],
        next_cursor=page.next_cursor,
        is_first=cursor is None,
    )


@router.get("/compare", name="registry.compare")
def compare(
    request: Request,
    actor: Viewer,
    session: SessionDep,
    project_id: int,
    a: UUID | None = None,
    b: UUID | None = None,
    model: Annotated[list[UUID] | None, Query(max_length=20)] = None,
    split: LabelledSplit = None,
    cell: Annotated[str | None, Query(max_length=20)] = None,
    cursor: Cursor = None,
) -> Response:
    """Answer two models on the same images; without two, the choice of them. `model` is what the list's form sends."""
    project = project_service.get_for(session, actor=actor, project_id=project_id, action=Action.VIEW)
    # The list shows the newest first; read from its end, A is the older one and B what came after.
    ticked = [choice for choice in reversed(model or []) if choice not in {a, b}]
    a = a or (ticked.pop(0) if ticked else None)
    b = b or (ticked.pop(0) if ticked else None)
    rows = screens.in_order(
        queries.find_models(session, project_id, [i for i in (a, b) if i]), [i for i in (a, b) if i]
    )
    context: dict[str, Any] = {"nav": "models", "project": project, "a": a, "b": b}
    if len(rows) < 2 or a == b:
        choices = queries.names_of_models(session, project_id)
        return render(
            request, "pages/registry/choose.html", choices=choices, is_same=a is not None and a == b, **context
        )
    kind = SCREENS[TaskType(project.task)]
    view = kind.comparison(session, project_id, rows, split=split, cell=cell, cursor=cursor)
    if wants_partial(request) and cursor is not None:
        return render(request, "partials/registry/_pairs.html", view=view, **context)
    return render(request, "pages/registry/compare.html", view=view, **context)


@router.get("/{model_id}", name="registry.show")
def show(
    request: Request,
    actor: Viewer,
    session: SessionDep,
    project_id: int,
    model_id: UUID,
    split: LabelledSplit = None,
    threshold: Threshold = None,
    which: Which = None,
) -> Response:
    """Answer the report; to htmx, only what the threshold changes."""
    project, row, manifest = _subject(session, actor, project_id, model_id)
    report, gallery = SCREENS[manifest.task].report(
        session,
        project_id,
        row,
        manifest,
        split=split,
        threshold=row.model.threshold if threshold is None else threshold,
        which=which,
    )
    context: dict[str, Any] = {
        "project": project,
        "head": row.head,
        "report": report,
        "gallery": gallery,
        "has_heat": manifest.heat_name is not None,
        "boundaries": boundaries.kinds_of(manifest.task),
    }
    if wants_partial(request):
        return render(request, report.template, **context)
    return render(
        request,
        "pages/registry/show.html",
        nav="models",
        lineage=screens.lineage_facts(row, manifest),
        references=sorted(manifest.reference.pictures.items())[:_N_REFERENCES] if manifest.reference else [],
        parity=manifest.parity,
        parity_other=manifest.parity_other,
        tables=tables_of(row.model.tables),
        **context,
    )


@router.get("/{model_id}/images", name="registry.images")
def images(
    request: Request,
    actor: Viewer,
    session: SessionDep,
    project_id: int,
    model_id: UUID,
    split: AnySplit = None,
    threshold: Threshold = None,
    which: Which = None,
    true: ClassId = None,
    predicted: ClassId = None,
    cursor: Cursor = None,
) -> Response:
    """Answer a gallery: a pile of the report, one cell of its confusion matrix, or the images without a label.

    To htmx, with a cursor, only the next images.
    """
    project, row, manifest = _subject(session, actor, project_id, model_id)
    threshold = row.model.threshold if threshold is None else threshold
    view = SCREENS[manifest.task].gallery(
        session,
        project_id,
        row,
        manifest,
        split=split,
        threshold=threshold,
        which=which,
        true=true,
        predicted=predicted,
        cursor=cursor,
    )
    context: dict[str, Any] = {
        "project": project,
        "head": row.head,
        "gallery": view.page,
        "state": {
            "split": view.split,
            "threshold": threshold,
            "which": view.which,
            "true": true,
            "predicted": predicted,
        },
        "has_heat": manifest.heat_name is not None,
        "boundaries": boundaries.kinds_of(manifest.task) if view.split != UNLABELLED else (),
    }
    if wants_partial(request) and cursor is not None:
        return render(request, "partials/registry/_tiles.html", **context)
    marks = {mark.id: mark for mark in marks_of(manifest)}
    return render(
        request,
        "pages/registry/images.html",
        nav="models",
        true_mark=marks.get(true) if true is not None else None,
        predicted_mark=marks.get(predicted) if predicted is not None else None,
        marks=list(marks.values()),
        title=view.title,
        hint=view.hint,
        empty_text=view.empty,
        is_unlabelled=view.split == UNLABELLED,
        n_by_split=view.n_by_split,
        **context,
    )


@router.get("/{model_id}/images/{image_id}", name="registry.image")
def image(
    request: Request,
    actor: Viewer,
    session: SessionDep,
    project_id: int,
    model_id: UUID,
    image_id: ImageId,
    threshold: Threshold = None,
) -> Response:
    """Answer one image with every score, or every shape."""
    project, row, manifest = _subject(session, actor, project_id, model_id)
    threshold = row.model.threshold if threshold is None else threshold
    found = SCREENS[manifest.task].find_image_view(
        session, project_id, row, manifest, image_id=image_id, threshold=threshold
    )
    if found is None:
        raise NotFound("This model has said nothing of that image.")
    return render(
        request,
        found.template,
        nav="models",
        project=project,
        head=row.head,
        view=found,
        threshold=threshold,
        has_heat=manifest.heat_name is not None,
        boundaries=boundaries.kinds_of(manifest.task) if found.split else (),
        is_partial=wants_partial(request),
    )


@router.get("/{model_id}/heat/{image_id}.png", name="registry.heat")
def heat(actor: Viewer, project_id: int, model_id: UUID, image_id: ImageId) -> Response:
    """Answer where the model sees a defect, as a transparent picture of the image's shape."""
    with new_session() as session:  # closed before the work: a map takes longer than a connection should wait
        source = _heat_source(session, actor, project_id, model_id, image_id)
    return Response(heat_png(source), media_type="image/png", headers=_PICTURE_HEADERS)


@router.get("/{model_id}/boundaries/{image_id}.svg", name="registry.boundaries")
def boundaries_of_image(
    actor: Viewer,
    session: SessionDep,
    project_id: int,
    model_id: UUID,
    image_id: ImageId,
    threshold: Threshold = None,
) -> Response:
    """Answer where the found regions of a labelled image and its drawn ones part, as outlines of the image's shape."""
    _, model = registry_service.get_for(session, actor=actor, project_id=project_id, model_id=model_id)
    manifest = registry_service.manifest_of(model)
    found = queries.images_with_shapes(session, project_id, model_id, [image_id]).get(image_id)
    if not boundaries.kinds_of(manifest.task) or found is None or found[1].split is None:
        raise NotFound("This model marks no pixels on that image, or nobody had labelled it.")
    fact, said = found
    svg = boundaries.boundaries_svg(
        manifest,
        said.drawn,
        said.shapes,
        size=(fact.width_px, fact.height_px),
        threshold=model.threshold if threshold is None else threshold,
    )
    return Response(svg, media_type="image/svg+xml", headers=_PICTURE_HEADERS)


def _heat_source(session: SessionDep, actor: Actor, project_id: int, model_id: UUID, image_id: int) -> HeatSource:
    _, model = registry_service.get_for(session, actor=actor, project_id=project_id, model_id=model_id)
    found = queries.find_prediction(session, project_id=project_id, model_id=model_id, image_id=image_id)
    if found is None:
        raise NoHeatMap("This model has said nothing of that image.")
    picture, prediction = found
    return HeatSource(
        project_id=project_id,
        model_id=model_id,
        bundle_key=model.bundle_key,
        manifest=registry_service.manifest_of(model),
        sha256=picture.sha256,
        blob_key=picture.blob_key,
        width_px=picture.width_px,
        height_px=picture.height_px,
        scores=prediction.scores,
    )


@router.post("/{model_id}/rename", name="registry.rename")
def rename(
    request: Request,
    actor: Trainer,
    session: SessionDep,
    project_id: int,
    model_id: UUID,
    name: Annotated[str, Form(max_length=1000)],
) -> Response:
    try:
        registry_service.rename_model(session, actor=actor, project_id=project_id, model_id=model_id, name=name)
    except AppError as error:
        if error.status not in {409, 422}:
            raise
        project, row, _ = _subject(session, actor, project_id, model_id)
        return render(
            request,
            "pages/registry/rename.html",
            status=error.status,
            nav="models",
            project=project,
            head=row.head,
            name=name,
            problem=error.detail,
        )
    return RedirectResponse(f"/projects/{project_id}/models/{model_id}", status_code=303)


@router.get("/{model_id}/rename", name="registry.rename_form")
def rename_form(request: Request, actor: Trainer, session: SessionDep, project_id: int, model_id: UUID) -> Response:
    project, row, _ = _subject(session, actor, project_id, model_id)
    return render(
        request,
        "pages/registry/rename.html",
        nav="models",
        project=project,
        head=row.head,
        name=row.head.name,
        problem=None,
    )


@router.post("/{model_id}/delete", name="registry.delete")
def delete(actor: Deleter, session: SessionDep, project_id: int, model_id: UUID) -> Response:
    registry_service.delete_model(session, actor=actor, project_id=project_id, model_id=model_id)
    return RedirectResponse(f"/projects/{project_id}/models", status_code=303)


@router.get("/{model_id}/bundle.zip", name="registry.bundle")
def bundle(actor: Viewer, session: SessionDep, project_id: int, model_id: UUID) -> Response:
    """Answer the model's files: ONNX and manifest."""
    _, model = registry_service.get_for(session, actor=actor, project_id=project_id, model_id=model_id)
    return zip_response(model.id, registry_service.bundle_zip(model))


def zip_response(model_id: UUID, pieces: Any) -> StreamingResponse:
    return StreamingResponse(
        pieces,
        media_type="application/zip",
        headers={"Content-Disposition": f'attachment; filename="kizu-model-{model_id}.zip"'},
    )


def _subject(
    session: SessionDep, actor: Actor, project_id: int, model_id: UUID
) -> tuple[Project, ModelRow, BundleManifest]:
    """Return what every page of a model needs, in two statements. Raises `NotFound`."""
    project = project_service.get_for(session, actor=actor, project_id=project_id, action=Action.VIEW)
    row = queries.find_model(session, project_id, model_id)
    if row is None:
        raise NotFound("There is no such model in this project.")
    return project, row, registry_service.manifest_of(row.model)
