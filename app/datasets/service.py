"""Splits, and datasets that never change again. Nothing here commits."""

import gzip
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from sqlalchemy import Row, func, select, update
from sqlalchemy.orm import Session

from app.accounts.permissions import Action, Actor
from app.annotations.prompting.strokes import load_strokes
from app.annotations.shapes import annotations_of, classes_of
from app.contracts.dataset import AnnotationValue, CategoryRef, Dataset, DatasetItem
from app.contracts.reference import ReferenceImage
from app.contracts.strokes import Stroke
from app.contracts.tasks import Split, TaskType
from app.core.errors import NotFound
from app.datasets import readiness, splits
from app.db.tables import DatasetVersion, Image, Project
from app.projects import service as project_service
from app.references import attaching
from app.references import rules as reference_rules
from app.storage import keys
from app.storage.current import blobs

SelectOption = Literal["all-labeled", "without-split"]
IDS_PER_STATEMENT = 10_000

_ITEM_COLUMNS = (
    Image.id,
    Image.name,
    Image.sha256,
    Image.blob_key,
    Image.width_px,
    Image.height_px,
    Image.split,
    Image.is_labelled,
    Image.category_id,
    Image.shape_classes,
)


def auto_split(
    session: Session,
    *,
    actor: Actor,
    project_id: int,
    percentages: Mapping[Split, int] | None = None,
    select_option: SelectOption = "without-split",
    seed: int = splits.DEFAULT_SEED,
) -> dict[Split, int]:
    """Spread the labelled images over train, dev and test, in each class alike; return how many each split got.

    Abnormal images of an anomaly project go to dev and test alone: nothing is fitted on them.

    Args:
        percentages: Shares that sum to 100; None means 70, 15 and 15.
        select_option: `without-split` leaves every image where it is that has a split; `all-labeled` draws anew.
        seed: Another seed gives another draw.

    Raises:
        NotFound: No such project.
        PermissionDenied: The actor may not edit it.
        Invalid: The percentages are not acceptable.
    """
    project = project_service.get_for(session, actor=actor, project_id=project_id, action=Action.EDIT)
    percentages = dict(percentages or splits.DEFAULT_PERCENTAGES)
    splits.check_percentages(percentages)
    rows = _labelled_rows(session, project)
    redraw = select_option == "all-labeled"
    chosen = _assigned(rows, percentages=percentages, seed=seed, redraw=redraw, held_out=_held_out(session, project))
    _store_splits(session, chosen, before={row.id: row.split for row in rows})
    counts = dict.fromkeys(Split, 0)
    for split in chosen.values():
        counts[split] += 1
    return counts


def plan_split(
    session: Session, *, project: Project, percentages: Mapping[Split, int], redraw: bool
) -> dict[int, dict[Split, int]]:
    """Return how many images of each class each split would hold after `auto_split`.

    An image with several classes counts for each. The caller has checked the permission and the percentages.
    """
    rows = _labelled_rows(session, project)
    held_out = _held_out(session, project)
    chosen = _assigned(rows, percentages=percentages, seed=splits.DEFAULT_SEED, redraw=redraw, held_out=held_out)
    counts: dict[int, dict[Split, int]] = {}
    for row in rows:
        for category_id in classes_of(row):
            counts.setdefault(category_id, dict.fromkeys(Split, 0))[chosen.get(row.id) or Split(row.split)] += 1
    return counts


def freeze(
    session: Session,
    *,
    project: Project,
    min_per_category: int = readiness.MIN_EACH,
    created_by_id: int | None = None,
    with_references: bool = True,
    with_strokes: bool = False,
) -> DatasetVersion:
    """Return the project's labelled images as an immutable dataset version; the caller has checked the permission.

    A labelled image without a split gets one now (70/15/15, in each class alike) and keeps it. Where nothing changed
    since an earlier version, that version is returned.

    Where the project has a rule for references, each image is frozen with its own, unless `with_references` is off.
    With `with_strokes`, what was painted is what is learned from: labels are frozen too, but none are needed.

    Raises:
        DatasetNotReady: A labelled image has no reference, classes are missing, a class has fewer than
            `min_per_category` labelled images (an anomaly project fewer than `readiness.MIN_NORMAL` good ones, and
            needs no others), or none of them is in train; or no stroke shows a class.
    """
    # On PostgreSQL two freezings at once would want the same number.
    session.execute(select(Project.id).where(Project.id == project.id).with_for_update())
    task = TaskType(project.task)
    categories = project_service.list_categories(session, project.id)
    rows = _labelled_rows(session, project)
    holdings = readiness.count_holdings(categories, map(classes_of, rows))
    strokes = dict(load_strokes(session, project.id)) if with_strokes else {}
    if with_strokes:
        readiness.check_painted(categories, strokes.values())
    else:
        readiness.check_enough(task, categories, holdings, min_per_category)
    chosen = _assigned(
        rows,
        percentages=splits.DEFAULT_PERCENTAGES,
        seed=splits.DEFAULT_SEED,
        redraw=False,
        held_out=_held_out(session, project),
    )
    trained = [classes_of(row) for row in rows if chosen.get(row.id, row.split) == Split.TRAIN]
    if not with_strokes:
        readiness.check_trainable(task, categories, trained)
    _store_splits(session, chosen, before={})
    labels = _annotations(session, rows, with_masks=_held_out(session, project))
    others = _unlabelled_rows(session, project)
    references = _references(session, project, [*rows, *others]) if with_references else None
    dataset = Dataset(
        task=task,
        categories=tuple(
            CategoryRef(id=category.id, name=category.name, color=category.color, is_good=category.is_good)
            for category in categories
        ),
        items=tuple(
            _item(row, chosen.get(row.id, row.split), labels[row.id], references, strokes.get(row.id, ()))
            for row in rows
        ),
        unlabelled=tuple(_item(row, None, (), references, strokes.get(row.id, ())) for row in others),
        reference_rule=None if references is None else reference_rules.of(project),
    )
    content_hash = dataset.content_hash()
    return _find_same(session, project.id, dataset, content_hash) or _store_version(
        session, project.id, dataset, content_hash, created_by_id
    )


