"""View models of the Models screens, made from rows and arrays."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np
from sqlalchemy.orm import Session

from app.catalog.backbones import BACKBONES
from app.catalog.symmetries import SYMMETRIES
from app.contracts.bundle import BundleManifest
from app.contracts.tasks import TaskType
from app.db.tables import ModelVersion
from app.inference.decision import Answers, answers_of, good_index_of, ng_scores
from app.inference.headline import HEADLINES, headline_of
from app.registry import queries
from app.registry.arrays import SplitArrays, arrays_of
from app.registry.comparison import CELLS, Comparison, compare
from app.registry.galleries import Pile, page_rows
from app.registry.heat import explained_class
from app.registry.overlays import OverlayShape
from app.registry.queries import ImageFacts, ModelRow
from app.registry.report import marks_of
from app.registry.schemas import SPLITS, ClassMark, Evidence, GalleryPage, ModelCard, ModelHead, ScoreCell
from app.registry.shape_comparison import ShapeComparison

GALLERY_SIZE = 48


def card_of(row: ModelRow) -> ModelCard:
    manifest = row.model.manifest
    task = TaskType(manifest["task"])
    return ModelCard(
        id=row.model.id,
        name=row.model.name,
        score_name=HEADLINES[task][0],
        scores=tuple(_cell(row.model, task, split) for split in SPLITS),
        dataset_number=row.head.dataset_number,
        n_images=row.head.dataset_n_images,
        backbone=backbone_name(str((manifest.get("lineage") or {}).get("backbone", ""))),
        created_at=row.head.created_at,
        created_by=row.head.created_by,
        deployments=tuple(name for _, name in row.head.deployments),
    )


def _cell(model: ModelVersion, task: TaskType, split: str) -> ScoreCell:
    figure = headline_of(task, model.metrics, split) or {}
    return ScoreCell(split, figure.get("value"), figure.get("low"), figure.get("high"))


def backbone_name(backbone_id: str) -> str:
    card = BACKBONES.get(backbone_id)
    return card.name if card else backbone_id


def symmetry_name(symmetry_id: str) -> str:
    card = SYMMETRIES.get(symmetry_id)
    return card.name if card else symmetry_id


def gallery_page(
    session: Session,
    *,
    project_id: int,
    manifest: BundleManifest,
    part: SplitArrays,
    answers: Answers,
    pile: Pile,
    cursor: str | None,
    limit: int | None = None,
) -> GalleryPage:
    """Return one page of a pile with the facts of its images, in one statement.

    Images that were purged since are left out.

    Raises:
        Invalid: `cursor` is none of ours.
    """
    rows, next_cursor = page_rows(pile, part.image_ids, cursor, limit or GALLERY_SIZE)
    items = evidence(session, project_id=project_id, manifest=manifest, part=part, answers=answers, rows=rows)
    return GalleryPage(items, next_cursor, len(pile))


def evidence(
    session: Session,
    *,
    project_id: int,
    manifest: BundleManifest,
    part: SplitArrays,
    answers: Answers,
    rows: Sequence[int],
) -> list[Evidence]:
    """Return what is shown of the images in these rows of a split, in this order; purged ones are left out."""
    ids = part.image_ids[list(rows)].tolist()
    facts = queries.images_by_id(session, project_id, ids)
    marks, good = marks_of(manifest), good_index_of(manifest)
    found: list[Evidence] = []
    for row, image_id in zip(rows, ids, strict=True):
        if image_id not in facts:
            continue
        fact, truth, predicted = facts[image_id], int(part.truth[row]), int(answers.predicted[row])
        note = "" if good is None else f"NG {ng_scores(part.scores[row : row + 1], good)[0]:.2f}"
        found.append(
            Evidence(
                image_id=image_id,
                name=fact.name,
                width_px=fact.width_px,
                height_px=fact.height_px,
                category=marks[truth] if truth >= 0 else None,
                predicted=marks[predicted],
                score=float(answers.score[row]),
                is_wrong=truth >= 0 and truth != predicted,
                is_unsure=bool(answers.is_unsure[row]),
                note=note,
                is_deleted=fact.is_deleted,
            )
        )
    return found


def lineage_facts(row: ModelRow, manifest: BundleManifest) -> list[tuple[str, str]]:
    """Return where a model comes from, as pairs for a list; empty values are left out."""
    line, size = manifest.lineage, manifest.preprocessing
    libraries = ", ".join(f"{name} {version}" for name, version in sorted(line.libraries.items()))
    pairs = [
        ("Dataset", f"Version {row.head.dataset_number}" if row.head.dataset_number else ""),
        ("Images", f"{row.head.dataset_n_images:,} labelled" if row.head.dataset_number else ""),
        ("Content hash", line.dataset_hash),
        ("Backbone", backbone_name(line.backbone)),
        ("Backbone SHA-256", line.backbone_sha256),
        ("Method", line.method.replace("_", " ").capitalize()),
        ("Head", line.head.replace("_", " ").capitalize()),
        ("Symmetry", symmetry_name(line.symmetry)),
        ("Input", f"{size.width_px} × {size.height_px} px, {size.resize}, {size.resample}"),
        ("Windows", _windows(manifest)),
        ("Compared with", _references(manifest)),
        ("Precision", manifest.precision),
        ("Seed", str(line.seed)),
        ("Temperature", "" if manifest.task.has_shapes else f"{manifest.temperature:.3f}"),
        ("Code", line.code_version),
        ("Libraries", libraries),
        ("Made by", row.head.created_by or line.created_by or ""),
        ("Model SHA-256", manifest.model_sha256),
    ]
    return [(name, value) for name, value in pairs if value]


def _windows(manifest: BundleManifest) -> str:
    tiling = manifest.tiling
    return f"{tiling.side_px} px of the image, sharing {tiling.overlap_px} px" if tiling else ""


_COMPARED = {
    "one": "one reference image for all",
    "name": "a reference image each, by name",
    "metadata": "a reference image each, by metadata",
}


def _references(manifest: BundleManifest) -> str:
    bundled = manifest.reference
    if bundled is None:
        return ""
    held = f"{len(bundled.pictures):,} in the model" if bundled.pictures else "sent with each call"
    return f"{_COMPARED[bundled.rule.kind]}; {held}"


def in_order(rows: dict[UUID, ModelRow], ids: Sequence[UUID]) -> list[ModelRow]:
    return [rows[model_id] for model_id in ids if model_id in rows]


@dataclass(frozen=True, slots=True)
class Said:
    """What a model says of an image of a comparison: a class with its score, or shapes and a note."""

    is_wrong: bool
    mark: ClassMark | None = None
    score: float = 0.0
    is_unsure: bool = False
    note: str = ""
    overlay: tuple[OverlayShape, ...] = ()


@dataclass(frozen=True, slots=True)
class Pair:
    """One image and what two models say of it; `category` is None where images carry shapes."""

    fact: ImageFacts
    category: ClassMark | None
    answers: tuple[Said, Said]


@dataclass(frozen=True, slots=True)
class ComparisonView:
    """The comparison page: both models, their figures, and the images of one cell."""

    heads: tuple[ModelHead, ModelHead]
    thresholds: tuple[float, float]
    has_heat: tuple[bool, bool]
    result: Comparison | ShapeComparison
    n_by_split: dict[str, int]
    cell: str
    pairs: list[Pair]
    next_cursor: str | None


Pairing = Callable[[Any, Sequence[int]], list[Pair]]
"""Called with a comparison and row numbers of it; returns those images with both answers."""


def comparison_view(
    rows: Sequence[ModelRow],
    arrays: Sequence[Any],
    compare_split: Callable[[str], Any],
    pairs_of: Pairing,
    *,
    split: str | None,
    cell: str | None,
    cursor: str | None,
) -> ComparisonView:
    """Return two models side by side, each at its own threshold. Raises `Invalid` for a cursor that is none of ours.

    Args:
        rows: The two models.
        arrays: All predictions of each.
        compare_split: Compares them on a split.
        pairs_of: Reads the images of a page.
        split: None opens the first of test, dev and train that both share.
        cell: None opens the first that is worth looking at.
        cursor: Of the page of images.
    """
    common = {name: int(np.isin(arrays[0].of(name).image_ids, arrays[1].of(name).image_ids).sum()) for name in SPLITS}
    result = compare_split(split or next((name for name in SPLITS if common[name]), SPLITS[0]))
    counts = result.counts
    cell = (
        cell
        if cell in CELLS
        else next((name for name in ("only_b", "only_a", "both_wrong") if counts[name]), "both_right")
    )
    picked, next_cursor = result.page(cell, cursor, GALLERY_SIZE // 2)
    return ComparisonView(
        heads=(rows[0].head, rows[1].head),
        thresholds=(rows[0].model.threshold, rows[1].model.threshold),
        has_heat=(_has_heat(rows[0]), _has_heat(rows[1])),
        result=result,
        n_by_split=common,
        cell=cell,
        pairs=pairs_of(result, picked),
        next_cursor=next_cursor,
    )


def _has_heat(row: ModelRow) -> bool:
    return row.model.manifest.get("heat_name") is not None


def class_comparison(
    session: Session,
    project_id: int,
    rows: Sequence[ModelRow],
    *,
    split: str | None,
    cell: str | None,
    cursor: str | None,
) -> ComparisonView:
    """Return the comparison of two models that answer for an image as a whole."""
    manifests = [BundleManifest.model_validate(row.model.manifest) for row in rows]
    arrays = [arrays_of(session, row.model, manifest) for row, manifest in zip(rows, manifests, strict=True)]
    first, second = (
        (manifest, array, row.model.threshold) for manifest, array, row in zip(manifests, arrays, rows, strict=True)
    )
    return comparison_view(
        rows,
        arrays,
        lambda name: compare(first, second, name),
        lambda result, picked: _pairs(session, project_id, result, picked),
        split=split,
        cell=cell,
        cursor=cursor,
    )


def _pairs(session: Session, project_id: int, result: Comparison, rows: Sequence[int]) -> list[Pair]:
    ids = result.image_ids[list(rows)].tolist()
    facts = queries.images_by_id(session, project_id, ids)

    def said(answers: Answers, row: int) -> Said:
        mark, is_unsure = result.marks[int(answers.predicted[row])], bool(answers.is_unsure[row])
        is_wrong = is_unsure or mark.id != result.marks[int(result.truth[row])].id
        return Said(is_wrong, mark, float(answers.score[row]), is_unsure)

    return [
        Pair(facts[image_id], result.marks[int(result.truth[row])], (said(result.first, row), said(result.second, row)))
        for row, image_id in zip(rows, ids, strict=True)
        if image_id in facts
    ]


@dataclass(frozen=True, slots=True)
class ImageView:
    """One image and everything a model said of it, the likeliest class first."""

    template = "pages/registry/image.html"

    item: Evidence
    split: str | None
    scores: tuple[tuple[ClassMark, float], ...]
    ng_score: float | None
    explained: ClassMark


def find_image_view(
    session: Session, *, project_id: int, row: ModelRow, manifest: BundleManifest, image_id: int, threshold: float
) -> ImageView | None:
    """Return an image with its scores, or None where the model has said nothing of it."""
    found = queries.find_prediction(session, project_id=project_id, model_id=row.model.id, image_id=image_id)
    if found is None:
        return None
    picture, prediction = found
    marks, good = marks_of(manifest), good_index_of(manifest)
    scores = np.asarray([prediction.scores], dtype=np.float64)
    answers = answers_of(scores, manifest, threshold)
    predicted = marks[int(answers.predicted[0])]
    category = next((mark for mark in marks if mark.id == prediction.true_category_id), None)
    return ImageView(
        item=Evidence(
            image_id=picture.id,
            name=picture.name,
            width_px=picture.width_px,
            height_px=picture.height_px,
            category=category,
            predicted=predicted,
            score=float(answers.score[0]),
            is_wrong=category is not None and category != predicted,
            is_unsure=bool(answers.is_unsure[0]),
            note="",
            is_deleted=picture.deleted_at is not None,
        ),
        split=prediction.split,
        scores=tuple(sorted(zip(marks, prediction.scores, strict=True), key=lambda pair: -pair[1])),
        ng_score=None if good is None else float(ng_scores(scores, good)[0]),
        explained=marks[explained_class(manifest, prediction.scores)],
    )
