"""How alike the places of a window are to what a hand points at.

P is the number of places, D of channels.

Source: Fisher's linear discriminant (1936), between the places that are pointed at and all others, which are mostly not
what is meant; the common covariance is that of the whole window, shrunk towards the identity because places that
are pointed at are few. Out-of-place: Mahalanobis distance (1936) from what surrounds a box.
"""

from dataclasses import dataclass

import numpy as np

_SHRINK = 3.0  # added to each channel's variance of 1; .03 to 3 were compared on tile defects, larger was better


@dataclass(frozen=True)
class Described:
    """A window's places: channels `z` (P, D), each with mean 0 and variance 1 over the window, on a grid."""

    z: np.ndarray
    inverse: np.ndarray
    rows: int
    columns: int

    @property
    def n_bytes(self) -> int:
        return self.z.nbytes + self.inverse.nbytes


def describe(channels: np.ndarray) -> Described:
    """Return the places of a grid of channels (rows, columns, D)."""
    rows, columns, depth = channels.shape
    flat = channels.reshape(-1, depth)
    z = (flat - flat.mean(axis=0)) / (flat.std(axis=0) + 1e-6)
    covariance = z.T @ z / len(z)
    inverse = np.linalg.inv(covariance + _SHRINK * np.eye(depth, dtype=np.float32))
    return Described(z.astype(np.float32), inverse.astype(np.float32), rows, columns)


def likeness(places: Described, weights: np.ndarray) -> np.ndarray:
    """Return how alike each place is to those of weight, (rows, columns): about 1 at them, 0 on average.

    Args:
        places: The window.
        weights: (rows, columns), 0 or more: which places are meant.
    """
    flat = weights.ravel().astype(np.float32)
    mean = flat @ places.z / max(float(flat.sum()), 1e-6)
    direction = places.inverse @ mean
    return (places.z @ direction / max(float(mean @ direction), 1e-6)).reshape(places.rows, places.columns)


def spots(places: Described, seeds: np.ndarray, *, radius: float) -> np.ndarray:
    """Return weights (rows, columns) of the neighbourhoods of points.

    Args:
        places: The window.
        seeds: Points (N, 2) as x, y in places.
        radius: Standard deviation of a neighbourhood, in places.
    """
    y, x = np.mgrid[: places.rows, : places.columns].astype(np.float32)
    weights = np.zeros((places.rows, places.columns), np.float32)
    for seed_x, seed_y in seeds:
        weights += np.exp(((x - seed_x) ** 2 + (y - seed_y) ** 2) / (-2 * radius**2))
    return weights


def strangeness(places: Described, around: np.ndarray) -> np.ndarray:
    """Return how far each place is from those around, (rows, columns); 1 is the farthest but for a hundredth.

    Args:
        places: The window.
        around: bool (rows, columns): the places that are surely not meant.
    """
    away = places.z - places.z[around.ravel()].mean(axis=0)
    distance = np.einsum("pd,pd->p", away @ places.inverse, away)
    return np.sqrt(distance / max(float(np.quantile(distance, 0.99)), 1e-6)).reshape(places.rows, places.columns)
