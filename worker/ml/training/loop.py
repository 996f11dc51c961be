"""Learning by gradient: one loop for every head, and for the backbone below it.

AdamW with a linear warm-up and a cosine to almost nothing, a moving average of the weights, a checkpoint after every
epoch from which a killed training goes on as if nothing had happened, and a stop once dev has not improved for a while.
Where torch sees a GPU, all of it runs there, in mixed precision; a checkpoint may be gone on from on either.

Sources: AdamW, Loshchilov and Hutter, ICLR 2019, arXiv:1711.05101; cosine schedule, the same, ICLR 2017,
arXiv:1608.03983; averaged weights with a decay that grows at first, as in TensorFlow's ExponentialMovingAverage.
"""

import copy
import json
import math
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from app.contracts.bundle import Precision
from worker.ml.training.place import Place, moved, place_of

Batch = TypeVar("Batch")
_CHECKPOINT_NAME = "checkpoint.safetensors"
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class LoopSettings:
    """How to learn.

    `learning_rate` is the highest one, `final_share` what is left of it at the end. `ema_decay` is of one step. Vectors
    (biases, norms) never decay. `patience` counts epochs without a better dev score; None goes on to the end.
    """

    n_epochs: int
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    warmup_steps: int = 20
    final_share: float = 0.01
    ema_decay: float = 0.98
    clip_norm: float = 10.0
    patience: int | None = None
    seed: int = 0
    precision: Precision = "f32"


@dataclass(frozen=True)
class RateGroup:
    """Parameters that learn at `share` of the learning rate: less, the closer to the image.

    Over `warmup_steps` of its own, a group's rate climbs from 0: what was trained before waits for what is new.
    """

    parameters: Sequence[nn.Parameter]
    share: float = 1.0
    warmup_steps: int = 0


@dataclass(frozen=True)
class Step:
    """Where the loop is, after a step: both counts start at 1. `loss` is of that batch alone."""

    epoch: int
    n_epochs: int
    step: int
    n_steps: int
    loss: float

    @property
    def share(self) -> float:
        """How much of the whole is done, in [0, 1]."""
        return ((self.epoch - 1) * self.n_steps + self.step) / (self.n_epochs * self.n_steps)


@dataclass
class Epoch:
    """One line of the history. `score` is that of the averaged weights on dev, None where there is no dev."""

    epoch: int
    loss: float
    score: float | None
    seconds: float


@dataclass
class History:
    """What is kept of a training beside its weights."""

    epochs: list[Epoch] = field(default_factory=list)
    best_epoch: int = 0
    best_score: float | None = None

    def is_over(self, settings: LoopSettings) -> bool:
        n_done = len(self.epochs)
        waited = settings.patience is not None and n_done - self.best_epoch >= settings.patience
        return n_done >= settings.n_epochs or (waited and self.best_score is not None)


