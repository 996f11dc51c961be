"""REST: models, their figures and what they say of each image."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response

from app.accounts.permissions import Action, Actor
from app.contracts.bundle import BundleManifest
from app.contracts.predictions import PredictedShape
from app.db.tables import ModelVersion, Prediction
from app.images.schemas import Data, PageOf
from app.projects import service as project_service
from app.registry import queries
from app.registry import service as registry_service
from app.registry.pages import zip_response
from app.registry.schemas import (
    DownloadIn,
    DownloadOut,
    FoundOut,
    ModelOut,
    PredictionOut,
    SplitConfusion,
    SplitMetrics,
)
from app.registry.wire_figures import FIGURES
from app.settings import get_settings
from app.web.deps import SessionDep, api_actor
from app.web.openapi import PROBLEMS

router = APIRouter(prefix="/v1/projects/{project_id}", tags=["registry"], responses=PROBLEMS)

Viewer = Annotated[Actor, Depends(api_actor(Action.VIEW))]
Deleter = Annotated[Actor, Depends(api_actor(Action.DELETE))]
CursorParam = Annotated[str | None, Query(max_length=500, description="`nextCursor` of the page before")]


@router.get("/models", name="v1.models.list")
def list_models(
    actor: Viewer,
    session: SessionDep,
    project_id: int,
    cursor: CursorParam = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> PageOf[ModelOut]:
    """List the models of a project, the newest first."""
    project_service.get_for(session, actor=actor, project_id=project_id, action=Action.VIEW)
    page = queries.list_models(session, project_id, cursor=cursor, limit=limit)
    return PageOf(data=[_model_out(row.model) for row in page.items], next_cursor=page.next_cursor)


@router.get("/models/{model_id}", name="v1.models.show")
def show_model(actor: Viewer, session: SessionDep, project_id: int, model_id: UUID) -> Data[ModelOut]:
    """Return one model with its figures at the default threshold."""
    _, model = registry_service.get_for(session, actor=actor, project_id=project_id, model_id=model_id)
    return Data(data=_model_out(model))


@router.delete("/models/{model_id}", name="v1.models.delete", status_code=204)
def delete_model(actor: Deleter, session: SessionDep, project_id: int, model_id: UUID) -> Response:
    """Remove a model with its predictions and files. One that a deployment serves answers 409."""
    registry_service.delete_model(session, actor=actor, project_id=project_id, model_id=model_id)
    return Response(status_code=204)


@router.post("/models/{model_id}/download", name="v1.models.download")
def download_model(
    request: Request,
    actor: Viewer,
    session: SessionDep,
    project_id: int,
    model_id: UUID,
    body: DownloadIn | None = None,
) -> Data[DownloadOut]:
    """Say where the model's bundle (ONNX and manifest, zipped) is fetched, with the same key."""
    _, model = registry_service.get_for(session, actor=actor, project_id=project_id, model_id=model_id)
    base = (get_settings().public_url or str(request.base_url)).rstrip("/")
    threshold = model.threshold if body is None or body.threshold is None else body.threshold
    url = f"{base}/v1/projects/{project_id}/models/{model_id}/bundle.zip"
    return Data(data=DownloadOut(download_url=url, threshold=threshold))


@router.get("/models/{model_id}/bundle.zip", name="v1.models.bundle", response_class=Response)
def bundle(actor: Viewer, session: SessionDep, project_id: int, model_id: UUID) -> Response:
    """Answer the model's files as a zip archive."""
    _, model = registry_service.get_for(session, actor=actor, project_id=project_id, model_id=model_id)
    return zip_response(model.id, registry_service.bundle_zip(model))


@router.get("/models/{model_id}/predictions", name="v1.models.predictions")
def list_predictions(
    actor: Viewer,
    session: SessionDep,
    project_id: int,
    model_id: UUID,
    split: Annotated[str | None, Query(pattern="^(train|dev|test|unlabelled)$")] = None,
    cursor: CursorParam = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> PageOf[PredictionOut]:
    """List what a model says of each image of its project, at its default threshold."""
    _, model = registry_service.get_for(session, actor=actor, project_id=project_id, model_id=model_id)
    page = queries.list_predictions(session, model_id, split=split, cursor=cursor, limit=limit)
    manifest = registry_service.manifest_of(model)
    return PageOf(data=[_prediction_out(row, manifest) for row in page.items], next_cursor=page.next_cursor)


@router.get("/train/{training_id}/results/metrics", name="v1.train.metrics")
def training_metrics(
    actor: Viewer, session: SessionDep, project_id: int, training_id: UUID
) -> Data[list[SplitMetrics]]:
    """Return performance (F1), recall and precision of each split and class, at the model's threshold."""
    model = registry_service.get_for_job(session, actor=actor, project_id=project_id, job_id=training_id)
    manifest = registry_service.manifest_of(model)
    return Data(data=FIGURES[manifest.task].metrics(session, model, manifest))


@router.get("/train/{training_id}/results/confusion-matrix", name="v1.train.confusion")
def training_confusion(
    actor: Viewer, session: SessionDep, project_id: int, training_id: UUID
) -> Data[list[SplitConfusion]]:
    """Return how many images, or shapes, of each class got which answer, by split, at the model's threshold."""
    model = registry_service.get_for_job(session, actor=actor, project_id=project_id, job_id=training_id)
    manifest = registry_service.manifest_of(model)
    return Data(data=FIGURES[manifest.task].confusion(session, model, manifest))


def _model_out(model: ModelVersion) -> ModelOut:
    return ModelOut(
        id=model.id,
        name=model.name,
        training_id=model.job_id,
        dataset_version_id=model.dataset_version_id,
        created_at=model.created_at,
        threshold=model.threshold,
        backbone=str((model.manifest.get("lineage") or {}).get("backbone", "")),
        size_bytes=model.n_bytes,
        metrics=model.metrics,
    )


def _prediction_out(row: Prediction, manifest: BundleManifest) -> PredictionOut:
    ids = [category.id for category in manifest.categories]
    names = ["OK", "NG"] if manifest.task.has_shapes else [str(one) for one in ids]
    return PredictionOut(
        image_id=row.image_id,
        split=row.split,
        ground_truth_class_id=row.true_category_id,
        predicted_class_id=row.predicted_category_id,
        score=row.score,
        ng_score=row.ng_score,
        is_wrong=row.is_wrong,
        scores=dict(zip(names, row.scores, strict=True)),
        shapes=None if row.shapes is None else [_found_out(one, ids, row.split) for one in row.shapes],
    )


def _found_out(stored: dict[str, Any], ids: list[int], split: str | None) -> FoundOut:
    shape = PredictedShape.model_validate(stored)
    return FoundOut(
        class_id=ids[shape.category_index],
        score=shape.score,
        box=shape.box,
        mask=shape.mask,
        is_right=None if split is None else stored.get("own") is not None,
    )
