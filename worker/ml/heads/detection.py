"""A one-stage detector without anchors: a feature pyramid, and at each of its points a class score and a box.

B is the batch size, A the number of points of all levels, C channels, K classes.

Sources: feature pyramid, Lin et al., CVPR 2017, arXiv:1612.03144; distances to four sides from each point, Tian et al.,
FCOS, ICCV 2019, arXiv:1904.01355; towers shared by the levels, each level with norms of its own, Lyu et al., RTMDet,
2022, arXiv:2212.07784; a class score that is the expected overlap, which makes a second, quality score unnecessary, as
in TOOD (see `assignment`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from worker.ml.heads.assignment import Truth, assign, generalised_iou

_PRIOR = 0.01  # score of every point before anything was learned: background is what there is most of
_FIRST_REACH = 4.0  # strides from a point to each side of its first box
_MAX_LOG_REACH = 5.0
_BOX_WEIGHT = 2.0


@dataclass(frozen=True)
class Answers:
    """What a detector says: `logits` (B, A, K), `boxes` (B, A, 4) xyxy in input pixels, not cut at the border."""

    logits: Tensor
    boxes: Tensor
    points: Tensor
    strides: Tensor


class Pyramid(nn.Module):
    """Maps of several strides to as many maps (B, `width`, H', W') that all know what the coarsest one saw."""

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(_conv(n, width, 1) for n in channels)
        self.smooth = nn.ModuleList(_conv(width, width, 3) for _ in channels)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        levels: list[Tensor] = [lateral(one) for lateral, one in zip(self.lateral, maps, strict=True)]
        for index in range(len(levels) - 2, -1, -1):
            coarser = F.interpolate(levels[index + 1], size=levels[index].shape[2:], mode="nearest")
            levels[index] = levels[index] + coarser
        return [smooth(level) for smooth, level in zip(self.smooth, levels, strict=True)]


class Tower(nn.Module):
    """3 x 3 convolutions shared by all levels, each level with norms of its own."""

    def __init__(self, width: int, depth: int, n_levels: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(depth))
        self.norms = nn.ModuleList(
            nn.ModuleList(nn.BatchNorm2d(width, momentum=0.05) for _ in range(depth)) for _ in range(n_levels)
        )

    def forward(self, x: Tensor, level: int) -> Tensor:
        norms: nn.ModuleList = self.norms[level]  # type: ignore[assignment]
        for conv, norm in zip(self.convs, norms, strict=True):
            x = F.relu(norm(conv(x)))
        return x


class DetectionHead(nn.Module):
    """Maps of several strides to a score for each class and a box at each point.

    Args:
        channels: Of each level's map, finest first.
        strides_px: Of each level.
        n_categories: K.
        width: Channels inside.
        depth: Convolutions of each tower.
    """

    def __init__(
        self, channels: Sequence[int], strides_px: Sequence[int], n_categories: int, *, width: int, depth: int = 2
    ) -> None:
        super().__init__()
        self.strides_px = tuple(strides_px)
        self.pyramid = Pyramid(channels, width)
        self.class_tower = Tower(width, depth, len(channels))
        self.box_tower = Tower(width, depth, len(channels))
        self.to_logits = nn.Conv2d(width, n_categories, 3, padding=1)
        self.to_reach = nn.Conv2d(width, 4, 3, padding=1)
        for conv in (*self.class_tower.convs, *self.box_tower.convs):
            nn.init.normal_(conv.weight, std=math.sqrt(2.0 / (9 * width)))
        for conv, first in ((self.to_logits, _PRIOR / (1.0 - _PRIOR)), (self.to_reach, _FIRST_REACH)):
            nn.init.normal_(conv.weight, std=0.01)
            nn.init.constant_(conv.bias, math.log(first))  # type: ignore[arg-type]  # both have a bias

    def forward(self, maps: Sequence[Tensor]) -> Answers:
        logits, boxes, points, strides = [], [], [], []
        for level, (x, stride) in enumerate(zip(self.pyramid(maps), self.strides_px, strict=True)):
            centres = _centres(x.shape[2], x.shape[3], stride).to(x.device)
            reach = _by_point(self.to_reach(self.box_tower(x, level))).float()
            reach = reach.clamp(max=_MAX_LOG_REACH).exp() * stride
            logits.append(_by_point(self.to_logits(self.class_tower(x, level))).float())
            boxes.append(torch.cat([centres - reach[..., :2], centres + reach[..., 2:]], dim=-1))
            points.append(centres)
            strides.append(torch.full((len(centres),), float(stride), device=x.device))
        return Answers(torch.cat(logits, 1), torch.cat(boxes, 1), torch.cat(points), torch.cat(strides))


def detection_loss(answers: Answers, truth: Truth) -> Tensor:
    """Return a scalar: cross-entropy to the overlap that each point reaches, plus the boxes' lack of overlap.

    Both are sums over the batch, divided by the sum of the targets, so that images with many boxes count for more.
    """
    targets = assign(answers.logits.detach().sigmoid(), answers.boxes.detach(), answers.points, answers.strides, truth)
    total = targets.scores.sum().clamp_min(1.0)
    by_class = F.binary_cross_entropy_with_logits(answers.logits, targets.scores, reduction="sum") / total
    is_found = targets.weights > 0
    overlap = generalised_iou(answers.boxes[is_found], targets.boxes[is_found])
    by_box = ((1.0 - overlap) * targets.weights[is_found]).sum() / total
    return by_class + _BOX_WEIGHT * by_box


def _conv(n_in: int, n_out: int, kernel: int) -> nn.Module:
    conv = nn.Conv2d(n_in, n_out, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(n_out, momentum=0.05), nn.ReLU())


def _by_point(x: Tensor) -> Tensor:
    """Turn (B, C, H', W') into (B, H' * W', C)."""
    return x.flatten(2).transpose(1, 2)


def _centres(rows: int, columns: int, stride: int) -> Tensor:
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    return torch.stack([x, y], dim=-1).reshape(-1, 2).float() * stride + stride / 2
