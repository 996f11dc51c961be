"""Fitting a head in phases: first alone on a frozen backbone, then, where asked for, with the backbone's last stages.

Pictures are changed anew for every batch; what is frozen runs in OpenVINO, what learns in torch.
"""

import copy
import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from app.catalog import BackboneCard
from app.contracts.bundle import Precision, Preprocessing
from app.inference.sessions.openvino import n_cpus
from worker.ml.backbones.export import ExportedBackbone
from worker.ml.backbones.sources import load
from worker.ml.backbones.tail import Tail, last_of_stride
from worker.ml.data.crops import Crops
from worker.ml.data.frozen_part import FrozenPart
from worker.ml.heads.network import Network
from worker.ml.training.loop import Epoch, Loop, LoopSettings, RateGroup, Step
from worker.ml.training.place import device_of, moved, place_of
from worker.ml.training.reporting import Reporter

_FROZEN_STRIDE = 4  # maps as fine as this say edges and spots: what every backbone already knows
_SCORE_BATCH = 32
_N_PROBES = 5
_MIN_EPOCHS = 2

Batch = tuple[list[Tensor], Any]


@dataclass(frozen=True)
class Phase:
    """What learns, how fast: `rate` is the head's highest learning rate, the shares are those of the backbone's blocks.

    Over `backbone_warmup_steps` the backbone's rates climb from 0, for a head that knows nothing yet leads it astray.
    """

    name: str
    shown_as: str
    rate: float
    n_epochs: int
    share_of_budget: float
    backbone_share: float = 0.0
    block_decay: float = 1.0
    backbone_warmup_steps: int = 0


class Learner(Protocol):
    """What one kind of head adds: its pictures, its targets, its loss and its score on dev.

    Attributes:
        taps: The maps that the head reads.
        score_name: Of the curve of `score`.
        score_shown_as: The same, for the log.
        n_batch: Windows of a batch.
        n_steps: Batches of an epoch.
    """

    taps: tuple[int, ...]
    score_name: str
    score_shown_as: str
    n_batch: int
    n_steps: int

    @property
    def head(self) -> nn.Module: ...

    def order(self, n: int, generator: np.random.Generator) -> np.ndarray:
        """Return which `n` windows of train an epoch shows, in order."""
        ...

    def changed(self, index: int, generator: np.random.Generator) -> tuple[np.ndarray, Any]:
        """Return a window, changed, as (H, W, 3) uint8, and what is marked on it."""
        ...

    def target(self, marks: list[Any]) -> Any:
        """Return the marks of a batch as `loss` wants them."""
        ...

    def loss(self, answers: Any, target: Any) -> Tensor: ...

    def score(self, answers: Iterator[Any]) -> float:
        """Return a score, larger is better, from the head's answers to the windows of dev, batch by batch."""
        ...


@dataclass(frozen=True)
class Ground:
    """Where a fit stands, whatever its head.

    `picture` is how the windows of dev are read, `train_picture` the size of those that are learned from. `key` names
    whatever the result depends on, besides what is given here.
    """

    card: BackboneCard
    graph: ExportedBackbone
    picture: Preprocessing
    train_picture: Preprocessing
    precision: Precision
    seed: int
    work_dir: Path
    key: str
    reporter: Reporter