def load_items(version: DatasetVersion) -> Dataset:
    """Return the content of a version.

    Raises:
        BlobMissing: Its file is no longer in the store.
    """
    return Dataset.model_validate_json(gzip.decompress(blobs().read(version.items_key)))


def named_originals(session: Session, project_id: int) -> set[str]:
    """Return the keys of the originals that the project's dataset versions name, those of unlabelled images too.

    Projects that share originals with it are asked as well: those that grew out of one another.

    Raises:
        BlobMissing: The file of a version is no longer in the store, so nobody knows what it names.
    """
    family = project_service.list_family(session, project_id)
    versions = session.scalars(select(DatasetVersion).where(DatasetVersion.project_id.in_(family)))
    datasets = map(load_items, versions)
    items = [item for dataset in datasets for item in (*dataset.items, *dataset.unlabelled)]
    return {item.blob_key for item in items} | {item.reference.blob_key for item in items if item.reference}


def get_project(session: Session, *, actor: Actor, project_id: int) -> Project:
    """Return a project that the actor may train in. Raises `NotFound` or `PermissionDenied`."""
    return project_service.get_for(session, actor=actor, project_id=project_id, action=Action.TRAIN)


def list_versions(session: Session, *, actor: Actor, project_id: int) -> list[DatasetVersion]:
    """Return the project's dataset versions, the newest first."""
    project_service.get_for(session, actor=actor, project_id=project_id, action=Action.VIEW)
    query = select(DatasetVersion).where(DatasetVersion.project_id == project_id)
    return list(session.scalars(query.order_by(DatasetVersion.number.desc())))


def get_version(session: Session, *, actor: Actor, project_id: int, number: int) -> DatasetVersion:
    """Return one dataset version by its number in the project. Raises `NotFound` where there is none."""
    project_service.get_for(session, actor=actor, project_id=project_id, action=Action.VIEW)
    version = session.scalar(
        select(DatasetVersion).where(DatasetVersion.project_id == project_id, DatasetVersion.number == number)
    )
    if version is None:
        raise NotFound("There is no such dataset snapshot in this project.")
    return version


def title(version: DatasetVersion) -> str:
    """Return the name of a version, for people."""
    return version.name or f"Snapshot {version.number}"


# --- details ---------------------------------------------------------------------------------------------------------


def _labelled_rows(session: Session, project: Project) -> Sequence[Row[*tuple[Any, ...]]]:
    """Return the labelled images, by id. Without a class they teach a classifier nothing, but a detector much."""
    query = select(*_ITEM_COLUMNS).where(Image.project_id == project.id, Image.is_labelled.is_(True))
    if not TaskType(project.task).has_shapes:
        query = query.where(Image.category_id.is_not(None))
    return session.execute(query.order_by(Image.id)).all()


def _unlabelled_rows(session: Session, project: Project) -> Sequence[Row[*tuple[Any, ...]]]:
    has_shapes = TaskType(project.task).has_shapes
    is_open = Image.is_labelled.is_(False) if has_shapes else Image.category_id.is_(None)
    return session.execute(
        select(*_ITEM_COLUMNS).where(Image.project_id == project.id, is_open).order_by(Image.id)
    ).all()


def _annotations(
    session: Session, rows: Sequence[Row[*tuple[Any, ...]]], *, with_masks: frozenset[int]
) -> dict[int, tuple[AnnotationValue, ...]]:
    """Return what was said of each image: its class, or its shapes; of the classes `with_masks`, the place as well."""
    found: dict[int, tuple[AnnotationValue, ...]] = {
        row.id: () if row.category_id is None else (AnnotationValue(category_id=row.category_id),) for row in rows
    }
    with_shapes = [
        row.id for row in rows if (classes_of(row) if row.category_id is None else row.category_id in with_masks)
    ]
    for start in range(0, len(with_shapes), IDS_PER_STATEMENT):
        found |= annotations_of(session, with_shapes[start : start + IDS_PER_STATEMENT])
    return found


