"""What a segmenter learns from: cut-outs around defects, rare classes more often, and how well it does on dev.

K is the number of classes; background is index 0, class k is k + 1.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from app.catalog import BackboneCard
from app.contracts.bundle import Preprocessing
from worker.ml.backbones.tail import taps_of
from worker.ml.data.augmentation import Augmentation
from worker.ml.data.crops import Crops
from worker.ml.evaluation.segmentation import dice_of, mean_iou
from worker.ml.heads.segmentation import OUTPUT_STRIDE, SegmentationHead, segmentation_loss, soft_targets
from worker.ml.training.phases import drawn

BATCH = 8  # more steps fit into the same time than with larger ones, and minutes are all there is
CROP_PX = 224  # side of what one step sees of a window: around a defect, where there is one
_FINEST_STRIDE = 4
_WIDTH = 64
_MOST_WEIGHT = 4.0  # of a rare class in the loss, next to background
_SHARE_WITHOUT = 0.4  # of the cut-outs, at most: those with a defect show background too
_MIN_STEPS_AN_EPOCH, _MAX_STEPS_AN_EPOCH = 10, 200


class SegmentationLearner:
    """See `worker.ml.training.phases.Learner`.

    Args:
        card: The backbone.
        train: Windows with their classes.
        dev: Windows to choose the best epoch by; may be empty.
        n_categories: K.
        preprocessing: Size of the windows.
        augmentation: How cut-outs are changed.
    """

    score_name = "mean_iou"
    score_shown_as = "mean IoU and Dice on dev"

    def __init__(
        self,
        card: BackboneCard,
        train: Crops,
        dev: Crops,
        *,
        n_categories: int,
        preprocessing: Preprocessing,
        augmentation: Augmentation,
    ) -> None:
        self._train, self._dev, self._n_categories = train, dev, n_categories
        self._augmentation = augmentation
        self.taps = taps_of(card, finest_stride=_FINEST_STRIDE)
        stages = [card.maps[tap] for tap in self.taps]
        self.head = SegmentationHead([one.channels for one in stages], stages[0].stride, n_categories, width=_WIDTH)
        self.side_px = min(CROP_PX, preprocessing.width_px, preprocessing.height_px)
        has_marks = np.array([len(one.labels) > 0 for one in train.marked])
        self._with, self._without = np.flatnonzero(has_marks), np.flatnonzero(~has_marks)
        self._chances = _chances([train.marked[index].labels for index in self._with], n_categories)
        self._weights = self._class_weights()
        self.n_batch = min(BATCH, max(2, len(train)))
        # Each marked window about six times: judging dev costs as much as some steps.
        self.n_steps = int(np.clip(6 * len(self._with) // self.n_batch, _MIN_STEPS_AN_EPOCH, _MAX_STEPS_AN_EPOCH))

    def order(self, n: int, generator: np.random.Generator) -> np.ndarray:
        n_without = round(n * min(_SHARE_WITHOUT, len(self._without) / max(1, len(self._train))))
        with_marks = generator.choice(self._with, n - n_without, p=self._chances)
        return generator.permutation(np.concatenate([with_marks, drawn(self._without, n_without, generator)]))

    def changed(self, index: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        pixels, classes = self._train.picture(index), self._train.classes_of(index)
        height, width = classes.shape
        centre = None
        if self.side_px < max(height, width):
            places = np.flatnonzero(classes)
            place = int(generator.choice(places)) if len(places) else int(generator.integers(classes.size))
            # Inside, so that a cut-out shows as much as it can.
            half = self.side_px / 2
            y, x = divmod(place, width)
            centre = (_inside(x, half, width), _inside(y, half, height))
        return self._augmentation.apply_to_classes(pixels, classes, generator, side_px=self.side_px, centre=centre)

    def target(self, marks: list[np.ndarray]) -> Tensor:
        return soft_targets(torch.from_numpy(np.stack(marks)), self._n_categories)

    def loss(self, answers: Tensor, target: Tensor) -> Tensor:
        return segmentation_loss(answers, target, self._weights.to(answers.device))

    def score(self, answers: Iterator[Tensor]) -> float:
        """Return the mean of the classes' mean IoU and the Dice of defects as a whole, on dev."""
        n = self._n_categories + 1
        counts = np.zeros((1, n, n))
        index = 0
        for logits in answers:
            for found in logits.argmax(1).numpy():
                truth = self._dev.classes_of(index)[::OUTPUT_STRIDE, ::OUTPUT_STRIDE]
                pairs = truth.astype(np.int64) * n + found[: truth.shape[0], : truth.shape[1]]
                counts[0] += np.bincount(pairs.ravel(), minlength=n * n).reshape(n, n)
                index += 1
        figures = np.array([mean_iou(counts)[0], dice_of(counts)[0]])
        return float(np.nan_to_num(figures).mean())

    def _class_weights(self) -> Tensor:
        """Return the weights of the classes in the loss, (K + 1,): the rarer their pixels, the more, up to a limit."""
        counts = np.zeros(self._n_categories + 1)
        for index in self._with.tolist():
            counts += np.bincount(self._train.classes_of(index).ravel(), minlength=len(counts))
        weights = np.sqrt(counts[0] / np.maximum(counts, 1.0))
        return torch.tensor(np.clip(weights, 1.0, _MOST_WEIGHT), dtype=torch.float32)


def _chances(labels: list[np.ndarray], n_categories: int) -> np.ndarray:
    """Return how often each window is shown, (N,), summing to 1: by its rarest class, inverse to the square root."""
    n_windows = np.zeros(n_categories)
    for own in labels:
        n_windows[np.unique(own)] += 1
    weights = np.array([(1.0 / np.sqrt(n_windows[np.unique(own)])).max() for own in labels])
    return np.asarray(weights / weights.sum()) if len(weights) else weights


def _inside(place: int, half: float, length: int) -> float:
    return float(np.clip(place, half, length - half)) if length > 2 * half else length / 2
