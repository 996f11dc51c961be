"""From the history back to the data: pictures of calls become images of the project."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select, update

from app.accounts.permissions import Action, Actor
from app.contracts.tasks import TaskType
from app.core.errors import Invalid
from app.db.session import new_session, transaction
from app.db.tables import Deployment, InferenceRecord
from app.images import adding, ingest
from app.images.adding import Extras, Fate, FileStatus
from app.images.ingest import Refused, Taken
from app.projects import service as project_service
from app.serving.recording import RecordedShape
from app.storage.current import blobs
from app.storage.errors import BlobMissing

MAX_CALLS = 500


@dataclass(frozen=True, slots=True)
class Collected:
    """What became of the chosen calls. `image_ids` maps each call to the image that holds its picture now."""

    n_created: int
    n_duplicate: int
    refused: list[Fate]
    image_ids: dict[int, int]


@dataclass(frozen=True, slots=True)
class _Chosen:
    call_id: int
    endpoint: str
    category_name: str
    file: Taken | Refused


def add_to_dataset(*, actor: Actor, project_id: int, call_ids: Sequence[int], with_answers: bool = False) -> Collected:
    """Make images of the project from the pictures of calls.

    Commits by itself: pictures are copied and checked before the one short transaction that writes. A picture that
    the project has already is linked to, not added again.

    Args:
        with_answers: Label each new image with what the model answered. Off by default: a model that is taught by
            its own answers learns its own mistakes.

    Raises:
        NotFound: No such project, or the actor may not see it.
        PermissionDenied: The actor may not upload, or not label where answers are to become labels.
        Invalid: No call is chosen, or too many; or answers are to become labels where images carry shapes: those are
            drawn, or taken over one by one on the Label screen.
    """
    chosen = _take(actor, project_id, call_ids, with_answers)
    by_group: dict[tuple[str, str | None], list[_Chosen]] = defaultdict(list)
    for item in chosen:
        by_group[item.endpoint, item.category_name if with_answers else None].append(item)
    fates: list[tuple[_Chosen, Fate]] = []
    with transaction() as session:
        known_tags = {tag.name for tag in project_service.list_tags(session, project_id)}
        for (endpoint, category_name), items in by_group.items():
            tag = f"from {endpoint}"
            tags = (tag,) if actor.may(Action.EDIT) or tag in known_tags else ()
            extras = Extras(category_name=category_name, tag_names=tags)
            files = [item.file for item in items]
            results = adding.add_images(session, actor=actor, project_id=project_id, files=files, extras=extras)
            fates += zip(items, results, strict=True)
        image_ids = {item.call_id: fate.image_id for item, fate in fates if fate.image_id is not None}
        for call_id, image_id in image_ids.items():
            session.execute(update(InferenceRecord).where(InferenceRecord.id == call_id).values(image_id=image_id))
    counts = [fate.status for _, fate in fates]
    refused = [fate for _, fate in fates if fate.status is FileStatus.REFUSED]
    return Collected(counts.count(FileStatus.CREATED), counts.count(FileStatus.DUPLICATE), refused, image_ids)


def _take(actor: Actor, project_id: int, call_ids: Sequence[int], with_answers: bool) -> list[_Chosen]:
    """Copy the pictures of the chosen calls to where the project's originals lie, each checked like an upload."""
    if not call_ids:
        raise _invalid("Choose calls first: tick the boxes at the left of their lines.")
    if len(call_ids) > MAX_CALLS:
        raise _invalid(f"Choose up to {MAX_CALLS} calls at once.")
    with new_session() as session:
        project = project_service.get_for(session, actor=actor, project_id=project_id, action=Action.UPLOAD)
        if with_answers:
            actor.require(Action.LABEL)
            if TaskType(project.task).has_shapes:
                raise _invalid("Answers with shapes do not become labels by themselves. Add the pictures without them.")
        rows = session.execute(
            select(InferenceRecord, Deployment.name)
            .join(Deployment, Deployment.id == InferenceRecord.deployment_id)
            .where(InferenceRecord.id.in_(set(call_ids)), Deployment.project_id == project_id)
            .order_by(InferenceRecord.id)
        ).all()
    return [
        _Chosen(call.id, endpoint, call.category_name, _file(call, endpoint, project_id)) for call, endpoint in rows
    ]


def _file(call: InferenceRecord, endpoint: str, project_id: int) -> Taken | Refused:
    name = f"{endpoint} {call.at:%Y-%m-%d %H.%M.%S} {call.id}"
    if call.blob_key is None:
        return Refused(name, "The picture of this call was not kept.")
    try:
        with blobs().open(call.blob_key) as source:
            return ingest.take(source, path=name, project_id=project_id)
    except BlobMissing as error:
        return Refused(name, error.detail)


def find_picture(project_id: int, actor: Actor, call_id: int) -> tuple[str | None, list[RecordedShape]]:
    """Return where the picture of a call lies and what was found on it.

    The key is None where the picture was not kept or the actor may not see it.

    Raises:
        NotFound: No such project, or the actor may not see it.
    """
    with new_session() as session:
        project_service.get_for(session, actor=actor, project_id=project_id, action=Action.VIEW)
        row = session.execute(
            select(InferenceRecord.blob_key, InferenceRecord.shapes)
            .join(Deployment, Deployment.id == InferenceRecord.deployment_id)
            .where(InferenceRecord.id == call_id, Deployment.project_id == project_id)
        ).one_or_none()
    if row is None:
        return None, []
    return row[0], [RecordedShape.model_validate(one) for one in row[1] or ()]


def _invalid(message: str) -> Invalid:
    return Invalid(message, [{"pointer": "/call_id", "detail": message, "code": "selection"}])