class Loop:
    """One training that may be interrupted at any moment.

    The same module, batches, settings and number of threads give the same weights, whether or not it was interrupted:
    all chance of an epoch comes from the seed and the epoch's number.

    Args:
        module: What learns, in place; parameters outside `groups` stay as they are.
        groups: The parameters that learn.
        n_steps: Batches of one epoch.
        batches: Yields the batches of an epoch (counted from 1), taking all chance from the generator.
        loss: The scalar to make small; is called with the module in training mode as `prepare` left it.
        score: The dev score of given (averaged) weights, larger is better. None: the last weights are the best.
        prepare: Puts a module into training mode; the default is `module.train()`.
        directory: Where the checkpoint lies.
        key: Whatever the result depends on; a checkpoint of another key is not gone on from.
        place: Where to learn; batches are brought there. Without: on a GPU, where there is one.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        groups: Sequence[RateGroup],
        n_steps: int,
        batches: Callable[[int, np.random.Generator], Iterable[Batch]],
        loss: Callable[[nn.Module, Batch], Tensor],
        settings: LoopSettings,
        directory: Path,
        key: str,
        score: Callable[[nn.Module], float] | None = None,
        prepare: Callable[[nn.Module], object] = nn.Module.train,
        place: Place | None = None,
    ) -> None:
        self._place = place or place_of(settings.precision)
        self.module = module.to(self._place.device)  # in place: the groups' parameters stay the same objects
        self.history = History()
        self._averaged = copy.deepcopy(module).eval().requires_grad_(False)
        self._best: dict[str, Tensor] = {}
        self._own_values, self._averaged_values = _values(module), _values(self._averaged)
        self._optimizer = _optimizer(groups, settings)
        self._scaler = torch.amp.GradScaler(self._place.device.type, enabled=self._place.is_scaled)
        self._n_steps = n_steps
        self._batches = batches
        self._loss = loss
        self._score = score
        self._prepare = prepare
        self._settings = settings
        self._path = directory / _CHECKPOINT_NAME
        self._key = key

    def run(
        self,
        *,
        on_step: Callable[[Step], None] = lambda _step: None,
        on_epoch: Callable[[Epoch], None] = lambda _epoch: None,
    ) -> History:
        """Learn, and leave the best averaged weights in the module, on the processor. Both callbacks may raise to stop.

        A second call with the same folder and key goes on after the last whole epoch, and tells `on_epoch` of the
        earlier ones first.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self._restore():
            for epoch in self.history.epochs:
                on_epoch(epoch)
        while not self.history.is_over(self._settings):
            epoch = self._run_epoch(len(self.history.epochs) + 1, on_step)
            self._save()
            on_epoch(epoch)
        self.module.load_state_dict(self._best or self._averaged.state_dict())
        self.module.eval().cpu()
        return self.history

    def _run_epoch(self, number: int, on_step: Callable[[Step], None]) -> Epoch:
        started, losses = time.perf_counter(), []
        settings = self._settings
        # Without `deterministic`, a GPU chooses how to add up by what is quickest at the moment.
        with (
            torch.random.fork_rng(self._place.own_chance),
            torch.backends.cudnn.flags(enabled=True, deterministic=True),
        ):
            torch.manual_seed(settings.seed * 1_000_003 + number)
            self._prepare(self.module)
            generator = np.random.default_rng((settings.seed, number))
            for index, batch in enumerate(self._batches(number, generator)):
                losses.append(self._take_step((number - 1) * self._n_steps + index, batch))
                on_step(Step(number, settings.n_epochs, index + 1, self._n_steps, losses[-1]))
        score = None
        if self._score is not None:
            with torch.inference_mode(), self._place.arithmetic():
                score = self._score(self._averaged)
        epoch = Epoch(number, float(np.mean(losses)), score, time.perf_counter() - started)
        self._note(epoch)
        return epoch

    def _take_step(self, index: int, batch: Any) -> float:
        rate = rate_at(index, self._n_steps * self._settings.n_epochs, self._settings)
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group["share"] * min(1.0, (index + 1) / (group["warmup_steps"] + 1))
        self._optimizer.zero_grad(set_to_none=True)
        with self._place.arithmetic():
            loss = self._loss(self.module, moved(batch, self._place.device))
        if not torch.isfinite(loss):
            raise FloatingPointError(f"the loss of step {index + 1} is not a number")
        self._scaler.scale(loss).backward()
        self._scaler.unscale_(self._optimizer)
        nn.utils.clip_grad_norm_(self._learning(), self._settings.clip_norm)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._average(index)
        return loss.item()

    @torch.no_grad()
    def _average(self, index: int) -> None:
        # The average of few steps must not be dominated by the first, random weights.
        decay = min(self._settings.ema_decay, (1 + index) / (10 + index))
        own, averages = self._own_values, self._averaged_values
        torch._foreach_lerp_(averages[True], own[True], 1.0 - decay)
        if averages[False]:
            torch._foreach_copy_(averages[False], own[False])

    def _note(self, epoch: Epoch) -> None:
        history = self.history
        history.epochs.append(epoch)
        if epoch.score is not None and (history.best_score is None or epoch.score > history.best_score):
            history.best_score, history.best_epoch = epoch.score, epoch.epoch
            self._best = {name: value.clone() for name, value in self._averaged.state_dict().items()}

    # Checkpoint: one file, so that a rename replaces all of it or nothing. Tensors, and JSON in the file's header.

    def _save(self) -> None:
        tensors = {f"module.{name}": value for name, value in self.module.state_dict().items()}
        tensors |= {f"averaged.{name}": value for name, value in self._averaged.state_dict().items()}
        tensors |= {f"best.{name}": value for name, value in self._best.items()}
        for index, parameter in enumerate(self._learning()):
            state = self._optimizer.state.get(parameter, {})
            tensors |= {f"optimizer.{index}.{name}": state[name] for name in _MOMENTS if name in state}
        history = {
            "epochs": [vars(epoch) for epoch in self.history.epochs],
            "best_epoch": self.history.best_epoch,
            "best_score": self.history.best_score,
        }
        partial = self._path.with_suffix(".partial")
        save_file(
            {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()},
            partial,
            metadata={
                "key": self._key,
                "history": json.dumps(history),
                "scaler": json.dumps(self._scaler.state_dict()),
            },
        )
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(self._path)

    def _restore(self) -> bool:
        """Go back to the last checkpoint of the same key, where there is one that can be read."""
        try:
            with safe_open(self._path, framework="pt") as file:
                header = file.metadata() or {}
                if header.get("key") != self._key:
                    return False
                history, scaler = json.loads(header["history"]), json.loads(header["scaler"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
        except (OSError, ValueError, KeyError, RuntimeError):
            return False
        except Exception as error:
            if type(error).__name__ == "SafetensorError":  # a file cut short
                return False
            raise
        self.module.load_state_dict(_under("module.", tensors))
        self._averaged.load_state_dict(_under("averaged.", tensors))
        self._best = _under("best.", tensors)
        for index, parameter in enumerate(self._learning()):
            state = _under(f"optimizer.{index}.", tensors)
            # In the parameter's own memory order: sums in another order would differ in their last bit.
            self._optimizer.state[parameter] = {
                name: value.to(parameter.device) if name == "step" else torch.empty_like(parameter).copy_(value)
                for name, value in state.items()
            }
        if scaler:  # none was kept where none was needed
            self._scaler.load_state_dict(scaler)
        epochs = [Epoch(**epoch) for epoch in history["epochs"]]
        self.history = History(epochs, history["best_epoch"], history["best_score"])
        return True

    def _learning(self) -> list[nn.Parameter]:
        return [parameter for group in self._optimizer.param_groups for parameter in group["params"]]


def rate_at(index: int, n_steps: int, settings: LoopSettings) -> float:
    """Return the learning rate of a step, counted from 0, of `n_steps` in all."""
    warmup = min(settings.warmup_steps, n_steps // 2)
    if index < warmup:
        return settings.learning_rate * (index + 1) / (warmup + 1)
    progress = (index - warmup) / max(1, n_steps - warmup)
    share = settings.final_share + (1.0 - settings.final_share) * 0.5 * (1.0 + math.cos(math.pi * progress))
    return settings.learning_rate * share


def freeze_norms(module: nn.Module) -> nn.Module:
    """Put a module into training mode, but let its BatchNorms keep the statistics that they came with."""
    module.train()
    for one in module.modules():
        if isinstance(one, nn.BatchNorm2d):
            one.eval()
    return module


def _optimizer(groups: Sequence[RateGroup], settings: LoopSettings) -> torch.optim.AdamW:
    made = []
    for group in groups:
        learning = [parameter for parameter in group.parameters if parameter.requires_grad]
        for decay, members in (
            (settings.weight_decay, [parameter for parameter in learning if parameter.ndim > 1]),
            (0.0, [parameter for parameter in learning if parameter.ndim <= 1]),
        ):
            if members:
                own = {"weight_decay": decay, "share": group.share, "warmup_steps": group.warmup_steps}
                made.append({"params": members, **own})
    return torch.optim.AdamW(made, lr=settings.learning_rate, fused=True)


def _values(module: nn.Module) -> dict[bool, list[Tensor]]:
    """Return the tensors of a module, which it changes in place only: by whether they are of floating point."""
    values = list(module.state_dict().values())
    return {is_float: [one for one in values if one.is_floating_point() is is_float] for is_float in (True, False)}


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
