"""Which number of a feature vector comes from where. Known without running, or even importing, a network.

D is the length of the pooled feature vector, C the channels of one map.
"""

from dataclasses import dataclass
from typing import Literal

from app.catalog import BackboneCard, exports

Pooling = Literal["avg", "rms", "peak", "dip"]
LAST_MAP = "map_last"


@dataclass(frozen=True)
class FeaturePart:
    """`dim` consecutive features from `start` on: one pooling over one feature map."""

    map_name: str
    pooling: Pooling
    start: int
    dim: int

    @property
    def columns(self) -> slice:
        return slice(self.start, self.start + self.dim)


@dataclass(frozen=True)
class FeatureLayout:
    """The parts of a feature vector, in order, without gaps.

    Averages say how much of a pattern there is, root mean squares how unevenly it is spread: the texture. Peaks and
    dips say whether it is, or is missing, anywhere at all: a scratch of a few pixels vanishes in an average. They are
    taken over averages of small squares, since the single largest value of a map is mostly noise. Early blocks see
    edges, late ones objects; a head takes what it needs.
    """

    parts: tuple[FeaturePart, ...]

    @property
    def dim(self) -> int:
        return sum(part.dim for part in self.parts)

    @property
    def map_names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(part.map_name for part in self.parts))


def map_names(card: BackboneCard) -> tuple[str, ...]:
    """Return the names of the blocks' maps in a graph, finest first; the last map has a name of its own."""
    return tuple(exports.map_name(index) for index in range(len(card.maps)))


def layout_of(card: BackboneCard) -> FeatureLayout:
    """Return the layout of a backbone: every pooling of all maps, and the average of the last one."""
    poolings: tuple[Pooling, ...] = ("avg", "rms", "peak", "dip")
    wanted: list[tuple[str, Pooling, int]] = [
        (name, pooling, one.channels)
        for pooling in poolings
        for name, one in zip(map_names(card), card.maps, strict=True)
    ]
    wanted.append((LAST_MAP, "avg", card.last_channels))
    parts, start = [], 0
    for map_name, pooling, dim in wanted:
        parts.append(FeaturePart(map_name, pooling, start, dim))
        start += dim
    return FeatureLayout(tuple(parts))
