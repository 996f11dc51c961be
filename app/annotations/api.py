"""REST: every label of an image, read, replaced and deleted."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel
from sqlalchemy.orm import Session

from app.accounts.permissions import Action, Actor
from app.annotations import service as annotation_service
from app.annotations import shapes as shape_service
from app.annotations.schemas import bounded
from app.contracts.dataset import AnnotationValue
from app.contracts.shapes import Box, Mask, Polygon
from app.contracts.tasks import TaskType
from app.core.errors import Invalid
from app.db.tables import Project
from app.projects import service as project_service
from app.web.deps import SessionDep, api_actor
from app.web.openapi import PROBLEMS

router = APIRouter(prefix="/v1/projects/{project_id}/images/{image_id}/labels", tags=["images"], responses=PROBLEMS)

Viewer = Annotated[Actor, Depends(api_actor(Action.VIEW))]
Labeler = Annotated[Actor, Depends(api_actor(Action.LABEL))]
Version = Annotated[int | None, Query(ge=0, le=2**31 - 1, description="Refuse with 409 unless the image still has it")]


class _Wire(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class LabelIn(_Wire):
    """A class by id or by name, with a box, a polygon or a mask where the project's images carry shapes."""

    class_id: int | None = None
    class_name: str | None = Field(default=None, max_length=200)
    box: Box | None = None
    polygon: Polygon | None = None
    mask: Mask | None = None


class LabelsIn(_Wire):
    """All labels of an image."""

    labels: Annotated[list[LabelIn], BeforeValidator(bounded)]
    nothing_to_label: bool = Field(default=False, description="A person looked, and there is nothing to mark")
    version: int | None = Field(default=None, ge=0, le=2**31 - 1, description="Refuse with 409 unless still the same")


class LabelOut(_Wire):
    class_id: int
    class_name: str
    box: Box | None = None
    polygon: Polygon | None = None
    mask: Mask | None = None


class LabelsOut(_Wire):
    """What a person said of an image; coordinates are pixels of the picture after its EXIF turn."""

    image_id: int
    width: int
    height: int
    version: int = Field(description="Grows with each change of the labels")
    is_labelled: bool
    nothing_to_label: bool
    labelled_at: datetime | None
    labelled_by: str | None
    labels: list[LabelOut]


class LabelsAnswer(BaseModel):
    data: LabelsOut


@router.get("", name="api.labels.get")
def get_labels(actor: Viewer, session: SessionDep, project_id: int, image_id: int) -> LabelsAnswer:
    """Return every label of an image: its class, or its boxes, polygons and masks."""
    project_service.get_for(session, actor=actor, project_id=project_id, action=Action.VIEW)
    return _answer(session, project_id, image_id)


@router.put("", name="api.labels.replace")
def replace_labels(actor: Labeler, session: SessionDep, project_id: int, image_id: int, body: LabelsIn) -> LabelsAnswer:
    """Replace every label of an image. No labels, without `nothingToLabel`, makes it unlabelled."""
    project = project_service.get_for(session, actor=actor, project_id=project_id, action=Action.LABEL)
    shape_service.load_shapes(session, project_id=project_id, image_id=image_id)  # 404 before anything of the body
    values = _values(session, project_id, body.labels)
    _replace(session, actor, project, image_id, values, nothing=body.nothing_to_label, version=body.version)
    return _answer(session, project_id, image_id)


@router.delete("", name="api.labels.delete")
def delete_labels(
    actor: Labeler, session: SessionDep, project_id: int, image_id: int, version: Version = None
) -> LabelsAnswer:
    """Take every label from an image; it is unlabelled then."""
    project = project_service.get_for(session, actor=actor, project_id=project_id, action=Action.LABEL)
    _replace(session, actor, project, image_id, [], nothing=False, version=version)
    return _answer(session, project_id, image_id)


# --- details ---------------------------------------------------------------------------------------------------------


def _replace(
    session: Session,
    actor: Actor,
    project: Project,
    image_id: int,
    values: list[AnnotationValue],
    *,
    nothing: bool,
    version: int | None,
) -> None:
    if TaskType(project.task).has_shapes:
        shape_service.set_shapes(
            session,
            actor=actor,
            project_id=project.id,
            image_id=image_id,
            annotations=values,
            nothing_to_label=nothing,
            expected_version=version,
            pointer="/labels",
        )
        return
    if nothing or len(values) > 1 or any(value.shape is not None for value in values):
        raise _invalid("", "Images of this project carry one class each: send one label, without a shape.", "one_class")
    annotation_service.set_class(
        session,
        actor=actor,
        project_id=project.id,
        image_id=image_id,
        category_id=values[0].category_id if values else None,
        expected_version=version,
    )


def _values(session: Session, project_id: int, labels: list[LabelIn]) -> list[AnnotationValue]:
    by_name = {one.name: one.id for one in project_service.list_categories(session, project_id)}
    values = []
    for number, label in enumerate(labels):
        shapes = {kind: shape for kind in ("box", "polygon", "mask") if (shape := getattr(label, kind)) is not None}
        if len(shapes) > 1:
            raise _invalid(f"/{number}", "A label has one shape: a box, a polygon or a mask.", "one_shape")
        if (label.class_id is None) == (label.class_name is None):
            raise _invalid(f"/{number}", "Say the class of each label: `classId` or `className`.", "class")
        category_id = by_name.get(label.class_name) if label.class_name is not None else label.class_id
        if category_id not in by_name.values():
            said = label.class_name if label.class_name is not None else label.class_id
            raise _invalid(f"/{number}", f"The project has no class “{said}”.", "unknown_class")
        values.append(AnnotationValue.model_validate({"category_id": category_id, **shapes}))
    return values


def _answer(session: Session, project_id: int, image_id: int) -> LabelsAnswer:
    found = shape_service.load_shapes(session, project_id=project_id, image_id=image_id)
    names = {one.id: one.name for one in project_service.list_categories(session, project_id)}
    return LabelsAnswer(
        data=LabelsOut(
            image_id=image_id,
            width=found.width_px,
            height=found.height_px,
            version=found.version,
            is_labelled=found.is_labelled,
            nothing_to_label=found.nothing_to_label,
            labelled_at=found.changed_at,
            labelled_by=found.changed_by,
            labels=[
                LabelOut(
                    class_id=value.category_id,
                    class_name=names[value.category_id],
                    box=value.box,
                    polygon=value.polygon,
                    mask=value.mask,
                )
                for value in found.annotations
            ],
        )
    )


def _invalid(where: str, detail: str, code: str) -> Invalid:
    return Invalid(detail, [{"pointer": f"/labels{where}", "detail": detail, "code": code}])
