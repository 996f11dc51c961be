"""REST: images with label, split, tags and metadata."""

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Annotated, Any, BinaryIO

from fastapi import APIRouter, Depends, Query, Request, Response, status
from sqlalchemy import select
from starlette.datastructures import FormData

from app.accounts.permissions import Action, Actor
from app.annotations import service as annotation_service
from app.contracts.tasks import Split, TaskType
from app.core import pictures
from app.core.errors import Conflict, Invalid, UnsupportedMedia
from app.core.pagination import decode_cursor, encode_cursor
from app.datasets.formats import masks
from app.datasets.formats.base import BadLabelFile
from app.db.tables import Image, ImageTag
from app.images import conditions, ingest, joining, thumbnails, uploading
from app.images import metadata as image_metadata
from app.images import service as image_service
from app.images.adding import FileStatus
from app.images.archives import is_zip
from app.images.files import file_response
from app.images.filters import NONE, ImageFilter
from app.images.forms import UPLOAD_BODY, flag_of, only_file_of, text_of, text_or_file_of, texts_of, upload_form
from app.images.ingest import StorageFull
from app.images.labels import Extras, read_label_file
from app.images.schemas import (
    BulkSplit,
    Count,
    Data,
    FileResult,
    ImageDetails,
    LabelBody,
    ListedImage,
    MetadataAppend,
    MetadataBody,
    MetadataOfImage,
    PageOf,
    Selected,
    SplitBody,
    TagsBody,
    UploadedImage,
    UploadResults,
)
from app.projects import service as project_service
from app.web.deps import SessionDep, api_actor
from app.web.openapi import PROBLEMS, problems

router = APIRouter(prefix="/v1/projects/{project_id}/images", tags=["images"], responses=PROBLEMS)

Uploader = Annotated[Actor, Depends(api_actor(Action.UPLOAD))]
Viewer = Annotated[Actor, Depends(api_actor(Action.VIEW))]
Labeler = Annotated[Actor, Depends(api_actor(Action.LABEL))]
Editor = Annotated[Actor, Depends(api_actor(Action.EDIT))]
Deleter = Annotated[Actor, Depends(api_actor(Action.DELETE))]

_uploads = ThreadPoolExecutor(40, thread_name_prefix="upload")


class DuplicateImage(Conflict):
    """The project has these bytes already; `image_id` and `image_name` say where."""

    code, title = "duplicate_image", "Already in the project"


@router.post(
    "",
    name="api.images.upload",
    status_code=status.HTTP_201_CREATED,
    response_model=Data[UploadedImage | UploadResults],
    openapi_extra=UPLOAD_BODY,
    responses=problems(UnsupportedMedia, StorageFull),
)
async def upload(request: Request, actor: Uploader, project_id: int) -> Response:
    """Upload one picture, or many in a zip.

    A picture is answered with its record, and with 409 where the project has the same bytes already. A zip is
    answered with the fate of each file in it.
    """
    async with upload_form(request) as form:
        name, source = only_file_of(form, "file")
        path = text_of(form, "name") or name
        extras, label = _extras(form), _label_file(form)
        take_in: Callable[..., Data[Any]] = _upload_zip if is_zip(source.read(4)) else _upload_one
        source.seek(0)
        # Hundreds come in a second: this executor costs a third of what the framework's way into a thread does.
        loop = asyncio.get_running_loop()
        answer = await loop.run_in_executor(_uploads, take_in, actor, project_id, path, source, extras, label)
    # Written as it is: the framework would check our own answer once more.
    return Response(answer.model_dump_json(by_alias=True), status.HTTP_201_CREATED, media_type="application/json")


def _extras(form: FormData) -> Extras:
    label = form.get("label")
    return Extras(
        folders_as_classes=flag_of(form, "folders_as_classes"),
        category_name=label if isinstance(label, str) and label and not _is_xml(label) else None,
        nothing_to_label=flag_of(form, "nothing_to_label"),
        split=text_of(form, "split"),
        tag_names=[tag for tag in texts_of(form, "tags") if tag],
        metadata=_json_object(text_of(form, "metadata")),
    )


