"""What a classifier learns from where its backbone learns too: whole pictures, changed anew each time."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from app.catalog import BackboneCard
from app.contracts.bundle import Preprocessing
from worker.ml.backbones.tail import PooledTail, last_of_stride
from worker.ml.data.augmentation import Augmentation
from worker.ml.data.crops import Crops
from worker.ml.data.frozen_part import FrozenPart
from worker.ml.heads.linear import fit_temperature, log_loss
from worker.ml.heads.network import Network
from worker.ml.training.phases import Phase, PhasedFit, drawn

TUNED = Phase("tail", "Last stages", 1e-4, 8, 1.0, backbone_share=5.0, block_decay=0.8, backbone_warmup_steps=50)

BATCH = 16
_FROZEN_STRIDE = 8  # finer maps say edges and textures, which the frozen features give already
_MIN_STEPS_AN_EPOCH, _MAX_STEPS_AN_EPOCH = 10, 200


def entry_of(card: BackboneCard) -> int:
    """Return the last map that stays frozen; one block at least comes after it."""
    return min(last_of_stride(card, _FROZEN_STRIDE), len(card.maps) - 2)


class ClassificationLearner:
    """See `worker.ml.training.phases.Learner`. The score is the typical probability that dev's classes get.

    Args:
        head: A `PooledHead` that knows what can be known of frozen features.
        train: Pictures with their classes.
        dev: Pictures to choose the best epoch by.
        augmentation: How pictures are changed.
    """

    taps: tuple[int, ...] = ()  # the tail of `ClassifierFit` reads all maps
    score_name = "probability"
    score_shown_as = "probability of the right class on images held out"

    def __init__(self, head: nn.Module, train: Crops, dev: Crops, augmentation: Augmentation) -> None:
        self.head = head
        self._train, self._augmentation = train, augmentation
        self._truth = np.array([one.labels[0] for one in dev.marked], dtype=np.int64)
        self.n_batch = min(BATCH, len(train))
        self.n_steps = int(np.clip(len(train) // self.n_batch, _MIN_STEPS_AN_EPOCH, _MAX_STEPS_AN_EPOCH))

    def order(self, n: int, generator: np.random.Generator) -> np.ndarray:
        return drawn(np.arange(len(self._train)), n, generator)

    def changed(self, index: int, generator: np.random.Generator) -> tuple[np.ndarray, int]:
        changed = self._augmentation.change(self._train.picture(index), generator)
        return changed, int(self._train.marked[index].labels[0])

    def target(self, marks: list[int]) -> Tensor:
        return torch.tensor(marks)

    def loss(self, answers: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(answers, target)

    def score(self, answers: Iterator[Tensor]) -> float:
        """Return the geometric mean of the right classes' probabilities after calibration, in (0, 1]."""
        logits = torch.cat(list(answers)).double().numpy()
        return float(np.exp(-log_loss(logits / fit_temperature(logits, self._truth), self._truth)))


class ClassifierFit(PhasedFit):
    """A fit whose head reads the pooled features of all maps; of the frozen ones, the engine pools them."""

    def network(self, phase: Phase) -> Network:  # noqa: ARG002 - there is one phase
        tail = PooledTail(self.backbone, entry=entry_of(self._ground.card))
        network = Network(tail, self._learner.head)
        return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def part(self, network: Network, picture: Preprocessing | None = None) -> FrozenPart:
        ground, entry = self._ground, network.tail.entry
        return FrozenPart(
            ground.graph,
            [entry],
            picture or ground.picture,
            precision=ground.precision,
            pooled=range(entry + 1),
        )
