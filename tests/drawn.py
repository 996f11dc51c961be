"""Datasets of drawn pictures, for heads that learn where something is."""

import hashlib
import io
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from app.contracts.dataset import AnnotationValue, CategoryRef, Dataset, DatasetItem
from app.contracts.tasks import Split, TaskType

Draw = Callable[[np.random.Generator, int], tuple[np.ndarray, tuple[AnnotationValue, ...]]]
"""Called with a generator and a number of shapes; returns grey levels (H, W) of any range, and what it drew."""


class Drawn:
    """A dataset with its pictures: one for each entry of `plan`, None for one without labels.

    Each holds fewer than `n_shapes` shapes, every fifth perhaps none.
    """

    def __init__(
        self,
        plan: Sequence[Split | None],
        draw: Draw,
        task: TaskType,
        categories: Sequence[CategoryRef],
        *,
        n_shapes: int,
        seed: int = 0,
    ) -> None:
        generator = np.random.default_rng(seed)
        self.content: dict[str, bytes] = {}
        items = []
        for index, split in enumerate(plan):
            n = int(generator.integers(0 if index % 5 == 0 else 1, n_shapes))
            pixels, shapes = draw(generator, n)
            buffer = io.BytesIO()
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, "PNG")
            data = self.content[f"image-{index}"] = buffer.getvalue()
            items.append(
                DatasetItem(
                    image_id=index,
                    sha256=hashlib.sha256(data).hexdigest(),
                    blob_key=f"image-{index}",
                    width_px=pixels.shape[1],
                    height_px=pixels.shape[0],
                    split=split,
                    annotations=shapes if split else (),
                )
            )
        self.dataset = Dataset(
            task=task,
            categories=tuple(categories),
            items=tuple(item for item in items if item.split),
            unlabelled=tuple(item for item in items if not item.split),
        )

    def open_image(self, item: DatasetItem) -> bytes:
        return self.content[item.blob_key]
