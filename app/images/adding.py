"""From stored files to rows: a batch of images is a handful of statements, whatever its size. Nothing here commits."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from app.accounts.permissions import Action, Actor
from app.accounts.service import record
from app.annotations import shapes as shape_service
from app.core.clock import utc_now
from app.db.session import on_commit
from app.db.tables import Image, ImageMetadata, ImageTag, Project
from app.db.visibility import WITH_REFERENCES
from app.images import metadata as image_metadata
from app.images import service as image_service
from app.images import thumbnails
from app.images.ingest import Refused, Taken
from app.images.labels import Extras, Labels
from app.projects import service as project_service
from app.references import rules as reference_rule


class FileStatus(StrEnum):
    """What became of one file."""

    CREATED = "created"
    DUPLICATE = "duplicate"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of one file. `image_id` is the new image, or the one that holds the same bytes already.

    `uploaded_at` is set for a new one.
    """

    name: str
    status: FileStatus
    image_id: int | None = None
    detail: str = ""
    uploaded_at: datetime | None = None


def add_images(
    session: Session, *, actor: Actor, project_id: int, files: Sequence[Taken | Refused], extras: Extras | None = None
) -> list[Fate]:
    """Insert rows for files that were taken in; return what became of each, in their order.

    A file whose bytes the project has already is named a duplicate and changes nothing; so is the second of two equal
    files, and the loser of two uploads of the same file at the same moment.

    Raises:
        NotFound: No such project, or no such metadata field.
        PermissionDenied: The actor may not upload, or not edit where a split, a new class or a new tag is asked for.
        Invalid: A split, a class, a tag or a metadata value is not acceptable.
    """
    extras = extras or Extras()
    project = project_service.get_for(session, actor=actor, project_id=project_id, action=Action.UPLOAD)
    if session.get_bind().dialect.name == "postgresql":
        # Two batches that hold the same files in another order would wait for each other's rows for ever.
        session.execute(select(Project.id).where(Project.id == project_id).with_for_update(key_share=True))
    taken = [file for file in files if isinstance(file, Taken)]
    split = image_service.checked_split(extras.split)
    if split is not None:
        actor.require(Action.EDIT)
    now = utc_now()
    labels = Labels(session, actor, project, extras)
    rows = {file.sha256: file for file in reversed(taken)}  # the first of equal files wins
    created = _insert(session, actor, project, list(reversed(rows.values())), labels, split, now)
    _insert_annotations(session, actor, project_id, created, rows, labels)
    if created:
        _add_extras(session, actor, project, list(created.values()), extras)
        _touch(session, project)
        on_commit(session, lambda: thumbnails.request(project_id))
    known = _existing(session, project_id, {file.sha256 for file in taken} - created.keys())
    return _fates(files, created, known, labels, rows, now)


def _insert(
    session: Session,
    actor: Actor,
    project: Project,
    files: Sequence[Taken],
    labels: Labels,
    split: str | None,
    now: datetime,
) -> dict[str, int]:
    """Insert what the project lacks; return the new ids by hash. Another upload's row, committed meanwhile, wins."""
    if not files:
        return {}
    labelled = {"labelled_at": now, "labelled_by_id": actor.user_id}
    rule = reference_rule.of(project)
    rows = [
        {
            "project_id": project.id,
            "name": file.name,
            "sha256": file.sha256,
            "blob_key": file.blob_key,
            "format": file.info.format,
            "mode": file.info.mode,
            "width_px": file.info.width_px,
            "height_px": file.info.height_px,
            "n_bytes": file.n_bytes,
            "split": split,
            "uploaded_by_id": actor.user_id,
            "uploaded_at": now,
            "is_reference": rule is not None and rule.is_reference_name(file.name),
            **labels.columns(file, labelled=labelled),
        }
        for file in files
    ]
    statement = _insert_statement(session.get_bind().dialect.name)
    return {sha256: image_id for image_id, sha256 in session.execute(statement, rows)}


