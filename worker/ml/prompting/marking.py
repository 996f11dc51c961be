"""From strokes on a few images to masks on all of them: learn, then mark image by image."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.catalog import BackboneCard, NotTrainable
from app.contracts.bundle import MaskRule, Precision
from app.contracts.dataset import CategoryRef, DatasetItem
from app.contracts.predictions import PredictedShape
from app.contracts.shapes import Box
from app.contracts.strokes import Stroke
from app.inference.rasters import TooRagged, decode_mask, encode_mask
from app.inference.segmentation import ScoreGrid, gathered, regions
from app.inference.sessions.openvino import n_cpus
from worker.ml.data.extraction import OpenImage
from worker.ml.prompting.classifier import Painted, PixelClassifier, at_places, collect, fit
from worker.ml.prompting.maps import PixelMaps, default_backbone, plan
from worker.ml.prompting.painted import painted_places, seen_places

_N_OTHERS = 6_000  # places drawn at random from all images
_MOST_OTHERS = 64  # from one image
_MOST_PX = 2_000_000  # larger images get masks of this size, enlarged

Strokes = Mapping[int, Sequence[Stroke]]
"""What was painted, by the id of the image."""


@dataclass(frozen=True)
class Progress:
    """What `Marking` says while it works: a stage in words, and `share` of it done, in [0, 1]."""

    stage: str
    share: float


OnProgress = Callable[[Progress], None]


class Marking:
    """Strokes and the images that they are for.

    Args:
        items: All images that are looked at, those that were painted on among them.
        strokes: What was painted.
        categories: The classes, in the order of their index.
        cache_dir: Where graphs and maps are kept.
        open_image: Gives the file of an image.
        on_progress: Told now and then; may raise, to stop.
        card: The backbone.
        precision: Of the maps.
    """

    def __init__(
        self,
        items: Sequence[DatasetItem],
        strokes: Strokes,
        categories: Sequence[CategoryRef],
        *,
        cache_dir: Path,
        open_image: OpenImage,
        on_progress: OnProgress = lambda _progress: None,
        card: BackboneCard | None = None,
        precision: Precision = "bf16",
    ) -> None:
        self.items, self.strokes = items, strokes
        self.index_of = {category.id: index for index, category in enumerate(categories)}
        self._say = on_progress
        self.card = card or default_backbone()
        self.maps = PixelMaps(
            self.card, plan(items, self.card), cache_dir=cache_dir, open_image=open_image, precision=precision
        )
        self.unreadable: dict[int, str] = {}
        self.rule = MaskRule()

    def learn(self) -> PixelClassifier:
        """Return what the strokes teach.

        Raises:
            NotTrainable: No stroke of a class lies on an image that can be read.
        """
        self.unreadable = self.maps.make(
            self.items, on_image=lambda done, total: self._say(Progress(f"Looking at images, {done} of {total}", 0.0))
        )
        self._say(Progress("Learning from the strokes", 0.0))
        generator = np.random.default_rng(0)
        readable = [item for item in self.items if item.image_id not in self.unreadable]
        painted = [self._painted(item, generator) for item in readable if self.strokes.get(item.image_id)]
        if not any((one.values > 0).any() for one in painted):
            raise NotTrainable("No stroke of a class lies on an image that can be read. Paint one on another image.")
        return fit(
            painted,
            self._others(readable, generator),
            n_categories=len(self.index_of),
            channels=self.maps.channels,
        )

    def mark(
        self, classifier: PixelClassifier, items: Sequence[DatasetItem]
    ) -> Iterator[tuple[DatasetItem, tuple[PredictedShape, ...]]]:
        """Give each readable image with its masks, the best first, in the order of `items`."""
        readable = [item for item in items if item.image_id not in self.unreadable]
        with ThreadPoolExecutor(n_cpus()) as pool:
            try:
                every = pool.map(lambda item: self.find(classifier, item), readable)
                for n_done, (item, found) in enumerate(zip(readable, every, strict=True), start=1):
                    self._say(Progress(f"Marking images, {n_done} of {len(readable)}", n_done / len(readable)))
                    yield item, found
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def grid(self, classifier: PixelClassifier, item: DatasetItem, size_px: tuple[int, int]) -> ScoreGrid:
        """Return the scores of every place of an image, drawn at a size (width, height)."""
        scores = classifier.scores(self.maps.read(item))
        return gathered(size_px, lambda _window: scores, preprocessing=self.maps.preprocessing)

    def find(self, classifier: PixelClassifier, item: DatasetItem) -> tuple[PredictedShape, ...]:
        """Return the masks of one image, the best first."""
        own = item.width_px, item.height_px
        scale = min(1.0, (_MOST_PX / (own[0] * own[1])) ** 0.5)
        size = (max(1, round(own[0] * scale)), max(1, round(own[1] * scale))) if scale < 1 else own
        found = regions(self.grid(classifier, item, size), self.rule)
        return found if size == own else tuple(_enlarged(one, size, own) for one in found)

    def _painted(self, item: DatasetItem, generator: np.random.Generator) -> Painted:
        places = painted_places(
            self.strokes[item.image_id],
            self.index_of,
            width_px=item.width_px,
            height_px=item.height_px,
            preprocessing=self.maps.preprocessing,
        )
        return collect(self.maps.read(item), places, generator)

    def _others(self, items: Sequence[DatasetItem], generator: np.random.Generator) -> np.ndarray:
        """Return channels (U, D) of places drawn at random from images, as many from each."""
        drawn = [items[index] for index in generator.permutation(len(items))[:_N_OTHERS]]
        n_each = min(_MOST_OTHERS, -(-_N_OTHERS // len(drawn)))

        def of_image(item: DatasetItem, seed: int) -> np.ndarray:
            seen = np.flatnonzero(seen_places(item.width_px, item.height_px, self.maps.preprocessing))
            chosen = np.random.default_rng(seed).choice(seen, min(n_each, len(seen)), replace=False)
            return at_places(self.maps.read(item), chosen // self.maps.grid, chosen % self.maps.grid)

        with ThreadPoolExecutor(n_cpus()) as pool:
            return np.concatenate(list(pool.map(of_image, drawn, range(len(drawn)))))


def _enlarged(found: PredictedShape, size: tuple[int, int], own: tuple[int, int]) -> PredictedShape:
    """Return a mask that was found at a size (width, height) in pixels of the image."""
    import cv2

    assert found.mask is not None
    mask = found.mask
    scale = own[0] / size[0], own[1] / size[1]
    left, top = round(mask.xmin * scale[0]), round(mask.ymin * scale[1])
    right = min(own[0], max(left + 1, round((mask.xmin + mask.width) * scale[0])))
    bottom = min(own[1], max(top + 1, round((mask.ymin + mask.height) * scale[1])))
    soft = cv2.resize(
        decode_mask(mask).astype(np.uint8) * 255, (right - left, bottom - top), interpolation=cv2.INTER_LINEAR
    )
    marked = soft > 127 if (soft > 127).any() else np.ones_like(soft, dtype=bool)
    try:
        large = encode_mask(marked, left=left, top=top)
    except TooRagged:  # its rectangle says at least where it is
        large = encode_mask(np.ones_like(marked), left=left, top=top)
    bounds = large.bounds
    box = Box(xmin=bounds.xmin, ymin=bounds.ymin, xmax=bounds.xmax, ymax=bounds.ymax)
    return found.model_copy(update={"mask": large, "box": box})
