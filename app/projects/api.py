"""REST: projects, classes, tags, metadata fields."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends

from app.accounts.permissions import Action, Actor
from app.core.errors import Invalid
from app.images import growing
from app.projects import service as project_service
from app.projects.schemas import (
    ActiveIn,
    CategoryChange,
    CategoryIn,
    GrowIn,
    MetadataFieldChange,
    MetadataFieldIn,
    ProjectChange,
    ProjectIn,
    TagIn,
    category_out,
    metadata_field_out,
    project_out,
    tag_out,
)
from app.web.deps import SessionDep, api_actor
from app.web.openapi import PROBLEMS

router = APIRouter(prefix="/v1/projects", tags=["projects"], responses=PROBLEMS)

Viewer = Annotated[Actor, Depends(api_actor(Action.VIEW))]
Editor = Annotated[Actor, Depends(api_actor(Action.EDIT))]
Maker = Annotated[Actor, Depends(api_actor(Action.CREATE_PROJECT))]


@router.get("", name="v1.projects.list")
def list_projects(actor: Viewer, session: SessionDep) -> dict[str, Any]:
    """List the projects that the key may see, the last changed first."""
    return {"data": [project_out(project) for project in project_service.list_projects(session, actor=actor)]}


@router.post("", name="v1.projects.create", status_code=201)
def create_project(actor: Maker, session: SessionDep, body: ProjectIn) -> dict[str, Any]:
    """Create an empty project."""
    project = project_service.create_project(session, actor=actor, name=body.name, task=body.project_type)
    return {"data": project_out(project)}


@router.get("/{project_id}", name="v1.projects.show")
def show_project(actor: Viewer, session: SessionDep, project_id: int) -> dict[str, Any]:
    """Return one project."""
    project = project_service.get_for(session, actor=actor, project_id=project_id, action=Action.VIEW)
    return {"data": project_out(project)}


@router.put("/{project_id}", name="v1.projects.rename")
def rename_project(actor: Editor, session: SessionDep, project_id: int, body: ProjectChange) -> dict[str, Any]:
    """Rename a project."""
    project = project_service.rename_project(session, actor=actor, project_id=project_id, name=body.name)
    return {"data": project_out(project)}


@router.put("/{project_id}/active", name="v1.projects.set_active")
def set_active(actor: Editor, session: SessionDep, project_id: int, body: ActiveIn) -> dict[str, Any]:
    """Mark a project active or not."""
    project = project_service.set_active(session, actor=actor, project_id=project_id, is_active=body.is_active)
    return {"data": project_out(project)}


@router.delete("/{project_id}", name="v1.projects.delete")
def delete_project(actor: Maker, session: SessionDep, project_id: int) -> dict[str, Any]:
    """Hide a project and everything in it."""
    project_service.delete_project(session, actor=actor, project_id=project_id)
    return {"data": {"id": project_id}}


@router.post("/{project_id}/grow", name="v1.projects.grow", status_code=201)
def grow_project(actor: Maker, session: SessionDep, project_id: int, body: GrowIn) -> dict[str, Any]:
    """Create a project of another type from images of this one, without copying them."""
    project_service.get_for(session, actor=actor, project_id=project_id, action=Action.CREATE_PROJECT)
    if not body.all_media and not body.media_ids:
        raise Invalid("Name the images: send `mediaIds`, or `allMedia`: true.")
    grown = growing.grow(
        session,
        actor=actor,
        source_id=project_id,
        name=body.name,
        task=body.project_type,
        selection=None if body.all_media else body.media_ids,
    )
    return {"data": project_out(grown)}


# --- classes ---------------------------------------------------------------------------------------------------------


@router.get("/{project_id}/classes", name="v1.classes.list", tags=["classes"])
def list_classes(actor: Viewer, session: SessionDep, project_id: int) -> dict[str, Any]:
    """List the classes, in the order of their index."""
    project_service.get_for(session, actor=actor, project_id=project_id, action=Action.VIEW)
    return {"data": [category_out(c) for c in project_service.list_categories(session, project_id)]}


@router.post("/{project_id}/classes", name="v1.classes.create", tags=["classes"], status_code=201)
def create_classes(
    actor: Editor,
    session: SessionDep,
    project_id: int,
    body: Annotated[dict[str, CategoryIn], Body(examples=[{"0": {"name": "scratch", "color": "#d55e00"}}])],
) -> dict[str, Any]:
    """Add classes, given by their index as text. They are added in the order of the indices, after those that exist."""
    if not body or not all(index.isascii() and index.isdigit() and len(index) < 6 for index in body):
        detail = 'Give the classes by index: {"0": {"name": …}}.'
        raise Invalid(detail, [{"pointer": "/", "detail": detail, "code": "index"}])
    created = [
        project_service.create_category(session, actor=actor, project_id=project_id, **body[index].model_dump())
        for index in sorted(body, key=int)
    ]
    return {"data": [category_out(category) for category in created]}


@router.put("/{project_id}/classes/{class_id}", name="v1.classes.update", tags=["classes"])
def update_class(
    actor: Editor, session: SessionDep, project_id: int, class_id: int, body: CategoryChange
) -> dict[str, Any]:
    """Change the name, colour, description or good mark of a class."""
    category = project_service.update_category(
        session, actor=actor, project_id=project_id, category_id=class_id, **body.model_dump()
    )
    return {"data": category_out(category)}


@router.delete("/{project_id}/classes/{class_id}", name="v1.classes.delete", tags=["classes"])
def delete_class(actor: Editor, session: SessionDep, project_id: int, class_id: int) -> dict[str, Any]:
    """Remove a class that no image carries; 409 while one does."""
    project_service.delete_category(session, actor=actor, project_id=project_id, category_id=class_id)
    return {"data": {"id": class_id}}


# --- tags ------------------------------------------------------------------------------------------------------------


@router.get("/{project_id}/tags", name="v1.tags.list", tags=["tags"])
def list_tags(actor: Viewer, session: SessionDep, project_id: int) -> dict[str, Any]:
    """List the tags, by name."""
    project_service.get_for(session, actor=actor, project_id=project_id, action=Action.VIEW)
    return {"data": [tag_out(tag) for tag in project_service.list_tags(session, project_id)]}


@router.post("/{project_id}/tags", name="v1.tags.create", tags=["tags"], status_code=201)
def create_tag(actor: Editor, session: SessionDep, project_id: int, body: TagIn) -> dict[str, Any]:
    """Add a tag."""
    tag = project_service.create_tag(session, actor=actor, project_id=project_id, name=body.name)
    return {"data": tag_out(tag)}


@router.post("/{project_id}/tags/{tag_id}", name="v1.tags.update", tags=["tags"])
def update_tag(actor: Editor, session: SessionDep, project_id: int, tag_id: int, body: TagIn) -> dict[str, Any]:
    """Rename a tag."""
    tag = project_service.rename_tag(session, actor=actor, project_id=project_id, tag_id=tag_id, name=body.name)
    return {"data": tag_out(tag)}


@router.delete("/{project_id}/tags/{tag_id}", name="v1.tags.delete", tags=["tags"])
def delete_tag(actor: Editor, session: SessionDep, project_id: int, tag_id: int) -> dict[str, Any]:
    """Remove a tag from the project and from its images."""
    project_service.delete_tag(session, actor=actor, project_id=project_id, tag_id=tag_id)
    return {"data": {"id": tag_id}}


# --- metadata fields -------------------------------------------------------------------------------------------------


@router.get("/{project_id}/metadata", name="v1.metadata.list", tags=["metadata"])
def list_metadata_fields(actor: Viewer, session: SessionDep, project_id: int) -> dict[str, Any]:
    """List the metadata fields."""
    project_service.get_for(session, actor=actor, project_id=project_id, action=Action.VIEW)
    return {"data": [metadata_field_out(f) for f in project_service.list_metadata_fields(session, project_id)]}


@router.post("/{project_id}/metadata", name="v1.metadata.create", tags=["metadata"], status_code=201)
def create_metadata_field(actor: Editor, session: SessionDep, project_id: int, body: MetadataFieldIn) -> dict[str, Any]:
    """Define a metadata field of type text, number or boolean."""
    field = project_service.create_metadata_field(session, actor=actor, project_id=project_id, **body.model_dump())
    return {"data": metadata_field_out(field)}


@router.post("/{project_id}/metadata/{field_id}", name="v1.metadata.update", tags=["metadata"])
def update_metadata_field(
    actor: Editor, session: SessionDep, project_id: int, field_id: int, body: MetadataFieldChange
) -> dict[str, Any]:
    """Rename a metadata field, add choices, or change what it admits."""
    field = project_service.update_metadata_field(
        session, actor=actor, project_id=project_id, field_id=field_id, **body.model_dump()
    )
    return {"data": metadata_field_out(field)}