@dataclass(frozen=True, slots=True)
class _LabelFile:
    content: bytes
    class_map: str | None


def _label_file(form: FormData) -> _LabelFile | None:
    """Return the label file of a picture, which may also be sent as text; None where `label` names a class."""
    label = text_or_file_of(form, "label", max_bytes=masks.MAX_BYTES)
    if isinstance(label, str):
        label = label.encode("utf-8", "replace") if _is_xml(label) else None
    return None if label is None else _LabelFile(label, text_of(form, "label_map"))


def _is_xml(text: str) -> bool:
    return text.lstrip("\ufeff \t\r\n").startswith("<")


def _upload_zip(
    actor: Actor, project_id: int, path: str, source: BinaryIO, extras: Extras, label: _LabelFile | None
) -> Data[UploadResults]:
    if label is not None:
        raise BadLabelFile("A label file belongs to one picture; this is a zip.")
    outcome = uploading.upload(actor=actor, project_id=project_id, files=[(path, source)], extras=extras)
    results = [FileResult.of(fate) for fate in outcome.fates]
    return Data(data=UploadResults(results=results, counts=outcome.counts))


def _upload_one(
    actor: Actor, project_id: int, path: str, source: BinaryIO, extras: Extras, label: _LabelFile | None
) -> Data[UploadedImage]:
    uploading.check_may_upload(actor, project_id)
    with joining.coming(project_id):
        taken = ingest.take(source, path=path, project_id=project_id)
    if label is not None:
        width_px, height_px = taken.info.width_px, taken.info.height_px
        shapes = read_label_file(label.content, label.class_map, width_px=width_px, height_px=height_px)
        extras = replace(extras, shapes=shapes)
    fate = joining.add_one(actor=actor, project_id=project_id, file=taken, extras=extras)
    if fate.status is FileStatus.DUPLICATE:
        raise DuplicateImage(fate.detail, image_id=fate.image_id)
    if fate.image_id is None or fate.uploaded_at is None:
        raise Conflict(fate.detail)
    return Data(data=UploadedImage(id=fate.image_id, name=fate.name, upload_time=fate.uploaded_at))


