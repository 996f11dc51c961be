"""What a detector learns from, and how well it does on dev. A is the number of points of a window, K of classes."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from app.catalog import BackboneCard
from app.contracts.bundle import FindRule, Preprocessing
from app.inference.detection import select
from worker.ml.backbones.tail import taps_of
from worker.ml.data.augmentation import Augmentation
from worker.ml.data.crops import Crops, Marked
from worker.ml.evaluation.coco import Boxed, average_precision
from worker.ml.evaluation.score_calibration import ScoreMap, fit_score_map
from worker.ml.heads.assignment import Truth
from worker.ml.heads.detection import Answers, DetectionHead, detection_loss
from worker.ml.heads.network import Network
from worker.ml.training.phases import Phase, PhasedFit, drawn

FROZEN_ALONE = Phase("head", "Head", 2e-3, 24, 1.0)
TUNED = Phase(
    "whole", "Head and last stages", 2e-3, 40, 1.0, backbone_share=0.25, block_decay=0.9, backbone_warmup_steps=100
)

BATCH = 16
_FINEST_STRIDE = 8
_MIN_STEPS_AN_EPOCH, _MAX_STEPS_AN_EPOCH = 10, 200
_MAX_WIDTH = 64  # channels inside the head: of 96, as much time goes there as into the backbone
_N_CALIBRATED = 500  # windows; a map of two numbers needs no more
# A low floor: what is far below every threshold still counts in the average precision, and still votes.
FINDS = FindRule(score_floor=0.002, max_overlap=0.5, vote_overlap=0.6, max_candidates=300)
# Raw scores have a scale of their own: no floor but the number of candidates, which bounds the work.
_RAW = FINDS.model_copy(update={"score_floor": 0.0})


class DetectionLearner:
    """See `worker.ml.training.phases.Learner`.

    Args:
        card: The backbone.
        train: Windows to learn from.
        dev: Windows to choose the best epoch by; may be empty.
        n_categories: K.
        preprocessing: Size of the windows.
        augmentation: How they are changed.
    """

    score_name = "map50"
    score_shown_as = "mAP50 on dev"

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
        self._limits = [preprocessing.width_px, preprocessing.height_px] * 2
        self.taps = taps_of(card, finest_stride=_FINEST_STRIDE)
        stages = [card.maps[tap] for tap in self.taps]
        channels = [one.channels for one in stages]
        width = min(_MAX_WIDTH, 2 * max(channels))
        self.head = DetectionHead(channels, [one.stride for one in stages], n_categories, width=width)
        has_marks = np.array([len(one.labels) > 0 for one in train.marked])
        self._with, self._without = np.flatnonzero(has_marks), np.flatnonzero(~has_marks)
        self.n_batch = min(BATCH, max(2, len(train)))
        n_balanced = len(self._with) + min(len(self._without), len(self._with))
        self.n_steps = int(np.clip(n_balanced // self.n_batch, _MIN_STEPS_AN_EPOCH, _MAX_STEPS_AN_EPOCH))

    def order(self, n: int, generator: np.random.Generator) -> np.ndarray:
        """Return the windows of an epoch: all with marks about equally often, and at most as many without."""
        n_without = round(n * min(0.5, len(self._without) / max(1, len(self._train))))
        parts = [drawn(self._with, n - n_without, generator), drawn(self._without, n_without, generator)]
        return generator.permutation(np.concatenate(parts))

    def changed(self, index: int, generator: np.random.Generator) -> tuple[np.ndarray, Marked]:
        return self._augmentation.apply(self._train.picture(index), self._train.marked[index], generator)

    def target(self, marks: list[Marked]) -> Truth:
        return truth_of(marks)

    def loss(self, answers: Answers, target: Truth) -> Tensor:
        return detection_loss(answers, target)

    def score(self, answers: Iterator[Answers]) -> float:
        finds = self._finds(answers)
        return average_precision(_boxed(self._dev.marked), finds, self._n_categories).map50 or 0.0

    def score_map(self, fit: PhasedFit, network: Network) -> ScoreMap:
        """Return the map that makes raw scores readable, from dev, or from train where dev shows too little."""
        for crops in (self._dev, self._train):
            n_windows = min(len(crops), _N_CALIBRATED)
            with torch.inference_mode():
                finds = self._finds(fit.answers(network.eval(), fit.part(network), crops, n_windows))
            found = fit_score_map(_boxed(crops.marked[:n_windows]), finds, self._n_categories)
            if found is not None:
                return found
        return ScoreMap()

    def _finds(self, answers: Iterator[Answers]) -> list[Boxed]:
        """Return what is found with raw scores, window by window."""
        finds = []
        for batch in answers:
            for boxes, logits in zip(batch.boxes, batch.logits, strict=True):
                found = select(boxes.numpy(), logits.sigmoid().numpy(), _RAW)
                finds.append(Boxed(np.clip(found.boxes, 0, self._limits), found.labels, found.scores))
        return finds


def _boxed(marked: Sequence[Marked]) -> list[Boxed]:
    return [Boxed(one.boxes, one.labels) for one in marked]


def truth_of(marked: Sequence[Marked]) -> Truth:
    """Return boxes of several pictures as one padded batch."""
    n_most = max([1, *(len(one.labels) for one in marked)])
    boxes = torch.zeros(len(marked), n_most, 4)
    labels = torch.zeros(len(marked), n_most, dtype=torch.int64)
    is_real = torch.zeros(len(marked), n_most, dtype=torch.bool)
    for index, one in enumerate(marked):
        n = len(one.labels)
        boxes[index, :n] = torch.from_numpy(one.boxes)
        labels[index, :n] = torch.from_numpy(one.labels)
        is_real[index, :n] = True
    return Truth(boxes, labels, is_real)
