"""Which point answers for which box while a detector learns.

B is the batch size, A the number of points of all levels, G the largest number of boxes on an image, K of classes.

Source: task alignment learning, Feng et al., TOOD, ICCV 2021, arXiv:2108.07755, sections 3.2 and 3.3.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

_TOP_K = 10
_SCORE_POWER, _IOU_POWER = 0.5, 4.0
_CENTRE_RADIUS = 0.75  # strides; lets the nearest point answer for a box that holds no point at all


@dataclass(frozen=True)
class Truth:
    """What people drew: `boxes` (B, G, 4) xyxy in input pixels, `labels` (B, G) int64, `is_real` (B, G) bool."""

    boxes: Tensor
    labels: Tensor
    is_real: Tensor


@dataclass(frozen=True)
class Targets:
    """What each point shall say: `scores` (B, A, K) in [0, 1], `boxes` (B, A, 4), `weights` (B, A); 0: background."""

    scores: Tensor
    boxes: Tensor
    weights: Tensor


@torch.no_grad()
def assign(scores: Tensor, boxes: Tensor, points: Tensor, strides: Tensor, truth: Truth) -> Targets:
    """Give each box the points that already answer it best, and a score that says how well.

    Args:
        scores: Present answers (B, A, K) in [0, 1].
        boxes: Present boxes (B, A, 4).
        points: Centres (A, 2) in input pixels.
        strides: (A,), pixels.
        truth: What people drew.
    """
    overlap = pairwise_iou(truth.boxes, boxes)  # (B, G, A)
    own = torch.gather(scores.transpose(1, 2), 1, truth.labels[..., None].expand(-1, -1, scores.shape[1]))
    metric = own**_SCORE_POWER * overlap**_IOU_POWER
    allowed = _candidates(points, strides, truth)
    metric = torch.where(allowed, metric + 1e-12, 0.0)
    top = metric.topk(min(_TOP_K, metric.shape[2]), dim=2)
    chosen = torch.zeros_like(metric).scatter_(2, top.indices, 1.0).bool() & allowed
    # A point that several boxes want answers for the one that it overlaps most.
    claimed = torch.where(chosen, overlap + 1e-9, 0.0)
    best = claimed.argmax(dim=1, keepdim=True)
    chosen &= torch.zeros_like(chosen).scatter_(1, best, True)
    metric = torch.where(chosen, metric, 0.0)
    highest = metric.amax(dim=2, keepdim=True).clamp_min(1e-12)
    reach = torch.where(chosen, overlap, 0.0).amax(dim=2, keepdim=True)
    quality = (metric / highest * reach).sum(dim=1)  # (B, A): at most one box is left for each point
    index = best[:, 0]
    labels = torch.gather(truth.labels, 1, index)
    targets = torch.zeros_like(scores).scatter_(2, labels[..., None], quality[..., None])
    wanted = torch.gather(truth.boxes, 1, index[..., None].expand(-1, -1, 4))
    return Targets(targets, wanted, torch.where(chosen.any(dim=1), quality, 0.0))


def _candidates(points: Tensor, strides: Tensor, truth: Truth) -> Tensor:
    """Return (B, G, A): the point lies inside the box, or next to its centre."""
    left_top, right_bottom = truth.boxes[..., None, :2], truth.boxes[..., None, 2:]
    inside = ((points > left_top) & (points < right_bottom)).all(dim=-1)
    away = (points - (left_top + right_bottom) / 2).abs().amax(dim=-1)
    return (inside | (away < _CENTRE_RADIUS * strides)) & truth.is_real[..., None]


def pairwise_iou(first: Tensor, second: Tensor) -> Tensor:
    """Return (B, N, M) intersection over union of boxes (B, N, 4) and (B, M, 4), xyxy."""
    left_top = torch.maximum(first[:, :, None, :2], second[:, None, :, :2])
    right_bottom = torch.minimum(first[:, :, None, 2:], second[:, None, :, 2:])
    shared = (right_bottom - left_top).clamp_min(0).prod(dim=-1)
    areas = [(boxes[..., 2:] - boxes[..., :2]).clamp_min(0).prod(dim=-1) for boxes in (first, second)]
    return shared / (areas[0][:, :, None] + areas[1][:, None] - shared).clamp_min(1e-9)


def generalised_iou(first: Tensor, second: Tensor) -> Tensor:
    """Return (...) generalised intersection over union of pairs of boxes (..., 4), in [-1, 1].

    Source: Rezatofighi et al., CVPR 2019, arXiv:1902.09630, algorithm 1.
    """
    left_top = torch.maximum(first[..., :2], second[..., :2])
    right_bottom = torch.minimum(first[..., 2:], second[..., 2:])
    shared = (right_bottom - left_top).clamp_min(0).prod(dim=-1)
    areas = [(boxes[..., 2:] - boxes[..., :2]).clamp_min(0).prod(dim=-1) for boxes in (first, second)]
    union = areas[0] + areas[1] - shared
    hull_low = torch.minimum(first[..., :2], second[..., :2])
    hull_high = torch.maximum(first[..., 2:], second[..., 2:])
    hull = (hull_high - hull_low).clamp_min(0).prod(dim=-1).clamp_min(1e-9)
    return shared / union.clamp_min(1e-9) - (hull - union) / hull
