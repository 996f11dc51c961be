"""Datasets of drawn boards, each image with its reference."""

import hashlib
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from app.contracts.dataset import AnnotationValue, CategoryRef, Dataset, DatasetItem
from app.contracts.reference import ReferenceImage, ReferenceRule
from app.contracts.shapes import Box
from app.contracts.tasks import Split, TaskType
from app.inference.rasters import encode_mask
from benchmarks.boards import CLASSES, draw_pair, layout

SIDE_PX = 64
IDS = (7, 9)
CATEGORIES = tuple(
    CategoryRef(id=number, name=name, color=color)
    for number, name, color in zip(IDS, CLASSES, ("#22aa66", "#cc3344"), strict=True)
)
ONE = ReferenceRule(kind="one")
BY_NAME = ReferenceRule(kind="name", image_ending="_test", reference_ending="_temp")


class Boards:
    """A dataset of boards with their bytes: all of one layout with the rule `one`, else each of its own."""

    def __init__(
        self, plan: Sequence[Split | None], rule: ReferenceRule, task: TaskType = TaskType.DETECTION, *, seed: int = 0
    ) -> None:
        generator = np.random.default_rng(seed)
        self.content: dict[str, bytes] = {}
        items, pads = [], layout(generator, cells=5)
        for index, split in enumerate(plan):
            pads = pads if rule.kind == "one" else layout(generator, cells=5)
            pair = draw_pair(generator, pads, n_defects=index % 4, side_px=SIDE_PX)
            items.append(
                DatasetItem(
                    image_id=index,
                    blob_key=f"image-{index}",
                    split=split,
                    annotations=tuple(_value(task, *one) for one in pair.defects) if split else (),
                    reference=ReferenceImage(
                        key="" if rule.kind == "one" else f"part{index}",
                        blob_key=f"reference-{index}",
                        **self._kept(f"reference-{index}", pair.reference),
                    ),
                    **self._kept(f"image-{index}", pair.picture),
                )
            )
        self.dataset = Dataset(
            task=task,
            categories=CATEGORIES,
            items=tuple(item for item in items if item.split),
            unlabelled=tuple(item for item in items if not item.split),
            reference_rule=rule,
        )

    def open_image(self, item: DatasetItem) -> bytes:
        return self.content[item.blob_key]

    def _kept(self, key: str, pixels: np.ndarray) -> dict:
        self.content[key] = png(pixels)
        sha256 = hashlib.sha256(self.content[key]).hexdigest()
        return {"sha256": sha256, "width_px": pixels.shape[1], "height_px": pixels.shape[0]}


def png(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def _value(task: TaskType, label: int, box: tuple[float, float, float, float]) -> AnnotationValue:
    if task is TaskType.DETECTION:
        return AnnotationValue(category_id=IDS[label], box=Box(xmin=box[0], ymin=box[1], xmax=box[2], ymax=box[3]))
    marked = np.zeros((SIDE_PX, SIDE_PX), dtype=bool)
    left, top, right, bottom = (round(side) for side in box)
    marked[top:bottom, left:right] = True
    return AnnotationValue(category_id=IDS[label], mask=encode_mask(marked))
