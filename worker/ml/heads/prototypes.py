"""The classifier of places that strokes teach, in torch, so that it leaves as one graph with its backbone.

B is the batch size, C channels, P prototypes, K classes (background is one more, index 0), G places along a side.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from worker.ml.prompting.classifier import PixelClassifier


class PrototypeHead(nn.Module):
    """Maps of several strides, finest first, to scores (B, K + 1, G, G) that sum to 1 at each place.

    Args:
        classifier: What was learned; nothing more is.
        pools: How many places of each map are averaged along a side, before anything else.
    """

    def __init__(self, classifier: PixelClassifier, pools: Sequence[int]) -> None:
        super().__init__()
        self.pools = tuple(pools)
        self.levels = nn.ModuleList()
        for weights in classifier.by_level():
            n_channels, n_prototypes = weights.shape
            level = nn.Conv2d(n_channels, n_prototypes, 1, bias=False)
            with torch.no_grad():
                level.weight.copy_(torch.from_numpy(weights.T.copy())[:, :, None, None])
            self.levels.append(level)
        self.register_buffer("bias", torch.from_numpy(classifier.bias.copy())[:, None, None])
        # Sums the shares of the prototypes of each class.
        self.sums = nn.Conv2d(len(classifier.bias), classifier.n_categories + 1, 1, bias=False)
        with torch.no_grad():
            self.sums.weight.copy_(torch.from_numpy(classifier.groups().T.copy())[:, :, None, None])

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        parts = [
            level(F.avg_pool2d(one, pool) if pool > 1 else one)
            for level, one, pool in zip(self.levels, maps, self.pools, strict=True)
        ]
        size = parts[0].shape[2:]
        total = parts[0] + self.bias
        for part in parts[1:]:
            total = total + F.interpolate(part, size=size, mode="bilinear", align_corners=False)
        scores: Tensor = self.sums(total.softmax(1))
        return scores
