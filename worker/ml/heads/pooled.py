"""A linear classifier on pooled maps that learns together with the backbone below it.

It starts as the head that was fitted on the features of the frozen backbone. B is the batch size, D the length of the
features, K the number of classes.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from app.catalog import BackboneCard
from worker.ml.backbones.base import pool
from worker.ml.backbones.layout import LAST_MAP, layout_of, map_names
from worker.ml.heads.linear import LinearHead


class PooledHead(nn.Module):
    """From what a `PooledTail` returns to logits (B, K).

    Inside, features are z-scores: steps of one size would suit none of them otherwise.

    Args:
        card: The backbone, for the order of its features.
        entry: The last map that stays frozen.
        head: Where to start, on raw features.
        mean: Of the features of the training images, (D,).
        scale: Their spread (D,); infinite where a feature never changes.
    """

    mean: Tensor
    per_unit: Tensor

    def __init__(
        self, card: BackboneCard, *, entry: int, head: LinearHead, mean: np.ndarray, scale: np.ndarray
    ) -> None:
        super().__init__()
        self._parts = layout_of(card).parts
        self._learning = (*map_names(card)[entry + 1 :], LAST_MAP)
        changes = np.isfinite(scale)
        weight = head.weight * np.where(changes, scale, 0.0)[:, None]
        self.register_buffer("mean", torch.from_numpy(mean).float())
        self.register_buffer("per_unit", torch.from_numpy(1.0 / scale).float())
        self.linear = nn.Linear(*weight.shape)
        with torch.no_grad():
            self.linear.weight.copy_(torch.from_numpy(weight.T))
            self.linear.bias.copy_(torch.from_numpy(head.bias + mean @ head.weight))

    def forward(self, given: Sequence[Tensor]) -> Tensor:
        pooled, *learning = given
        maps = dict(zip(self._learning, learning, strict=True))
        features, n_taken = [], 0
        # Not in bf16: a z-score subtracts large numbers.
        with torch.autocast(pooled.device.type, enabled=False):
            for part in self._parts:
                if part.map_name in maps:
                    features.append(pool(maps[part.map_name].float(), part.pooling))
                else:
                    features.append(pooled[:, n_taken : n_taken + part.dim])
                    n_taken += part.dim
            return self.linear((torch.cat(features, 1) - self.mean) * self.per_unit)  # type: ignore[no-any-return]

    def on_features(self) -> LinearHead:
        """Return what was learned as a head on raw features."""
        weight, bias = (value.detach().double().numpy() for value in (self.linear.weight, self.linear.bias))
        raw = weight.T * self.per_unit.double().numpy()[:, None]
        return LinearHead(raw, bias - self.mean.double().numpy() @ raw)
