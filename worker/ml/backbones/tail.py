"""A backbone cut in two: what stays frozen runs in the inference engine, what learns runs in torch.

B is the batch size, C channels, H' and W' the sides of a map. Maps are counted as in the card, from 0, finest first.
"""

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from app.catalog import BackboneCard
from worker.ml.backbones.base import Backbone
from worker.ml.backbones.folded import freeze_costly, run_folded
from worker.ml.backbones.sources import TimmEfficientNet, Toy


def blocks_of(backbone: Backbone) -> list[nn.Module]:
    """Return one module for each map of the card: image to map 0, map 0 to map 1, and so on."""
    return _BLOCKS[type(backbone)](backbone)


def _efficientnet_blocks(backbone: TimmEfficientNet) -> list[nn.Module]:
    net = backbone.net
    first, *others = [block for group in net.blocks for block in group]
    return [nn.Sequential(net.conv_stem, net.bn1, first), *others]


def _toy_blocks(backbone: Toy) -> list[nn.Module]:
    return [nn.Sequential(conv, nn.ReLU()) for conv in backbone.convs]


_BLOCKS: dict[type[Backbone], Callable[..., list[nn.Module]]] = {
    TimmEfficientNet: _efficientnet_blocks,
    Toy: _toy_blocks,
}


def last_of(backbone: Backbone) -> nn.Module:
    """Return what makes the last map from the one of the last block."""
    return _LAST[type(backbone)](backbone)


_LAST: dict[type[Backbone], Callable[..., nn.Module]] = {
    TimmEfficientNet: lambda backbone: nn.Sequential(backbone.net.conv_head, backbone.net.bn2),
    Toy: lambda backbone: nn.Sequential(backbone.last, nn.ReLU()),
}


def taps_of(card: BackboneCard, *, finest_stride: int) -> tuple[int, ...]:
    """Return the last map of each stride from `finest_stride` on; the last three where that leaves fewer than two."""
    last = {one.stride: index for index, one in enumerate(card.maps)}
    wanted = tuple(index for stride, index in last.items() if stride >= finest_stride)
    return wanted if len(wanted) > 1 else tuple(last.values())[-3:]


def last_of_stride(card: BackboneCard, stride: int) -> int:
    """Return the last map at most as coarse as `stride`, or 0 where all are coarser."""
    return max((index for index, one in enumerate(card.maps) if one.stride <= stride), default=0)


class Tail(nn.Module):
    """The blocks after map `entry`, as a copy that may learn.

    Args:
        backbone: Where the blocks come from; it is not changed.
        entry: The map that the tail reads; -1 reads the image.
        taps: The maps that are wanted, in rising order.
    """

    def __init__(self, backbone: Backbone, *, entry: int, taps: Sequence[int]) -> None:
        super().__init__()
        self.entry, self.taps = entry, tuple(taps)
        blocks = blocks_of(backbone)[entry + 1 : max(taps) + 1]
        self.blocks = nn.ModuleList(copy.deepcopy(blocks)).requires_grad_(True)
        for block in self.blocks:
            freeze_costly(block)

    @property
    def inputs(self) -> tuple[int, ...]:
        """The maps that `forward` wants: taps before the entry, then the entry, unless nothing comes after it."""
        before = tuple(tap for tap in self.taps if tap <= self.entry)
        return before if self.entry in before or not self.blocks else (*before, self.entry)

    def forward(self, inputs: Sequence[Tensor], *, dtype: torch.dtype | None = None) -> list[Tensor]:
        """Return the maps of `taps`, each (B, C, H', W'), from the maps of `inputs`.

        With a `dtype`, quickly and with that arithmetic where it helps, see `folded`; without, block by block as is.
        """
        found = dict(zip(self.inputs, inputs, strict=True))
        x = inputs[-1]
        for index, block in enumerate(self.blocks, start=self.entry + 1):
            x = block(x) if dtype is None else run_folded(block, x, dtype=dtype)
            found[index] = x
        return [found[tap] for tap in self.taps]

    def state_for(self, backbone: Backbone) -> None:
        """Write what was learned back into a backbone of the same card."""
        blocks = blocks_of(backbone)[self.entry + 1 : max(self.taps) + 1]
        with torch.no_grad():
            for own, other in zip(self.blocks, blocks, strict=True):
                other.load_state_dict(own.state_dict())


class PooledTail(Tail):
    """All blocks after map `entry`, beside what is pooled of the maps before: all that a classifier's features need.

    Args:
        backbone: Where the blocks come from; it is not changed.
        entry: The map that the tail reads; one block at least comes after it.
    """

    def __init__(self, backbone: Backbone, *, entry: int) -> None:
        super().__init__(backbone, entry=entry, taps=range(entry + 1, len(backbone.card.maps)))
        self.last = copy.deepcopy(last_of(backbone)).requires_grad_(False)

    def forward(self, inputs: Sequence[Tensor], *, dtype: torch.dtype | None = None) -> list[Tensor]:
        """Return the second input, pooled features (B, D'), then the maps of `taps`, then the last map."""
        maps = super().forward(inputs[:1], dtype=dtype)
        return [inputs[1], *maps, self.last(maps[-1])]