@lru_cache
def _insert_statement(dialect_name: str) -> Any:
    """Return the insert that skips what is there, and answers with what was new."""
    dialect = postgresql if dialect_name == "postgresql" else sqlite
    table = Image.__table__
    return (
        dialect.insert(table)
        .on_conflict_do_nothing(
            index_elements=[table.c.project_id, table.c.sha256], index_where=table.c.deleted_at.is_(None)
        )
        .returning(table.c.id, table.c.sha256)
    )


def _insert_annotations(
    session: Session,
    actor: Actor,
    project_id: int,
    created: Mapping[str, int],
    files: Mapping[str, Taken],
    labels: Labels,
) -> None:
    by_image = {image_id: labels.annotations(files[sha256]) for sha256, image_id in created.items()}
    shape_service.insert_annotations(session, by_image, actor=actor)
    n_labelled = sum(labels.is_labelled(files[sha256]) for sha256 in created)
    if n_labelled:
        record(
            session,
            user_id=actor.user_id,
            action="image.upload_labelled",
            subject=f"{n_labelled} images",
            project_id=project_id,
            count=n_labelled,
        )


def _add_extras(session: Session, actor: Actor, project: Project, image_ids: Sequence[int], extras: Extras) -> None:
    if extras.tag_names:
        known = {tag.name: tag for tag in project_service.list_tags(session, project.id)}
        for name in dict.fromkeys(map(project_service.required_name, extras.tag_names)):
            if name not in known:
                actor.require(Action.EDIT)
                known[name] = project_service.ensure_tag(session, project=project, name=name)
            rows: list[dict[str, Any]] = [{"image_id": image_id, "tag_id": known[name].id} for image_id in image_ids]
            session.execute(insert(ImageTag), rows)
    if extras.metadata:
        fields = project_service.list_metadata_fields(session, project.id)
        for metadata_field, value in image_metadata.checked_values(fields, extras.metadata):
            if value is not None:
                rows = [
                    {"image_id": image_id, "field_id": metadata_field.id, "value": {"v": value}}
                    for image_id in image_ids
                ]
                session.execute(insert(ImageMetadata), rows)


def _touch(session: Session, project: Project) -> None:
    """Note the change at most every few seconds: thousands of uploads need not all rewrite the project's row."""
    now = utc_now()
    if (now - project.updated_at).total_seconds() > 5:
        session.execute(
            update(Project)
            .where(Project.id == project.id)
            .values(updated_at=now)
            .execution_options(synchronize_session=False)
        )


def _existing(session: Session, project_id: int, hashes: Iterable[str]) -> dict[str, tuple[int, str]]:
    """Return the id and name of the project's images with these hashes."""
    wanted = list(hashes)
    if not wanted:
        return {}
    query = select(Image.sha256, Image.id, Image.name).where(Image.project_id == project_id, Image.sha256.in_(wanted))
    rows = session.execute(query, execution_options=WITH_REFERENCES)
    return {sha256: (image_id, name) for sha256, image_id, name in rows}


def _fates(
    files: Sequence[Taken | Refused],
    created: Mapping[str, int],
    known: Mapping[str, tuple[int, str]],
    labels: Labels,
    first: Mapping[str, Taken],
    now: datetime,
) -> list[Fate]:
    fates = []
    for file in files:
        if isinstance(file, Refused):
            fates.append(Fate(file.name, FileStatus.REFUSED, None, file.detail))
        elif file.sha256 not in created:
            fates.append(_duplicate(file, known.get(file.sha256)))
        elif first[file.sha256] is not file:
            detail = f"The same picture as “{first[file.sha256].name}” in this upload."
            fates.append(Fate(file.name, FileStatus.DUPLICATE, created[file.sha256], detail))
        else:
            missing = labels.missing(file)
            detail = f"Not labelled: there is no class “{missing}”, and your role cannot add one." if missing else ""
            fates.append(Fate(file.name, FileStatus.CREATED, created[file.sha256], detail, now))
    return fates


def _duplicate(file: Taken, existing: tuple[int, str] | None) -> Fate:
    if existing is None:  # the other one was deleted in the moment between two statements
        return Fate(file.name, FileStatus.REFUSED, None, "It changed while it was uploaded. Upload it again.")
    image_id, name = existing
    detail = f"The project has this picture already, as “{name}” (image {image_id})."
    return Fate(file.name, FileStatus.DUPLICATE, image_id, detail)
