"""Fitting a detector: first the head alone on a frozen backbone, then, where asked for, the backbone's last stages.

Pictures are changed anew for every batch; what is frozen runs in OpenVINO, what learns in torch.
"""

import copy
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from app.catalog import BackboneCard
from app.contracts.bundle import FindRule, Precision, Preprocessing
from app.inference.detection import select
from worker.ml.backbones.export import ExportedBackbone
from worker.ml.backbones.sources import load
from worker.ml.backbones.tail import Tail, last_of_stride, taps_of
from worker.ml.data.augmentation import Augmentation
from worker.ml.data.crops import Crops, Marked
from worker.ml.data.frozen_part import FrozenPart
from worker.ml.evaluation.coco import Boxed, average_precision
from worker.ml.evaluation.score_calibration import ScoreMap, fit_score_map
from worker.ml.heads.assignment import Truth
from worker.ml.heads.detection import DetectionHead, Detector, detection_loss
from worker.ml.training.loop import Epoch, Loop, LoopSettings, RateGroup, Step
from worker.ml.training.reporting import Reporter

BATCH = 16
_FINEST_STRIDE = 8
_FROZEN_STRIDE = 4  # maps as fine as this say edges and spots: what every backbone already knows
_MIN_STEPS_AN_EPOCH, _MAX_STEPS_AN_EPOCH = 10, 200
_SCORE_BATCH = 32
_MAX_WIDTH = 96  # channels inside the head
_N_PROBES = 5
_MIN_EPOCHS = 2
_N_CALIBRATED = 500  # windows; a map of two numbers needs no more
# Raw scores have a scale of their own: no floor but the number of candidates, which bounds the work.
_RAW = FindRule(score_floor=0.0, max_candidates=300)

Batch = tuple[list[Tensor], Truth]


@dataclass(frozen=True)
class Phase:
    """One of the two: `rate` is the highest learning rate, `entry` the map from which on blocks learn."""

    name: str
    shown_as: str
    rate: float
    n_epochs: int
    share_of_budget: float
    backbone_share: float = 0.0
    block_decay: float = 1.0


FROZEN = Phase("head", "Head", 2e-3, 12, 0.35)
TUNED = Phase("tail", "Last stages", 1e-3, 20, 0.65, backbone_share=0.5, block_decay=0.8)
FROZEN_ALONE = Phase("head", "Head", 2e-3, 24, 1.0)


