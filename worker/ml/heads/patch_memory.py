"""A memory of how good parts look, place by place: what is far from all of it is abnormal.

N is the number of patches, C the channels of a patch, P the directions kept, M the patches remembered.

Source: K. Roth et al., Towards Total Recall in Industrial Anomaly Detection, CVPR 2022, arXiv:2106.08265: patches of a
frozen network, a greedy coreset of them, the distance to the nearest. Here with z-scores along their principal axes,
and with the mean of the farthest 1 % of the patches as an image's score. Whitening was measured and loses: it makes the
noise of weak axes as loud as the rest (`docs/benchmarks.md`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

TOP_SHARE = 0.01
_VARIANCE_KEPT = 0.99
_MAX_DIRECTIONS = 128
_PROJECTED = 64
_CANDIDATES = 512
_ROWS_AT_ONCE = 1024  # against 3,000 remembered: 12 MB, which the processor still has at hand
_LOOKED_AT = 4000  # patches, to tell how much distances differ
_NOTHING = 1e-6


@dataclass(frozen=True)
class PatchMemory:
    """Patches of good images in the coordinates `(patch - mean) @ directions`.

    `mean` is (C,), `directions` (C, P), `patches` (M, P); all float32.
    """

    mean: np.ndarray
    directions: np.ndarray
    patches: np.ndarray

    def distances(self, patches: np.ndarray) -> np.ndarray:
        """Return how far each patch (N, C) is from the nearest remembered one, (N,) float32."""
        squares = np.einsum("mp,mp->m", self.patches, self.patches)
        nearest = [
            _squared_distances(rows, self.patches, squares).min(axis=1)
            for rows in _in_parts((patches.astype(np.float32) - self.mean) @ self.directions)
        ]
        return np.sqrt(np.concatenate(nearest)) if nearest else np.zeros(0, dtype=np.float32)


def top_mean(distances: np.ndarray) -> float:
    """Return the mean of the largest 1 % of distances (N,), of one at least; 0 of none."""
    if not len(distances):
        return 0.0
    n = max(1, int(np.ceil(np.float32(TOP_SHARE) * np.float32(len(distances)))))
    return float(np.sort(distances)[-n:].mean(dtype=np.float64))


def remember(
    pool: np.ndarray, *, at_most: int, seed: int, on_step: Callable[[float], None] = lambda _share: None
) -> tuple[PatchMemory, np.ndarray]:
    """Find directions and keep the patches that cover the pool best; return which were kept as well, (M,).

    Args:
        pool: Patches of good images (N, C), N at least 1.
        at_most: How many are remembered.
        seed: Of the projection in which they are chosen; the same gives the same memory.
        on_step: Called with the share that is done; may raise to stop.
    """
    values = pool.astype(np.float32)
    mean = values.mean(axis=0, dtype=np.float64).astype(np.float32)
    values -= mean
    directions = _directions(values)
    coordinates = values @ directions
    kept = k_centre(coordinates, at_most, seed=seed, on_step=on_step)
    return PatchMemory(mean, directions, coordinates[kept]), kept


def spread_of_distances(memory: PatchMemory, pool: Sequence[np.ndarray], owners: np.ndarray, *, seed: int) -> float:
    """Return how much the distances of good patches differ, each to what is remembered of other images; above 0.

    Args:
        memory: What was remembered of the pool.
        pool: The patches of each image (N, C).
        owners: The image of the pool that each remembered patch is from, (M,).
        seed: Of the choice of patches that are looked at.
    """
    generator = np.random.default_rng(seed)
    n_each = max(1, _LOOKED_AT // len(pool))
    found = []
    for index, patches in enumerate(pool):
        others = memory.patches[owners != index]
        if len(others) and len(patches):
            some = patches[generator.permutation(len(patches))[:n_each]]
            found.append(PatchMemory(memory.mean, memory.directions, others).distances(some))
    spread = float(np.concatenate(found).std()) if found else 0.0
    return spread if spread > _NOTHING else 1.0


def _directions(centred: np.ndarray) -> np.ndarray:
    """Return the principal axes (C, P) of the z-scores, as many as hold 99 % of their spread and 128 at most."""
    spread = centred.std(axis=0, dtype=np.float64)
    inverse = np.where(spread > 1e-6 * (1.0 + spread.max()), 1.0 / np.maximum(spread, 1e-12), 0.0)
    covariance = (centred.T @ centred).astype(np.float64) / len(centred) * inverse[:, None] * inverse
    variances, axes = np.linalg.eigh(covariance)
    variances, axes = np.maximum(variances[::-1], 0.0), axes[:, ::-1]
    total = variances.sum()
    if total <= 0:  # every patch is the same
        return np.eye(centred.shape[1], 1, dtype=np.float32)
    n = int(np.searchsorted(np.cumsum(variances) / total, _VARIANCE_KEPT)) + 1
    n = min(n, _MAX_DIRECTIONS, int((variances > 1e-6 * variances[0]).sum()))
    return np.ascontiguousarray(inverse[:, None] * axes[:, :n], dtype=np.float32)


def k_centre(
    points: np.ndarray, n: int, *, seed: int, on_step: Callable[[float], None] = lambda _share: None
) -> np.ndarray:
    """Return the indices (n,) of points (N, P) chosen one by one, each the farthest from those before it.

    Distances are taken in a random projection. The result is exactly the one by one choice, but most of the work is
    done for many at once: distances to the chosen only fall, so the farthest point of all is among the few that were
    farthest before, as long as it is farther than each of the others was.

    Source: T. F. Gonzalez, Clustering to minimize the maximum intercluster distance, Theoretical Computer Science 38,
    1985 (farthest first); D. Achlioptas, Database-friendly random projections, JCSS 66, 2003.
    """
    if n >= len(points):
        return np.arange(len(points))
    generator = np.random.default_rng(seed)
    if points.shape[1] > _PROJECTED:
        shape = (points.shape[1], _PROJECTED)
        points = points @ (generator.standard_normal(shape) / np.sqrt(_PROJECTED)).astype(np.float32)
    chosen = [int(generator.integers(len(points)))]
    nearest = _squared_distances(points, points[chosen])[:, 0]
    while len(chosen) < n:
        on_step(len(chosen) / n)
        added = _farthest(points, nearest, min(n - len(chosen), _CANDIDATES))
        chosen += added
        squares = np.einsum("mp,mp->m", points[added], points[added])
        for start in range(0, len(points), _ROWS_AT_ONCE):
            rows = slice(start, start + _ROWS_AT_ONCE)
            fresh = _squared_distances(points[rows], points[added], squares).min(axis=1)
            nearest[rows] = np.minimum(nearest[rows], fresh)
        nearest[added] = -1.0
    return np.array(chosen)


def _farthest(points: np.ndarray, nearest: np.ndarray, at_most: int) -> list[int]:
    """Return the next points of the choice, as many as can be told without looking at all points again."""
    n = min(_CANDIDATES, len(points) - 1)
    order = np.argpartition(-nearest, n)
    candidates, limit = np.sort(order[:n]), nearest[order[n]]
    between = _squared_distances(points[candidates], points[candidates])
    left = nearest[candidates].copy()
    picked: list[int] = []
    while len(picked) < at_most:
        index = int(left.argmax())
        if picked and left[index] < limit:
            break
        picked.append(int(candidates[index]))
        left = np.minimum(left, between[index])
        left[index] = -1.0
    return picked


def _squared_distances(rows: np.ndarray, others: np.ndarray, squares: np.ndarray | None = None) -> np.ndarray:
    if squares is None:
        squares = np.einsum("mp,mp->m", others, others)
    products = rows @ others.T
    own = np.einsum("np,np->n", rows, rows)
    return np.maximum(own[:, None] + squares - 2.0 * products, 0.0)


def _in_parts(rows: np.ndarray) -> list[np.ndarray]:
    return [rows[start : start + _ROWS_AT_ONCE] for start in range(0, len(rows), _ROWS_AT_ONCE)]
