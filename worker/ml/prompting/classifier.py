"""A classifier of places, learned from strokes in closed form.

D is the number of channels of all levels together, K of classes (background is one more, index 0), N of painted places,
U of places that were drawn at random from all images, P of prototypes.

What was painted of one class on one image is one prototype: the mean of its places. The mean of all images is
another, of background: a place drawn at random is almost surely no defect. A place belongs to the nearest prototype,
in a metric in which the directions that vary much in any case count less; so each correction has its say where it was
painted, and little elsewhere. On tiles, logistic regression on the same places found hardly anything on other images:
where there are more channels than places, it draws its line close around what was painted.

Sources: one prototype a class, Snell et al., Prototypical networks for few-shot learning, NeurIPS 2017,
arXiv:1703.05175, section 2.4 (without learning the features); several of them, Hastie and Tibshirani, Discriminant
analysis by Gaussian mixtures, J. R. Stat. Soc. B 58, 1996; the common covariance shrunk towards the identity, Friedman,
Regularized discriminant analysis, J. Am. Stat. Assoc. 84, 1989, section 3. Here it is that of all places.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from worker.ml.prompting.maps import Levels
from worker.ml.prompting.painted import NOTHING

_SHRINK = 30.0  # added to each channel's variance of 1; 3 to 100 were compared on tiles
_SHARPNESS = 3.0  # of a place's share in the nearest prototype
_COARSEST_WEIGHT = 0.5  # of the last level, which knows what an image is rather than what a place is
_MOST_AN_IMAGE = 400  # painted places of a class on one image that are looked at
_MOST_AT_ONCE = 4  # channels that OpenCV enlarges together


@dataclass(frozen=True)
class Painted:
    """Places of one image that were painted: channels (N, D) and what they are (N,), 0 for background."""

    channels: np.ndarray
    values: np.ndarray


@dataclass(frozen=True)
class PixelClassifier:
    """Weights (D, P) of the channels of all levels, finest first, `bias` (P,), and what each prototype shows (P,).

    `shows` is 0 for background and k + 1 for class k.
    """

    weights: np.ndarray
    bias: np.ndarray
    shows: np.ndarray
    n_categories: int
    channels: tuple[int, ...]

    def by_level(self) -> list[np.ndarray]:
        """Return the weights (C, P) of each level."""
        return np.split(self.weights, np.cumsum(self.channels)[:-1])

    def groups(self) -> np.ndarray:
        """Return (P, K + 1): 1 where a prototype shows a class."""
        return np.eye(self.n_categories + 1, dtype=np.float32)[self.shows]

    def scores(self, levels: Levels) -> np.ndarray:
        """Return scores (K + 1, G, G) that sum to 1 at each place of the finest level."""
        side = levels[0].shape[1]
        total = np.zeros((side, side, len(self.bias)), np.float32) + self.bias
        for own, weights in zip(levels, self.by_level(), strict=True):
            # The sum of channels may be taken before a map is enlarged: both are linear.
            part = (own.reshape(len(own), -1).T @ weights).reshape(*own.shape[1:], -1)
            total += _enlarged(part, side)
        total -= total.max(axis=2, keepdims=True)
        np.exp(total, out=total)
        total /= total.sum(axis=2, keepdims=True)
        return np.ascontiguousarray((total @ self.groups()).transpose(2, 0, 1))


def _enlarged(part: np.ndarray, side: int) -> np.ndarray:
    import cv2

    if part.shape[0] == side:
        return part
    pieces = [
        cv2.resize(np.ascontiguousarray(part[..., start : start + _MOST_AT_ONCE]), (side, side)).reshape(side, side, -1)
        for start in range(0, part.shape[2], _MOST_AT_ONCE)
    ]
    return np.concatenate(pieces, axis=2)


def at_places(levels: Levels, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return the channels (N, D) of places of the finest level, coarser levels smoothly in between."""
    side = levels[0].shape[1]
    return np.concatenate([_between(one, rows, columns, side) for one in levels], axis=1)


def _between(level: np.ndarray, rows: np.ndarray, columns: np.ndarray, side: int) -> np.ndarray:
    own = level.shape[1]
    if own == side:
        return level[:, rows, columns].T
    places = [np.clip((at + 0.5) * own / side - 0.5, 0, own - 1) for at in (rows, columns)]
    low = [np.floor(at).astype(int) for at in places]
    high = [np.minimum(at + 1, own - 1) for at in low]
    share = [(at - start).astype(np.float32) for at, start in zip(places, low, strict=True)]
    upper = level[:, low[0], low[1]] * (1 - share[1]) + level[:, low[0], high[1]] * share[1]
    lower = level[:, high[0], low[1]] * (1 - share[1]) + level[:, high[0], high[1]] * share[1]
    return (upper * (1 - share[0]) + lower * share[0]).T


def collect(levels: Levels, places: np.ndarray, generator: np.random.Generator) -> Painted:
    """Return the painted places of an image; `places` is as `painted_places` returns it."""
    rows, columns = [], []
    for value in np.unique(places[places != NOTHING]):
        found = np.flatnonzero(places == value)
        chosen = np.sort(generator.permutation(found)[:_MOST_AN_IMAGE])
        rows.append(chosen // places.shape[1])
        columns.append(chosen % places.shape[1])
    if not rows:
        return Painted(np.zeros((0, sum(len(one) for one in levels)), np.float32), np.zeros(0, np.int64))
    every_row, every_column = np.concatenate(rows), np.concatenate(columns)
    values = places[every_row, every_column].astype(np.int64)
    return Painted(at_places(levels, every_row, every_column), values)


def fit(
    painted: Sequence[Painted], others: np.ndarray, *, n_categories: int, channels: Sequence[int]
) -> PixelClassifier:
    """Return the classifier for what was painted.

    Args:
        painted: What was painted, image by image; at least one place of a class.
        others: Channels (U, D) of places drawn at random from all images.
        n_categories: K.
        channels: Of each level.
    """
    mean = others.mean(axis=0)
    spread = others.std(axis=0) + 1e-3
    spread[-channels[-1] :] /= _COARSEST_WEIGHT
    z = (others - mean) / spread
    prototypes, shows = _prototypes(painted, mean, spread)
    covariance = (z.T @ z / len(z)).astype(np.float64)
    slopes = np.linalg.solve(covariance + _SHRINK * np.eye(len(mean)), prototypes.T)
    bias = -0.5 * (prototypes * slopes.T).sum(axis=1)
    weights = slopes / spread[:, None]
    return PixelClassifier(
        weights=(_SHARPNESS * weights).astype(np.float32),
        bias=(_SHARPNESS * (bias - mean @ weights)).astype(np.float32),
        shows=shows,
        n_categories=n_categories,
        channels=tuple(channels),
    )


def _prototypes(painted: Sequence[Painted], mean: np.ndarray, spread: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return prototypes (P, D) as z-scores, that of all images first, and what each shows (P,)."""
    own = [
        (int(value), ((one.channels[one.values == value] - mean) / spread).mean(axis=0))
        for one in painted
        for value in np.unique(one.values)
    ]
    return np.stack([np.zeros_like(mean), *(prototype for _, prototype in own)]).astype(np.float64), np.array(
        [0, *(value for value, _ in own)]
    )