class DetectorFit:
    """Holds what both phases share. Its result is the detector of the last phase.

    Args:
        card: The backbone.
        graph: Its exported graph, at the size of the preprocessing.
        train: Windows to learn from.
        dev: Windows to choose the best epoch by; may be empty.
        n_categories: K.
        preprocessing: How pictures become the input.
        seed: Of the head's first weights, the order and the changes of pictures.
        work_dir: Where checkpoints lie.
        key: Whatever the result depends on, besides what is given here.
        reporter: Hears of every step and epoch.
    """

    def __init__(
        self,
        card: BackboneCard,
        graph: ExportedBackbone,
        train: Crops,
        dev: Crops,
        *,
        n_categories: int,
        preprocessing: Preprocessing,
        augmentation: Augmentation,
        precision: Precision,
        seed: int,
        work_dir: Path,
        key: str,
        reporter: Reporter,
    ) -> None:
        self.backbone = load(card)
        self._card, self._graph, self._train, self._dev = card, graph, train, dev
        self._n_categories, self._preprocessing, self._augmentation = n_categories, preprocessing, augmentation
        self._precision, self._seed, self._work_dir, self._key = precision, seed, work_dir, key
        self._reporter = reporter
        self._taps = taps_of(card, finest_stride=_FINEST_STRIDE)
        has_marks = np.array([len(one.labels) > 0 for one in train.marked])
        self._with, self._without = np.flatnonzero(has_marks), np.flatnonzero(~has_marks)
        self._batch = min(BATCH, max(2, len(train)))
        n_balanced = len(self._with) + min(len(self._without), len(self._with))
        self._n_steps = int(np.clip(n_balanced // self._batch, _MIN_STEPS_AN_EPOCH, _MAX_STEPS_AN_EPOCH))
        torch.manual_seed(seed)
        channels = [card.maps[tap].channels for tap in self._taps]
        strides = [card.maps[tap].stride for tap in self._taps]
        width = min(_MAX_WIDTH, 2 * max(channels))
        self._head = DetectionHead(channels, strides, n_categories, width=width)

    def run(self, phases: Sequence[Phase], *, budget_s: float | None) -> Detector:
        """Run the phases one after the other; with a budget, each gets as many epochs as fit into its share."""
        detector = self._detector(phases[0])
        done = 0.0
        for index, phase in enumerate(phases):
            if index:
                detector = self._detector(phase)  # with the same head, which knows what it learned
            n_epochs = self._n_epochs(phase, detector, budget_s)
            self._run_phase(phase, detector, n_epochs, start=done)
            done += phase.share_of_budget
        return detector

    def _detector(self, phase: Phase) -> Detector:
        entry = last_of_stride(self._card, _FROZEN_STRIDE) if phase.backbone_share else self._taps[-1]
        entry = min(entry, self._taps[-1])
        detector = Detector(Tail(self.backbone, entry=entry, taps=self._taps), self._head)
        return detector.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def _run_phase(self, phase: Phase, detector: Detector, n_epochs: int, *, start: float) -> None:
        part = self._part(detector)
        n_images = self._n_steps * self._batch

        def on_step(step: Step) -> None:
            message = f"{phase.shown_as}: epoch {step.epoch} of {step.n_epochs}, loss {step.loss:.2f}"
            self._reporter.step(start + phase.share_of_budget * step.share, message)

        def on_epoch(epoch: Epoch) -> None:
            self._reporter.point("loss", epoch.epoch, epoch.loss, phase.shown_as)
            if epoch.score is not None:
                self._reporter.point("map50", epoch.epoch, epoch.score, phase.shown_as)

        loop = self._loop(phase, detector, part, n_epochs)
        history = loop.run(on_step=on_step, on_epoch=on_epoch)
        seconds = sum(epoch.seconds for epoch in history.epochs)
        best = "" if history.best_score is None else f"; best mAP50 on dev {history.best_score:.3f}"
        self._reporter.log(
            f"{phase.shown_as}: {len(history.epochs)} epochs of {n_images:,} pictures in {seconds:.0f} s{best}."
        )

    def _loop(self, phase: Phase, detector: Detector, part: FrozenPart, n_epochs: int) -> Loop:
        settings = LoopSettings(
            n_epochs=n_epochs,
            learning_rate=phase.rate,
            weight_decay=0.05,
            warmup_steps=30,
            ema_decay=0.99,
            patience=max(10, n_epochs // 3),
            seed=self._seed,
            precision=self._precision,
        )
        has_dev = any(len(one.labels) for one in self._dev.marked)
        return Loop(
            detector,
            groups=_groups(phase, detector),
            n_steps=self._n_steps,
            batches=lambda _epoch, generator: self._batches(part, generator),
            loss=lambda module, batch: detection_loss(module(batch[0]), batch[1]),
            score=(lambda module: self._score(module, part)) if has_dev else None,
            settings=settings,
            directory=self._work_dir / phase.name,
            key=f"{self._key} {phase} {settings}",
            prepare=_prepare,
        )

    def _part(self, detector: Detector) -> FrozenPart:
        # The rounding of bf16 is far below what changing the pictures does to the maps.
        return FrozenPart(self._graph, detector.tail.inputs, self._preprocessing, precision="bf16")

    # Batches

    def _batches(self, part: FrozenPart, generator: np.random.Generator) -> Iterator[Batch]:
        order = self._order(generator)
        for step in range(self._n_steps):
            chosen = order[step * self._batch : (step + 1) * self._batch]
            marked: list[Marked] = []
            yield part(self._changed(chosen, marked, generator), len(chosen)), truth_of(marked)

    def _changed(
        self, chosen: np.ndarray, marked: list[Marked], generator: np.random.Generator
    ) -> Iterator[np.ndarray]:
        for index in chosen.tolist():
            pixels, seen = self._augmentation.apply(self._train.picture(index), self._train.marked[index], generator)
            marked.append(seen)
            yield pixels

    def _order(self, generator: np.random.Generator) -> np.ndarray:
        """Return the windows of an epoch: all with marks about equally often, and at most as many without."""
        n = self._n_steps * self._batch
        n_without = round(n * min(0.5, len(self._without) / max(1, len(self._train))))
        parts = [_drawn(self._with, n - n_without, generator), _drawn(self._without, n_without, generator)]
        return generator.permutation(np.concatenate(parts))

    # Choosing

    def _score(self, module: nn.Module, part: FrozenPart) -> float:
        truth, finds = self._compared(module, part, self._dev, len(self._dev))
        return average_precision(truth, finds, self._n_categories).map50 or 0.0

    def score_map(self, detector: Detector) -> ScoreMap:
        """Return the map that makes raw scores readable, from dev, or from train where dev shows too little."""
        part = self._part(detector.eval())
        for crops in (self._dev, self._train):
            with torch.inference_mode():
                compared = self._compared(detector, part, crops, min(len(crops), _N_CALIBRATED))
            found = fit_score_map(*compared, self._n_categories)
            if found is not None:
                return found
        return ScoreMap()

    def _compared(
        self, module: nn.Module, part: FrozenPart, crops: Crops, n_windows: int
    ) -> tuple[list[Boxed], list[Boxed]]:
        """Return what is drawn on the first windows, and what is found there with raw scores."""
        size = self._preprocessing
        limits = [size.width_px, size.height_px] * 2
        finds = []
        for start in range(0, n_windows, _SCORE_BATCH):
            indices = range(start, min(start + _SCORE_BATCH, n_windows))
            answers = module(part(map(crops.picture, indices), len(indices)))
            self._reporter.step()
            for boxes, logits in zip(answers.boxes, answers.logits, strict=True):
                found = select(boxes.numpy(), logits.sigmoid().numpy(), _RAW)
                finds.append(Boxed(np.clip(found.boxes, 0, limits), found.labels, found.scores))
        return [Boxed(one.boxes, one.labels) for one in crops.marked[:n_windows]], finds

    # Budget

    def _n_epochs(self, phase: Phase, detector: Detector, budget_s: float | None) -> int:
        """Return the phase's own number, or what fits; written down, so that a training taken up again agrees."""
        if budget_s is None:
            return phase.n_epochs
        path = self._work_dir / f"{phase.name}-epochs.json"
        key = f"{self._key} {phase} {budget_s}"
        try:
            stored = json.loads(path.read_text())
            if stored["key"] == key:
                return int(stored["n_epochs"])
        except (OSError, ValueError, KeyError, TypeError):
            pass
        n_epochs = max(_MIN_EPOCHS, int(phase.share_of_budget * budget_s / self._seconds_an_epoch(phase, detector)))
        path.write_text(json.dumps({"key": key, "n_epochs": n_epochs}))
        return n_epochs

    def _seconds_an_epoch(self, phase: Phase, detector: Detector) -> float:
        """Time a few steps, and dev, on a copy that is thrown away."""
        probe, part = copy.deepcopy(detector), self._part(detector)
        optimizer = torch.optim.AdamW(
            [parameter for group in _groups(phase, probe) for parameter in group.parameters], lr=1e-6
        )
        batches, seconds = self._batches(part, np.random.default_rng(self._seed)), []
        _prepare(probe)
        for _ in range(min(_N_PROBES + 1, self._n_steps)):
            started = time.perf_counter()
            maps, truth = next(batches)
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self._precision == "bf16"):
                loss = detection_loss(probe(maps), truth)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            optimizer.zero_grad()
            seconds.append(time.perf_counter() - started)
            self._reporter.step()
        started = time.perf_counter()
        with torch.inference_mode():
            self._score(probe.eval(), part)
        # The quickest: the first step prepares kernels, and others may have had to wait for the machine.
        return min(seconds) * self._n_steps + time.perf_counter() - started


def _groups(phase: Phase, detector: Detector) -> list[RateGroup]:
    blocks = list(detector.tail.blocks)
    groups = [RateGroup(list(detector.head.parameters()))]
    for depth, block in enumerate(reversed(blocks)):
        groups.append(RateGroup(list(block.parameters()), phase.backbone_share * phase.block_decay**depth))
    return groups


def _prepare(module: nn.Module) -> None:
    """Let the head's norms learn; the backbone's keep the statistics that they came with."""
    module.train()
    assert isinstance(module, Detector)
    module.tail.eval()


def _drawn(members: np.ndarray, n: int, generator: np.random.Generator) -> np.ndarray:
    """Return `n` of the members, each about equally often, in random order."""
    if not len(members) or n <= 0:
        return np.zeros(0, dtype=np.int64)
    rounds = [generator.permutation(members) for _ in range(-(-n // len(members)))]
    return np.concatenate(rounds)[:n]


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
