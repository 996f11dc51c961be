"""Memories of several scales read as one: each on its own grid, and their distances added on the finest.

A fine grid sees specks, a coarse one what a place is part of. One memory of both together would hear mostly the scale
with the most channels; here each counts by how much its distances differ between good places.
N is the number of cells, C the channels of a cell, G' x G the rows and columns of a grid.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from worker.ml.heads.patch_memory import PatchMemory, remember, spread_of_distances, top_mean

LEAST_COVERED = 1.0 / 64.0  # of a fine cell, by coarse ones that show the picture


@dataclass(frozen=True)
class Cells:
    """What one scale sees of a picture: `values` (C, G', G), and which cells show the picture, `inside` (G', G)."""

    values: np.ndarray
    inside: np.ndarray

    @property
    def patches(self) -> np.ndarray:
        """The cells that show the picture, (N, C)."""
        return np.asarray(self.values[:, self.inside].T)


@dataclass(frozen=True)
class Level:
    """The memory of one scale, and what its distances are multiplied by before they are added."""

    memory: PatchMemory
    share: float


@dataclass(frozen=True)
class PatchLevels:
    """Levels from the finest grid to the coarsest."""

    levels: tuple[Level, ...]

    def distances(self, cells: Sequence[Cells]) -> np.ndarray:
        """Return how far the finest cells that show the picture (N,) are from good ones: the levels' sum."""
        fine = cells[0].inside
        total = np.zeros(fine.shape, dtype=np.float32)
        for level, one in zip(self.levels, cells, strict=True):
            away = np.zeros(one.inside.shape, dtype=np.float32)
            away[one.inside] = level.memory.distances(one.patches) * level.share
            covered = enlarged(one.inside.astype(np.float32), fine.shape)
            total += enlarged(away, fine.shape) / np.maximum(covered, LEAST_COVERED)
        return np.asarray(total[fine])

    def score(self, cells: Sequence[Cells]) -> float:
        """Return the score of one image: the mean of its farthest 1 %."""
        return top_mean(self.distances(cells))


def remember_levels(
    pools: Sequence[Sequence[np.ndarray]],
    weights: Sequence[float],
    *,
    at_most: int,
    seed: int,
    on_step: Callable[[float], None] = lambda _share: None,
) -> PatchLevels:
    """Remember each level by itself.

    Args:
        pools: For each level, from the finest, the patches (N, C) of each good image.
        weights: How much each level counts.
        at_most: Patches remembered of each level.
        seed: See `remember`.
        on_step: Called with the share that is done; may raise to stop.
    """
    levels = []
    for index, (pool, weight) in enumerate(zip(pools, weights, strict=True)):

        def step(share: float, done: int = index) -> None:
            on_step((done + share) / len(pools))

        memory, kept = remember(np.concatenate(list(pool)), at_most=at_most, seed=seed, on_step=step)
        owners = np.repeat(np.arange(len(pool)), [len(one) for one in pool])
        spread = spread_of_distances(memory, pool, owners[kept], seed=seed)
        levels.append(Level(memory, weight / (sum(weights) * spread)))
    return PatchLevels(tuple(levels))


def enlarged(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return a map at a finer grid, bilinear between the middles of its cells: what `Resize` does in the graph."""
    if values.shape == shape:
        return values
    rows, columns = (_between(own, wanted) for own, wanted in zip(values.shape, shape, strict=True))
    return np.asarray(rows @ values @ columns.T)


def _between(n: int, n_wanted: int) -> np.ndarray:
    places = (np.arange(n_wanted) + 0.5) * n / n_wanted - 0.5
    first = np.floor(places).astype(int)
    weights = np.zeros((n_wanted, n), dtype=np.float32)
    for step, share in ((0, 1.0 - (places - first)), (1, places - first)):
        np.add.at(weights, (np.arange(n_wanted), np.clip(first + step, 0, n - 1)), share)
    return weights
