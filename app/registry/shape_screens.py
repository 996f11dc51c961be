"""View models of the Models screens for tasks that find shapes."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.contracts.bundle import BundleManifest
from app.inference.decision import NG
from app.registry import queries
from app.registry.galleries import Pile, page_rows
from app.registry.overlays import OverlayShape, note_of, overlay_of
from app.registry.queries import ImageFacts, ModelRow
from app.registry.schemas import SPLITS, UNLABELLED, Evidence, GalleryPage, GalleryView
from app.registry.screens import ComparisonView, Pair, Said, comparison_view
from app.registry.shape_arrays import ShapeSplit, shapes_of
from app.registry.shape_comparison import ShapeComparison, compare
from app.registry.shape_report import KINDS, ShapeReport, default_split, kinds_for, pile_of, report_of

GALLERY_SIZE = 48


def report(
    session: Session,
    project_id: int,
    row: ModelRow,
    manifest: BundleManifest,
    *,
    split: str | None,
    threshold: float,
    which: str | None,
) -> tuple[ShapeReport, GalleryPage]:
    """Return the report of a split and the first images of its gallery."""
    shapes = shapes_of(session, row.model, manifest)
    found = report_of(
        manifest,
        shapes,
        row.model.metrics or {},
        split=split or default_split(shapes),
        threshold=threshold,
        default=row.model.threshold,
        which=which,
    )
    part = shapes.of(found.split)
    pile = pile_of(manifest, part, threshold=threshold, which=found.which)
    return found, _page(session, project_id, row, manifest, part, pile, threshold, cursor=None, limit=24)


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
    shapes = shapes_of(session, row.model, manifest)
    split = split or default_split(shapes)
    which = which if which in kinds_for(len(manifest.categories)) else "all"
    part = shapes.of(split)
    pile = pile_of(manifest, part, threshold=threshold, which=which, true_id=true, predicted_id=predicted)
    return GalleryView(
        page=_page(session, project_id, row, manifest, part, pile, threshold, cursor=cursor, limit=GALLERY_SIZE),
        split=split,
        which=which,
        title=KINDS[which].title,
        hint=KINDS[which].hint,
        empty=KINDS[which].empty,
        n_by_split={name: len(shapes.of(name)) for name in (*SPLITS, UNLABELLED)},
    )


def _page(
    session: Session,
    project_id: int,
    row: ModelRow,
    manifest: BundleManifest,
    part: ShapeSplit,
    pile: Pile,
    threshold: float,
    *,
    cursor: str | None,
    limit: int,
) -> GalleryPage:
    rows, next_cursor = page_rows(pile, part.image_ids, cursor, limit)
    ids = part.image_ids[rows].tolist()
    found = queries.images_with_shapes(session, project_id, row.model.id, ids)
    items = [evidence_of(manifest, *found[image_id], threshold) for image_id in ids if image_id in found]
    return GalleryPage(items, next_cursor, len(pile))


def evidence_of(manifest: BundleManifest, fact: ImageFacts, said: queries.SaidShapes, threshold: float) -> Evidence:
    """Return an image with what is drawn and found on it at a threshold."""
    overlay = overlay_of(manifest, said.shapes, said.drawn, threshold=threshold, is_labelled=said.split is not None)
    is_wrong = any(one.state in {"missed", "extra", "mixed"} for one in overlay)
    return Evidence(
        image_id=fact.id,
        name=fact.name,
        width_px=fact.width_px,
        height_px=fact.height_px,
        category=None,
        predicted=None,
        score=said.scores[NG],
        is_wrong=is_wrong,
        is_unsure=False,
        note=note_of(overlay),
        is_deleted=fact.is_deleted,
        overlay=overlay,
    )


@dataclass(frozen=True, slots=True)
class ShapesView:
    """One image and everything that a model found on it; `below` holds what lies under the threshold."""

    item: Evidence
    split: str | None
    is_ng: bool
    below: tuple[OverlayShape, ...]
    template = "pages/registry/image_shapes.html"


def find_image_view(
    session: Session, project_id: int, row: ModelRow, manifest: BundleManifest, *, image_id: int, threshold: float
) -> ShapesView | None:
    """Return an image with its shapes, or None where the model has said nothing of it."""
    found = queries.images_with_shapes(session, project_id, row.model.id, [image_id]).get(image_id)
    if found is None:
        return None
    fact, said = found
    item = evidence_of(manifest, fact, said, threshold)
    every = overlay_of(manifest, said.shapes, threshold=0.0, is_labelled=said.split is not None)
    below = tuple(one for one in every if one.score is not None and one.score < threshold)
    return ShapesView(item, said.split, any(not one.is_drawn for one in item.overlay), below)


def comparison(
    session: Session,
    project_id: int,
    rows: Sequence[ModelRow],
    *,
    split: str | None,
    cell: str | None,
    cursor: str | None,
) -> ComparisonView:
    """Return the comparison of two models that find shapes."""
    manifests = [BundleManifest.model_validate(row.model.manifest) for row in rows]
    arrays = [shapes_of(session, row.model, manifest) for row, manifest in zip(rows, manifests, strict=True)]
    first, second = (
        (manifest, array, row.model.threshold) for manifest, array, row in zip(manifests, arrays, rows, strict=True)
    )

    def pairs_of(result: ShapeComparison, picked: Sequence[int]) -> list[Pair]:
        ids = result.image_ids[list(picked)].tolist()
        found = [queries.images_with_shapes(session, project_id, row.model.id, ids) for row in rows]
        return [
            Pair(
                found[0][image_id][0],
                None,
                tuple(_said(manifests[n], found[n][image_id], rows[n].model.threshold) for n in (0, 1)),  # type: ignore[arg-type]
            )
            for image_id in ids
            if image_id in found[0] and image_id in found[1]
        ]

    return comparison_view(
        rows, arrays, lambda name: compare(first, second, name), pairs_of, split=split, cell=cell, cursor=cursor
    )


def _said(manifest: BundleManifest, found: tuple[ImageFacts, queries.SaidShapes], threshold: float) -> Said:
    item = evidence_of(manifest, *found, threshold)
    return Said(item.is_wrong, note=item.note, overlay=item.overlay)
