"""A light decoder: what stages of a backbone see, summed at the finest of them, to a class for every place.

B is the batch size, C channels, K classes (background is one more, index 0), H' and W' the sides of the answer: half of
the input's.

Sources: one projection a level, summed at one resolution, Kirillov et al., Panoptic Feature Pyramid Networks, CVPR
2019, arXiv:1901.02446, section 3; soft Dice, Milletari et al., V-Net, 3DV 2016, arXiv:1606.04797, here by class over
the whole batch, with squares left out.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

OUTPUT_STRIDE = 2
_FIRST_SPREAD = 0.1  # of the last layer's weights: ten times less, and classes of a few pixels never begin to learn
_FIRST_BACKGROUND = 2.0  # logit before anything was learned: background is what there is most of


class SegmentationHead(nn.Module):
    """Maps of several strides, finest first, to logits (B, K + 1, H', W').

    Args:
        channels: Of each level's map.
        finest_stride: Of the first map.
        n_categories: K.
        width: Channels inside.
    """

    def __init__(self, channels: Sequence[int], finest_stride: int, n_categories: int, *, width: int) -> None:
        super().__init__()
        self.scale = finest_stride // OUTPUT_STRIDE
        self.lateral = nn.ModuleList(
            nn.Sequential(nn.Conv2d(n, width, 1, bias=False), nn.BatchNorm2d(width, momentum=0.05)) for n in channels
        )
        self.mix = nn.Sequential(*(_block(width) for _ in range(2)))
        self.to_logits = nn.Conv2d(width, n_categories + 1, 1)
        nn.init.normal_(self.to_logits.weight, std=_FIRST_SPREAD)
        nn.init.zeros_(self.to_logits.bias)  # type: ignore[arg-type]  # it has one
        with torch.no_grad():
            self.to_logits.bias[0] = _FIRST_BACKGROUND  # type: ignore[index]

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        size = maps[0].shape[2:]
        total = self.lateral[0](maps[0])
        for lateral, one in zip(list(self.lateral)[1:], maps[1:], strict=True):
            total = total + F.interpolate(lateral(one), size=size, mode="bilinear", align_corners=False)
        logits: Tensor = self.to_logits(self.mix(F.relu(total))).float()
        if self.scale > 1:
            logits = F.interpolate(logits, scale_factor=self.scale, mode="bilinear", align_corners=False)
        return logits


def _block(width: int) -> nn.Module:
    conv = nn.Conv2d(width, width, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    return nn.Sequential(conv, nn.BatchNorm2d(width, momentum=0.05), nn.ReLU())


def soft_targets(labels: Tensor, n_categories: int) -> Tensor:
    """Return classes (B, H, W) uint8, 0 for background, as shares of each place of the answer (B, K + 1, H', W')."""
    one_hot = F.one_hot(labels.long(), n_categories + 1).permute(0, 3, 1, 2).float()
    return F.avg_pool2d(one_hot, OUTPUT_STRIDE)


def segmentation_loss(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Return a scalar: weighted cross-entropy, plus one minus the Dice of each class that the batch shows.

    Args:
        logits: (B, K + 1, H', W').
        targets: The same shape; shares that sum to 1.
        weights: (K + 1,) of the cross-entropy: rare classes need more.
    """
    log_shares = logits.log_softmax(1)
    weighted = targets * weights[:, None, None]
    entropy = -(weighted * log_shares).sum() / weighted.sum()
    shares, wanted = log_shares.exp()[:, 1:], targets[:, 1:]
    shared, both = (shares * wanted).sum((0, 2, 3)), (shares + wanted).sum((0, 2, 3))
    is_there = wanted.sum((0, 2, 3)) > 0
    lack = 1.0 - (2.0 * shared + 1.0) / (both + 1.0)
    return entropy + (lack * is_there).sum() / is_there.sum().clamp_min(1)