class PhasedFit:
    """Holds what all phases share. Its result is the network of the last one.

    Args:
        ground: Backbone, sizes, seed, folders.
        learner: The head and what belongs to it.
        dev: Windows to choose the best epoch by; may be empty.
    """

    def __init__(self, ground: Ground, learner: Learner, dev: Crops) -> None:
        self.backbone = load(ground.card)
        self._ground, self._learner, self._dev = ground, learner, dev
        self._n_steps, self._n_batch = learner.n_steps, learner.n_batch
        self._reporter = ground.reporter

    def run(self, phases: Sequence[Phase], *, budget_s: float | None) -> Network:
        """Run the phases one after the other; with a budget, each gets as many epochs as fit into its share."""
        network = self.network(phases[0])
        done = 0.0
        for index, phase in enumerate(phases):
            if index:
                network = self.network(phase)  # with the same head, which knows what it learned
            n_epochs = self._n_epochs(phase, network, budget_s)
            self._run_phase(phase, network, n_epochs, start=done)
            done += phase.share_of_budget
        return network

    def answers(
        self, network: nn.Module, part: FrozenPart, crops: Crops, n_windows: int | None = None
    ) -> Iterator[Any]:
        """Give what a network says of the first windows, or of all, batch by batch."""
        n_windows = len(crops) if n_windows is None else n_windows
        for start in range(0, n_windows, _SCORE_BATCH):
            indices = range(start, min(start + _SCORE_BATCH, n_windows))
            self._reporter.step()
            maps = moved(part(map(crops.picture, indices), len(indices)), device_of(network))
            yield moved(network(maps), torch.device("cpu"))

    def part(self, network: Network, picture: Preprocessing | None = None) -> FrozenPart:
        """Return what comes before a network, for pictures of a size; without one, that of whole windows."""
        # The rounding of bf16 is far below what changing the pictures does to the maps.
        return FrozenPart(self._ground.graph, network.tail.inputs, picture or self._ground.picture, precision="bf16")

    def network(self, phase: Phase) -> Network:
        """Return what learns in a phase: the head, and what of the backbone comes after the frozen part."""
        card, taps = self._ground.card, self._learner.taps
        entry = last_of_stride(card, _FROZEN_STRIDE) if phase.backbone_share else taps[-1]
        network = Network(Tail(self.backbone, entry=min(entry, taps[-1]), taps=taps), self._learner.head)
        return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def _run_phase(self, phase: Phase, network: Network, n_epochs: int, *, start: float) -> None:
        def on_step(step: Step) -> None:
            message = f"{phase.shown_as}: epoch {step.epoch} of {step.n_epochs}, loss {step.loss:.2f}"
            self._reporter.step(start + phase.share_of_budget * step.share, message)

        def on_epoch(epoch: Epoch) -> None:
            self._reporter.point("loss", epoch.epoch, epoch.loss, phase.shown_as)
            if epoch.score is not None:
                self._reporter.point(self._learner.score_name, epoch.epoch, epoch.score, phase.shown_as)

        history = self._loop(phase, network, n_epochs).run(on_step=on_step, on_epoch=on_epoch)
        seconds = sum(epoch.seconds for epoch in history.epochs)
        best = "" if history.best_score is None else f"; best {self._learner.score_shown_as} {history.best_score:.3f}"
        n_images = self._n_steps * self._n_batch
        self._reporter.log(
            f"{phase.shown_as}: {len(history.epochs)} epochs of {n_images:,} pictures in {seconds:.0f} s{best}."
        )

    def _loop(self, phase: Phase, network: Network, n_epochs: int) -> Loop:
        settings = LoopSettings(
            n_epochs=n_epochs,
            learning_rate=phase.rate,
            weight_decay=0.05,
            warmup_steps=30,
            ema_decay=0.99,
            patience=max(10, n_epochs // 3),
            seed=self._ground.seed,
            precision=self._ground.precision,
        )
        has_dev = any(len(one.labels) for one in self._dev.marked)
        train, dev = self._parts(network)
        return Loop(
            network,
            groups=_groups(phase, network),
            n_steps=self._n_steps,
            batches=lambda _epoch, generator: self._batches(train, generator),
            loss=lambda module, batch: self._learner.loss(module(batch[0]), batch[1]),
            score=(lambda module: self._learner.score(self.answers(module, dev, self._dev))) if has_dev else None,
            settings=settings,
            directory=self._ground.work_dir / phase.name,
            key=f"{self._ground.key} {phase} {settings}",
            prepare=_prepare,
        )

    def _parts(self, network: Network) -> tuple[FrozenPart, FrozenPart]:
        train = self.part(network, self._ground.train_picture)
        is_same = self._ground.picture == self._ground.train_picture
        return train, train if is_same else self.part(network)

    def _batches(self, part: FrozenPart, generator: np.random.Generator) -> Iterator[Batch]:
        n = self._n_batch
        order = self._learner.order(self._n_steps * n, generator)
        for step in range(self._n_steps):
            chosen, marks = order[step * n : (step + 1) * n], list[Any]()
            maps = part(self._changed(chosen, marks, generator), len(chosen))
            yield maps, self._learner.target(marks)

    def _changed(self, chosen: np.ndarray, marks: list[Any], generator: np.random.Generator) -> Iterator[np.ndarray]:
        seeds = generator.integers(2**63, size=len(chosen))  # chance must not depend on which thread is quicker
        with ThreadPoolExecutor(n_cpus()) as pool:
            for pixels, mark in pool.map(self._changed_one, chosen.tolist(), seeds.tolist()):
                marks.append(mark)
                yield pixels

    def _changed_one(self, index: int, seed: int) -> tuple[np.ndarray, Any]:
        return self._learner.changed(index, np.random.default_rng(seed))

    # Budget

    def _n_epochs(self, phase: Phase, network: Network, budget_s: float | None) -> int:
        """Return the phase's own number, or what fits; written down, so that a training taken up again agrees."""
        if budget_s is None:
            return phase.n_epochs
        path = self._ground.work_dir / f"{phase.name}-epochs.json"
        key = f"{self._ground.key} {phase} {budget_s}"
        try:
            stored = json.loads(path.read_text())
            if stored["key"] == key:
                return int(stored["n_epochs"])
        except (OSError, ValueError, KeyError, TypeError):
            pass
        n_epochs = max(_MIN_EPOCHS, int(phase.share_of_budget * budget_s / self._seconds_an_epoch(phase, network)))
        path.write_text(json.dumps({"key": key, "n_epochs": n_epochs}))
        return n_epochs

    def _seconds_an_epoch(self, phase: Phase, network: Network) -> float:
        """Time a few steps, and dev, on a copy that is thrown away."""
        place = place_of(self._ground.precision)
        probe, (train, dev) = copy.deepcopy(network).to(place.device), self._parts(network)
        optimizer = torch.optim.AdamW(
            [parameter for group in _groups(phase, probe) for parameter in group.parameters], lr=1e-6, fused=True
        )
        batches, seconds = self._batches(train, np.random.default_rng(self._ground.seed)), []
        _prepare(probe)
        for _ in range(min(_N_PROBES + 1, self._n_steps)):
            started = time.perf_counter()
            maps, target = moved(next(batches), place.device)
            with place.arithmetic():
                loss = self._learner.loss(probe(maps), target)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            optimizer.zero_grad()
            seconds.append(time.perf_counter() - started)
            self._reporter.step()
        started = time.perf_counter()
        with torch.inference_mode():
            if len(self._dev):
                self._learner.score(self.answers(probe.eval(), dev, self._dev))
        # The quickest: the first step prepares kernels, and others may have had to wait for the machine.
        return min(seconds) * self._n_steps + time.perf_counter() - started


def _groups(phase: Phase, network: Network) -> list[RateGroup]:
    groups = [RateGroup(list(network.head.parameters()))]
    for depth, block in enumerate(reversed(list(network.tail.blocks))):
        share = phase.backbone_share * phase.block_decay**depth
        groups.append(RateGroup(list(block.parameters()), share, phase.backbone_warmup_steps))
    return groups


def _prepare(module: nn.Module) -> None:
    """Let the head's norms learn; the backbone's keep the statistics that they came with."""
    module.train()
    assert isinstance(module, Network)
    module.tail.eval()


def drawn(members: np.ndarray, n: int, generator: np.random.Generator) -> np.ndarray:
    """Return `n` of the members, each about equally often, in random order."""
    if not len(members) or n <= 0:
        return np.zeros(0, dtype=np.int64)
    rounds = [generator.permutation(members) for _ in range(-(-n // len(members)))]
    return np.concatenate(rounds)[:n]
