"""How well anomaly maps find the places that people marked, while the images are judged anyway."""

import threading
from collections.abc import Sequence

import numpy as np
from PIL import Image

from app.contracts.bundle import Preprocessing
from app.contracts.dataset import DatasetItem
from app.contracts.tasks import Split
from app.inference.rasters import draw_shape
from app.inference.scoring import without_letterbox
from worker.ml.evaluation.localisation import Localisation

_MOST = 200  # images of a kind in a split: enough for the figures, and their time stays bounded


class Places:
    """The figures of each split with a marked image, over its marked and its good images, at most 200 of each.

    An abnormal image without a mask says nothing about places, and is left out.

    Args:
        items: The labelled images.
        good_ids: The classes of good images: nothing is abnormal on them.
        preprocessing: How pictures become the network's input.
        seed: Of the choice among many images.
    """

    def __init__(
        self, items: Sequence[DatasetItem], good_ids: set[int], preprocessing: Preprocessing, *, seed: int
    ) -> None:
        self._preprocessing = preprocessing
        self._lock = threading.Lock()
        self._of: dict[int, Localisation] = {}
        self._by_split: dict[Split, Localisation] = {}
        for split in Split:
            members = [item for item in items if item.split is split]
            marked = [item for item in members if _is_marked(item) and item.category_id not in good_ids]
            if marked:
                tally = self._by_split[split] = Localisation()
                good = [item for item in members if item.category_id in good_ids]
                generator = np.random.default_rng(seed)
                for kind in (marked, good):
                    some = generator.permutation(len(kind))[:_MOST]
                    self._of |= {kind[index].image_id: tally for index in some}

    def __bool__(self) -> bool:
        return bool(self._of)

    def add(self, item: DatasetItem, distances: np.ndarray) -> None:
        """Count an image's map (G', G), its values 0 or more, where the figures need it; from any thread."""
        tally = self._of.get(item.image_id)
        if tally is None:
            return
        mask = np.zeros((item.height_px, item.width_px), dtype=bool)
        for annotation in item.annotations:
            if annotation.shape is not None:
                draw_shape(annotation.shape, mask, True)
        size_px = (item.width_px, item.height_px)
        shown = Image.fromarray(without_letterbox(distances.astype(np.float32), size_px, self._preprocessing))
        values = np.maximum(np.asarray(shown.resize(size_px, Image.Resampling.BICUBIC)), 0.0)
        with self._lock:
            tally.add(mask, values / (values + 1.0))

    def figures(self, split: Split) -> dict[str, float | None]:
        """Return the figures of a split under the names of `SplitMetrics`; none where no image of it is marked."""
        tally = self._by_split.get(split)
        return {} if tally is None else {"pixel_auroc": tally.pixel_auroc(), "aupro": tally.aupro()}


def _is_marked(item: DatasetItem) -> bool:
    return any(annotation.shape is not None for annotation in item.annotations)