@router.get("", name="api.images.list")
def list_images(
    actor: Viewer,
    session: SessionDep,
    project_id: int,
    cursor: Annotated[str | None, Query(max_length=500, description="`nextCursor` of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    class_id: Annotated[int | None, Query(alias="classId")] = None,
    split: Annotated[str | None, Query(pattern="^(train|dev|test|none)$")] = None,
    labelled: bool | None = None,
    tag: Annotated[str | None, Query(max_length=200, description="The name of a tag")] = None,
) -> PageOf[ListedImage]:
    """List the images of a project, the newest first."""
    project = project_service.get_for(session, actor=actor, project_id=project_id, action=Action.VIEW)
    has_shapes = TaskType(project.task).has_shapes
    wanted = ImageFilter(
        classes=() if class_id is None else (class_id,),
        splits=() if split is None else (NONE if split == NONE else Split(split).value,),
        is_labelled=labelled,
        tags=() if tag is None else (_tag_id(session, project_id, tag),),
    )
    query = select(Image).where(*conditions.where(project_id, wanted, None, has_shapes=has_shapes))
    if cursor is not None:
        (last_id,) = decode_cursor(cursor, 1)
        if not isinstance(last_id, int):
            raise Invalid("This page link is not valid. Start again from the first page.")
        query = query.where(Image.id < last_id)
    rows = list(session.scalars(query.order_by(Image.id.desc()).limit(limit + 1)))
    names = {category.id: category.name for category in project_service.list_categories(session, project_id)}
    more = encode_cursor(rows[limit - 1].id) if len(rows) > limit else None
    return PageOf(data=[ListedImage.listed(image, names) for image in rows[:limit]], next_cursor=more)


@router.delete("", name="api.images.delete_many")
def delete_many(
    actor: Deleter,
    session: SessionDep,
    project_id: int,
    ids: Annotated[list[int], Query(alias="id", min_length=1, max_length=1000)],
) -> Data[Count]:
    """Delete images by repeated `id`. They can be restored for 30 days."""
    count = image_service.delete_images(session, actor=actor, project_id=project_id, selection=ids)
    return Data(data=Count(count=count))


@router.post("/restore", name="api.images.restore")
def restore(actor: Deleter, session: SessionDep, project_id: int, body: Selected) -> Data[Count]:
    """Bring deleted images back, with their labels."""
    count = image_service.restore_images(session, actor=actor, project_id=project_id, image_ids=body.media_ids)
    return Data(data=Count(count=count))


@router.post("/metadata", name="api.images.append_metadata")
def append_metadata(
    actor: Labeler, session: SessionDep, project_id: int, body: MetadataAppend
) -> Data[list[MetadataOfImage]]:
    """Add metadata to many images. Fields that hold one value are replaced, others gain the new ones."""
    ids = image_metadata.set_metadata(
        session,
        actor=actor,
        project_id=project_id,
        selection=_selection(body),
        values=body.metadata_append,
        append=True,
    )
    found = image_metadata.metadata_of(session, ids)
    return Data(data=[MetadataOfImage(media_id=image_id, metadata=found[image_id]) for image_id in ids])


@router.post("/tags", name="api.images.add_tags")
def add_tags(actor: Labeler, session: SessionDep, project_id: int, body: TagsBody) -> Data[dict[str, list[int]]]:
    """Give images tags, by name. A tag that the project lacks is made."""
    tags = image_service.add_tags(
        session, actor=actor, project_id=project_id, selection=_selection(body), names=body.tag_names
    )
    return Data(data={"tagIds": [tag.id for tag in tags]})


@router.post("/tags/remove", name="api.images.remove_tags")
def remove_tags(actor: Labeler, session: SessionDep, project_id: int, body: TagsBody) -> Data[Count]:
    """Take tags from images, by name."""
    project_service.get_for(session, actor=actor, project_id=project_id, action=Action.LABEL)
    tag_ids = [_tag_id(session, project_id, name) for name in body.tag_names]
    count = image_service.remove_tags(
        session, actor=actor, project_id=project_id, selection=_selection(body), tag_ids=tag_ids
    )
    return Data(data=Count(count=count))


@router.post("/split", name="api.images.set_split_many")
def set_split_many(actor: Editor, session: SessionDep, project_id: int, body: BulkSplit) -> Data[Count]:
    """Put images into a split, or out of all."""
    count = image_service.set_split(
        session, actor=actor, project_id=project_id, selection=_selection(body), split=body.split
    )
    return Data(data=Count(count=count))


@router.get("/{image_id}", name="api.images.get")
def get(actor: Viewer, session: SessionDep, project_id: int, image_id: int) -> Data[ImageDetails]:
    """Return an image's record, label, tags and metadata."""
    return Data(data=_details(session, actor, project_id, image_id))


@router.delete("/{image_id}", name="api.images.delete")
def delete(actor: Deleter, session: SessionDep, project_id: int, image_id: int) -> Data[Count]:
    """Delete an image. It can be restored for 30 days."""
    count = image_service.delete_images(session, actor=actor, project_id=project_id, selection=[image_id])
    return Data(data=Count(count=count))


@router.put("/{image_id}/label", name="api.images.set_label")
def set_label(
    actor: Labeler, session: SessionDep, project_id: int, image_id: int, body: LabelBody
) -> Data[ImageDetails]:
    """Give an image a class, or take its class away. With `version`, only if nobody changed it meanwhile (409)."""
    image_service.get_image(session, actor=actor, project_id=project_id, image_id=image_id, action=Action.LABEL)
    annotation_service.set_class(
        session,
        actor=actor,
        project_id=project_id,
        image_id=image_id,
        category_id=_category_id(session, project_id, body),
        expected_version=body.version,
    )
    return Data(data=_details(session, actor, project_id, image_id))


@router.put("/{image_id}/split", name="api.images.set_split")
def set_split(
    actor: Editor, session: SessionDep, project_id: int, image_id: int, body: SplitBody
) -> Data[ImageDetails]:
    """Put an image into a split, or out of all."""
    image_service.set_split(session, actor=actor, project_id=project_id, selection=[image_id], split=body.split)
    return Data(data=_details(session, actor, project_id, image_id))


@router.post("/{image_id}/metadata", name="api.images.set_metadata")
def set_metadata(
    actor: Labeler, session: SessionDep, project_id: int, image_id: int, body: MetadataBody
) -> Data[list[MetadataOfImage]]:
    """Set metadata of an image; fields that are not named keep their value."""
    ids = image_metadata.set_metadata(
        session, actor=actor, project_id=project_id, selection=[image_id], values=body.metadata
    )
    found = image_metadata.metadata_of(session, ids)
    return Data(data=[MetadataOfImage(media_id=one, metadata=found[one]) for one in ids])


@router.get("/{image_id}/file", name="api.images.file", response_class=Response)
def original(actor: Viewer, session: SessionDep, project_id: int, image_id: int) -> Response:
    """Return the original, byte for byte as it was uploaded."""
    image = image_service.get_image(session, actor=actor, project_id=project_id, image_id=image_id, action=Action.VIEW)
    return file_response(
        thumbnails.open_original(image),
        media_type=pictures.MEDIA_TYPES[image.format],  # type: ignore[index]  # written from the same list
        name=image.name,
        etag=image.sha256,
        download=True,
    )


@router.get("/{image_id}/thumbnail", name="api.images.thumbnail", response_class=Response)
def thumbnail(actor: Viewer, session: SessionDep, project_id: int, image_id: int) -> Response:
    """Return a WebP of at most 320 pixels a side."""
    image = image_service.get_image(session, actor=actor, project_id=project_id, image_id=image_id, action=Action.VIEW)
    return file_response(
        thumbnails.open_thumbnail(image),
        media_type=thumbnails.MEDIA_TYPE,
        name=image.name,
        etag=f"thumb-{image.sha256}",
    )


# --- details ---------------------------------------------------------------------------------------------------------


def _details(session: SessionDep, actor: Actor, project_id: int, image_id: int) -> ImageDetails:
    image = image_service.get_image(session, actor=actor, project_id=project_id, image_id=image_id, action=Action.VIEW)
    session.refresh(image)  # set-based updates went past it
    names = {category.id: category.name for category in project_service.list_categories(session, project_id)}
    tag_ids = session.scalars(select(ImageTag.tag_id).where(ImageTag.image_id == image_id).order_by(ImageTag.tag_id))
    return ImageDetails.listed(
        image,
        names,
        metadata=image_metadata.metadata_of(session, [image_id])[image_id],
        tag_ids=list(tag_ids),
    )


def _selection(body: Selected) -> list[int] | None:
    if not body.all_media and not body.media_ids:
        raise Invalid("Name the images: send `mediaIds`, or `allMedia`: true.")
    return None if body.all_media else body.media_ids


def _category_id(session: SessionDep, project_id: int, body: LabelBody) -> int | None:
    if body.class_name is None:
        return body.class_id
    for category in project_service.list_categories(session, project_id):
        if category.name == body.class_name:
            return category.id
    detail = f"The project has no class “{body.class_name}”."
    raise Invalid(detail, [{"pointer": "/className", "detail": detail, "code": "unknown_class"}])


def _tag_id(session: SessionDep, project_id: int, name: str) -> int:
    for tag in project_service.list_tags(session, project_id):
        if tag.name == name:
            return tag.id
    detail = f"The project has no tag “{name}”."
    raise Invalid(detail, [{"pointer": "/tag", "detail": detail, "code": "unknown_tag"}])


def _json_object(text: str | None) -> dict[str, Any]:
    if not text or text == "null":
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        detail = "Send the metadata as a JSON object."
        raise Invalid(detail, [{"pointer": "/metadata", "detail": detail, "code": "json"}])
    return value
