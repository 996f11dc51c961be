"""The surface that every backbone shows in torch.

B is the batch size, C channels, H' and W' the sides of a map, D the length of the pooled features.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from app.catalog import BackboneCard
from worker.ml.backbones.layout import LAST_MAP, FeatureLayout, Pooling, layout_of, map_names


@dataclass(frozen=True)
class Features:
    """What a backbone sees: `pooled` (B, D) in the order of its layout, `maps` by name, each (B, C, H', W')."""

    pooled: Tensor
    maps: dict[str, Tensor]


class Backbone(nn.Module, ABC):
    """A pretrained network from normalised images (B, 3, H, W) to features."""

    def __init__(self, card: BackboneCard) -> None:
        super().__init__()
        self.card = card

    @property
    def layout(self) -> FeatureLayout:
        return layout_of(self.card)

    @abstractmethod
    def forward_maps(self, image: Tensor) -> list[Tensor]:
        """Return the maps of the card, then the last map."""

    def forward(self, image: Tensor) -> Features:
        names = (*map_names(self.card), LAST_MAP)
        maps = dict(zip(names, self.forward_maps(image), strict=True))
        pooled = [pool(maps[part.map_name], part.pooling) for part in self.layout.parts]
        return Features(torch.cat(pooled, dim=1), maps)

    def freeze(self) -> "Backbone":
        """Stop learning: no gradients, and BatchNorm keeps its statistics. Returns itself."""
        self.eval()
        return self.requires_grad_(False)


def pool(maps: Tensor, pooling: Pooling) -> Tensor:
    """Return one number a channel (B, C) of maps (B, C, H', W')."""
    if pooling == "avg":
        return maps.mean((2, 3))
    if pooling == "rms":
        n_places = maps.shape[2] * maps.shape[3]
        return torch.linalg.vector_norm(maps, dim=(2, 3)) / n_places**0.5
    side = min(maps.shape[2:])
    square = 4 if side >= 14 else 2 if side >= 4 else 1
    # Smaller squares at the far edges, where the side is no multiple: no part of the picture is left out.
    squares = avg_pool2d(maps, square, ceil_mode=True, count_include_pad=False)
    return squares.amax((2, 3)) if pooling == "peak" else squares.amin((2, 3))
