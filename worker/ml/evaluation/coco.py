"""Average precision and matching of finds to what people drew, by the COCO evaluation of a kept library.

Source: Lin et al., Microsoft COCO, ECCV 2014, arXiv:1405.0312, and cocodataset.org/#detection-eval, as computed by
`faster-coco-eval` (Apache-2.0). N is the number of images, K of classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.contracts.predictions import ShapeMatch

MATCH_IOU = 0.5


@dataclass(frozen=True)
class Boxed:
    """Boxes of one image (M, 4), xyxy in its pixels, the class index of each (M,) and, for finds, the score (M,)."""

    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray | None = None


@dataclass(frozen=True)
class AveragePrecision:
    """`by_category` holds (AP50, AP50-95) or None for a class that nobody drew; the means leave those out."""

    map50: float | None
    map50_95: float | None
    by_category: tuple[tuple[float, float] | None, ...]


def average_precision(truth: Sequence[Boxed], finds: Sequence[Boxed], n_categories: int) -> AveragePrecision:
    """Return average precision over N images; finds are ranked by their scores, at most 100 an image count."""
    if not any(len(one.boxes) for one in truth):
        return AveragePrecision(None, None, (None,) * n_categories)
    precision = _evaluate(truth, finds, n_categories).eval["precision"]  # (IoU, recall, class, area, number)
    rows: list[tuple[float, float] | None] = []
    for category in range(n_categories):
        values = precision[:, :, category, 0, -1]
        # The library says -1 where a class has no truth.
        rows.append((float(values[0].mean()), float(values.mean())) if (values > -1).all() else None)
    known = np.array([row for row in rows if row is not None])
    return AveragePrecision(float(known[:, 0].mean()), float(known[:, 1].mean()), tuple(rows))


@dataclass(frozen=True)
class Match:
    """A find and what it was matched with: indices into the image's finds and truth; None: no partner."""

    image: int
    find: int | None
    truth: int | None


def match(truth: Sequence[Boxed], finds: Sequence[Boxed], n_categories: int, *, by_category: bool) -> list[Match]:
    """Pair finds with truth at an intersection over union of 0.5 or more, the best find first, each at most once.

    Args:
        truth: What people drew, by image.
        finds: What the model found, those above the threshold only.
        n_categories: K.
        by_category: Pair within classes only; else any find may pair with any truth.
    """
    truth_ids = [(image, index) for image, one in enumerate(truth) for index in range(len(one.boxes))]
    find_ids = [(image, index) for image, one in enumerate(finds) for index in range(len(one.boxes))]
    pairs: list[tuple[int, int]] = []
    if truth_ids and find_ids:
        matched = _evaluate(truth, finds, n_categories, only_half=True, by_category=by_category).eval["matched"]
        pairs = [(int(find), int(drawn)) for find, drawn in (key.split("_") for key in matched)]
    found = {drawn for _, drawn in pairs}
    used = {find for find, _ in pairs}
    both = [Match(find_ids[find - 1][0], find_ids[find - 1][1], truth_ids[drawn - 1][1]) for find, drawn in pairs]
    missed = [Match(image, None, index) for n, (image, index) in enumerate(truth_ids, 1) if n not in found]
    extra = [Match(image, index, None) for n, (image, index) in enumerate(find_ids, 1) if n not in used]
    return [*both, *missed, *extra]


def matches_of(truth: Sequence[Boxed], finds: Sequence[Boxed], n_categories: int) -> list[tuple[ShapeMatch, ...]]:
    """Return, for each image, what each of its finds was matched with, within its class and whatever the class."""
    own: dict[tuple[int, int], int | None] = {}
    other: dict[tuple[int, int], int | None] = {}
    for found, by_category in ((own, True), (other, False)):
        for pair in match(truth, finds, n_categories, by_category=by_category):
            if pair.find is not None:
                found[pair.image, pair.find] = pair.truth
    return [
        tuple(ShapeMatch(own=own[image, place], any=other[image, place]) for place in range(len(one.boxes)))
        for image, one in enumerate(finds)
    ]


def _evaluate(
    truth: Sequence[Boxed],
    finds: Sequence[Boxed],
    n_categories: int,
    *,
    only_half: bool = False,
    by_category: bool = True,
):
    from faster_coco_eval import COCO, COCOeval_faster

    categories = [{"id": index + 1, "name": str(index)} for index in range(n_categories)]
    images = [{"id": index + 1} for index in range(len(truth))]
    drawn = COCO({"info": {}, "images": images, "categories": categories, "annotations": _rows(truth)})
    found = (
        drawn.loadRes(_rows(finds))
        if any(len(one.boxes) for one in finds)
        else COCO({"info": {}, "images": images, "categories": categories, "annotations": []})
    )
    run = COCOeval_faster(drawn, found, iouType="bbox", extra_calc=only_half)
    run.params.useCats = int(by_category)
    run.params.maxDets = [1, 10, 100]
    if only_half:
        run.params.iouThrs = np.array([MATCH_IOU])
    run.params.areaRng, run.params.areaRngLbl = run.params.areaRng[:1], run.params.areaRngLbl[:1]
    run.evaluate()
    run.accumulate()
    return run


def _rows(images: Sequence[Boxed]) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for index, one in enumerate(images):
        for place, (box, label) in enumerate(zip(one.boxes.tolist(), one.labels.tolist(), strict=True)):
            width, height = box[2] - box[0], box[3] - box[1]
            row = {
                "id": len(rows) + 1,
                "image_id": index + 1,
                "category_id": label + 1,
                "bbox": [box[0], box[1], width, height],
                "area": width * height,
                "iscrowd": 0,
            }
            if one.scores is not None:
                row["score"] = float(one.scores[place])
            rows.append(row)
    return rows