def _held_out(session: Session, project: Project) -> frozenset[int]:
    """Return the classes that nothing is fitted on: an anomaly model learns from good images alone."""
    if project.task != TaskType.ANOMALY:
        return frozenset()
    return frozenset(one.id for one in project_service.list_categories(session, project.id) if not one.is_good)


def _assigned(
    rows: Sequence[Row[*tuple[Any, ...]]],
    *,
    percentages: Mapping[Split, int],
    seed: int,
    redraw: bool,
    held_out: frozenset[int],
) -> dict[int, Split]:
    """Return a split for each row that has none, or for every row when `redraw` is set."""
    existing: dict[int | None, dict[Split, int]] = {}
    candidates = []
    for row in rows:
        candidate = splits.Candidate(row.id, row.sha256, classes_of(row))
        if row.split is None or redraw:
            candidates.append(candidate)
            continue
        for stratum in candidate.strata:
            existing.setdefault(stratum, dict.fromkeys(Split, 0))[Split(row.split)] += 1
    return splits.assign(candidates, existing=existing, percentages=percentages, seed=seed, held_out=held_out)


def _store_splits(session: Session, chosen: Mapping[int, Split], *, before: Mapping[int, str | None]) -> None:
    """Write the splits that differ from `before`, in few statements."""
    for split in Split:
        ids = [image_id for image_id, to in chosen.items() if to is split and before.get(image_id) != split.value]
        for start in range(0, len(ids), IDS_PER_STATEMENT):
            session.execute(
                update(Image)
                .where(Image.id.in_(ids[start : start + IDS_PER_STATEMENT]))
                .values(split=split.value)
                .execution_options(synchronize_session=False)
            )


def _references(
    session: Session, project: Project, rows: Sequence[Row[*tuple[Any, ...]]]
) -> dict[int, ReferenceImage] | None:
    """Return what each image is compared with; None where the project compares none."""
    pairing = attaching.find_pairing(session, project)
    problem = pairing.problem() if pairing is not None else None
    if problem is not None:
        raise readiness.DatasetNotReady(problem)
    return attaching.attach(session, project, {row.id: row.name for row in rows})


def _item(
    row: Row[*tuple[Any, ...]],
    split: Split | str | None,
    annotations: tuple[AnnotationValue, ...],
    references: Mapping[int, ReferenceImage] | None,
    strokes: tuple[Stroke, ...] = (),
) -> DatasetItem:
    return DatasetItem(
        image_id=row.id,
        sha256=row.sha256,
        blob_key=row.blob_key,
        width_px=row.width_px,
        height_px=row.height_px,
        split=None if split is None else Split(split),
        annotations=annotations,
        reference=references.get(row.id) if references else None,
        strokes=strokes,
    )


def _find_same(session: Session, project_id: int, dataset: Dataset, content_hash: str) -> DatasetVersion | None:
    """Return the newest version with the same content, if the images that it predicts are the same too."""
    version = session.scalar(
        select(DatasetVersion)
        .where(DatasetVersion.project_id == project_id, DatasetVersion.content_hash == content_hash)
        .order_by(DatasetVersion.number.desc())
        .limit(1)
    )
    if version is None:
        return None
    stored = load_items(version)
    same = _ids(stored.items) == _ids(dataset.items) and _ids(stored.unlabelled) == _ids(dataset.unlabelled)
    return version if same else None


def _ids(items: Iterable[DatasetItem]) -> set[tuple[int, str | None]]:
    return {(item.image_id, item.reference.sha256 if item.reference else None) for item in items}


def _store_version(
    session: Session, project_id: int, dataset: Dataset, content_hash: str, created_by_id: int | None
) -> DatasetVersion:
    key = keys.dataset_items(project_id, content_hash)
    blobs().put(key, gzip.compress(dataset.model_dump_json().encode(), compresslevel=5, mtime=0))
    last = session.scalar(select(func.max(DatasetVersion.number)).where(DatasetVersion.project_id == project_id))
    version = DatasetVersion(
        project_id=project_id,
        number=(last or 0) + 1,
        content_hash=content_hash,
        items_key=key,
        n_images=len(dataset.items),
        counts=_counts(dataset),
        created_by_id=created_by_id,
    )
    session.add(version)
    session.flush()
    return version


def _counts(dataset: Dataset) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {
        split.value: {str(category.id): 0 for category in dataset.categories} for split in Split
    }
    for item in dataset.items:
        assert item.split is not None
        for category_id in {annotation.category_id for annotation in item.annotations}:
            counts[item.split.value][str(category_id)] += 1
    return counts
