"""View models of the Models screens for tasks that answer for an image as a whole."""

from dataclasses import replace

from sqlalchemy.orm import Session

from app.contracts.bundle import BundleManifest
from app.registry import screens
from app.registry.arrays import arrays_of
from app.registry.galleries import KINDS, kinds_for
from app.registry.queries import ModelRow
from app.registry.report import MEASURED, Report, default_split, pile_of, report_of
from app.registry.schemas import SPLITS, UNLABELLED, GalleryPage, GalleryView
from app.registry.screens import ImageView


def report(
    session: Session,
    project_id: int,
    row: ModelRow,
    manifest: BundleManifest,
    *,
    split: str | None,
    threshold: float,
    which: str | None,
) -> tuple[Report, GalleryPage]:
    """Return the report of a split and the first images of its gallery."""
    arrays = arrays_of(session, row.model, manifest)
    found = report_of(
        manifest,
        arrays,
        split=split or default_split(arrays),
        threshold=threshold,
        default=row.model.threshold,
        which=which,
    )
    stored = (row.model.metrics or {}).get(found.split) or {}
    found = replace(found, measured={name: stored.get(name) for name in MEASURED})
    part = arrays.of(found.split)
    pile, answers = pile_of(manifest, part, threshold=threshold, which=found.which)
    page = screens.gallery_page(
        session, project_id=project_id, manifest=manifest, part=part, answers=answers, pile=pile, cursor=None, limit=24
    )
    return found, page


def gallery(
    session: Session,
    project_id: int,
    row: ModelRow,
    manifest: BundleManifest,
    *,
    split: str | None,
    threshold: float,
    which: str | None,
    true: int | None,
    predicted: int | None,
    cursor: str | None,
) -> GalleryView:
    """Return one page of a gallery. Raises `Invalid` for a cursor that is none of ours."""
    arrays = arrays_of(session, row.model, manifest)
    split = split or default_split(arrays)
    which = which if which in kinds_for(manifest) else "all"
    part = arrays.of(split)
    pile, answers = pile_of(manifest, part, threshold=threshold, which=which, true_id=true, predicted_id=predicted)
    page = screens.gallery_page(
        session, project_id=project_id, manifest=manifest, part=part, answers=answers, pile=pile, cursor=cursor
    )
    return GalleryView(
        page=page,
        split=split,
        which=which,
        title=KINDS[which].title,
        hint=KINDS[which].hint,
        empty=KINDS[which].empty,
        n_by_split={name: len(arrays.of(name)) for name in (*SPLITS, UNLABELLED)},
    )


def find_image_view(
    session: Session, project_id: int, row: ModelRow, manifest: BundleManifest, *, image_id: int, threshold: float
) -> ImageView | None:
    """Return an image with its scores, or None where the model has said nothing of it."""
    return screens.find_image_view(
        session, project_id=project_id, row=row, manifest=manifest, image_id=image_id, threshold=threshold
    )
