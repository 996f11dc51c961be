"""What learns by gradient: the last blocks of a backbone, or none of them, and a head."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from worker.ml.backbones.tail import Tail


class Network(nn.Module):
    """A tail of a backbone and a head on its maps."""

    def __init__(self, tail: Tail, head: nn.Module) -> None:
        super().__init__()
        self.tail = tail
        self.head = head

    def forward(self, inputs: Sequence[Tensor]) -> Any:
        """Return what the head says of the maps that `tail.inputs` names."""
        # The tail chooses for each convolution, since some learn slower in bf16 than in f32 on a CPU.
        kind = inputs[0].device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else torch.float32
        with torch.autocast(kind, enabled=False):
            maps = self.tail(inputs, dtype=dtype)
        return self.head(maps)
