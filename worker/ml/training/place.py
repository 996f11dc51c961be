"""Where what learns lies, and in which arithmetic: the processor, or a GPU where torch sees one."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from app.contracts.bundle import Precision
from app.inference.sessions.openvino import supported_precision
from worker.ml.data.torch_part import has_cuda

Held = TypeVar("Held")


@dataclass(frozen=True)
class Place:
    """A device of torch's and what autocast computes in there; None computes everything in float32.

    float16 alone has so few exponents that small gradients vanish: the loss is scaled up for it.
    """

    device: torch.device
    dtype: torch.dtype | None = None

    @property
    def is_scaled(self) -> bool:
        return self.dtype is torch.float16

    @property
    def own_chance(self) -> list[int]:
        """GPUs whose random numbers must be kept apart, as `torch.random.fork_rng` wants them."""
        return [self.device.index or 0] if self.device.type == "cuda" else []

    def arithmetic(self) -> AbstractContextManager[object]:
        """Return the context in which a step is computed."""
        return nullcontext() if self.dtype is None else torch.autocast(self.device.type, dtype=self.dtype)


def place_of(precision: Precision) -> Place:
    """Return where a network learns: the one choice of a device."""
    if not has_cuda():
        return Place(torch.device("cpu"), torch.bfloat16 if precision == "bf16" else None)
    if precision == "f32":
        return Place(torch.device("cuda"))
    return Place(torch.device("cuda"), torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16)


def learning_precision(wanted: Precision) -> Precision:
    """Return `wanted` where learning computes so; a processor without bf16 learns in f32, a GPU has a short type."""
    return wanted if has_cuda() else supported_precision(wanted)


def moved(held: Held, device: torch.device) -> Held:
    """Return tensors, or lists, tuples and dataclasses of them, on a device; what lies there is not copied."""
    if isinstance(held, Tensor):
        return held.to(device, non_blocking=device.type == "cuda")  # type: ignore[return-value]
    if isinstance(held, list | tuple):
        return type(held)(moved(one, device) for one in held)  # type: ignore[return-value, call-arg]
    if is_dataclass(held) and not isinstance(held, type):
        own: dict[str, Any] = {one.name: moved(getattr(held, one.name), device) for one in fields(held)}
        return replace(held, **own)  # type: ignore[return-value]
    return held


def device_of(module: nn.Module) -> torch.device:
    """Return where a module lies; one without a tensor is taken to be on the processor."""
    return next((one.device for one in module.parameters()), torch.device("cpu"))
