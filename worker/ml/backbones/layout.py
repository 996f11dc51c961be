"""Which number of a feature vector comes from where. Known without running, or even importing, a network.

D is the length of the pooled feature vector, C the channels of one map.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from app.catalog import BackboneCard

Pooling = Literal["avg", "max"]
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

    Averages say how much of a pattern there is, maxima whether it is there at all: a scratch of a few pixels vanishes
    in an average. Early stages see texture, late ones objects; a linear head takes what it needs.
    """

    parts: tuple[FeaturePart, ...]

    @property
    def dim(self) -> int:
        return sum(part.dim for part in self.parts)

    @property
    def map_names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(part.map_name for part in self.parts))


def stage_map_names(card: BackboneCard) -> tuple[str, ...]:
    return tuple(f"map_{index}" for index in range(len(card.stages)))


def layout_of(card: BackboneCard) -> FeatureLayout:
    """Return the layout of a backbone: averages of all stages, maxima of all stages, average of the last map."""
    channels = [stage.channels for stage in card.stages]
    wanted: Sequence[tuple[str, Pooling, int]] = [
        *((name, "avg", dim) for name, dim in zip(stage_map_names(card), channels, strict=True)),
        *((name, "max", dim) for name, dim in zip(stage_map_names(card), channels, strict=True)),
        (LAST_MAP, "avg", card.last_channels),
    ]
    parts, start = [], 0
    for map_name, pooling, dim in wanted:
        parts.append(FeaturePart(map_name, pooling, start, dim))
        start += dim
    return FeatureLayout(tuple(parts))
