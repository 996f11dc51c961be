"""A classifier of places, fitted on strokes in about a second.

D is the number of channels of all levels together, K of classes (background is one more, index 0), N of painted places,
U of places that were drawn at random from all images, P of directions that are kept.

Places that nobody painted count too, as background, with as much weight in all as what was painted: a defect is rare,
so that a place drawn at random is almost surely none. Without them a classifier that has seen a few strokes of
background marks whatever differs from these (on tiles: half the Dice).

Sources: regularised multinomial logistic regression, Bishop, Pattern Recognition and Machine Learning, 2006, section
4.3.4; unlabelled places as negatives with a weight, Elkan and Noto, Learning classifiers from only positive and
unlabeled data, KDD 2008; whitening by the covariance of all places, shrunk, as in Fisher's discriminant (1936).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from worker.ml.prompting.maps import Levels
from worker.ml.prompting.painted import NOTHING

_ALPHA = 0.0
_SHRINK = 0.3  # added to the variance of each direction, in units of a channel's own
_MOST_DIRECTIONS = 160
_STRENGTH = 0.01  # of the penalty on the squared weights
_STEPS = 60
_OTHERS_WEIGHT = 2.0  # of unpainted places in all, next to what was painted
_MOST_AN_IMAGE = 400  # painted places of a class on one image: a large dab says no more than many small ones


@dataclass(frozen=True)
class Painted:
    """Places of one image that were painted: channels (N, D) and what they are (N,), 0 for background."""

    channels: np.ndarray
    values: np.ndarray


@dataclass(frozen=True)
class PixelClassifier:
    """Weights (D, K + 1) of the channels of all levels, finest first, and `bias` (K + 1,)."""

    weights: np.ndarray
    bias: np.ndarray
    channels: tuple[int, ...]

    def by_level(self) -> list[np.ndarray]:
        """Return the weights (C, K + 1) of each level."""
        return np.split(self.weights, np.cumsum(self.channels)[:-1])

    def scores(self, levels: Levels) -> np.ndarray:
        """Return scores (K + 1, G, G) that sum to 1 at each place of the finest level."""
        import cv2

        side = levels[0].shape[1]
        total = np.zeros((side, side, len(self.bias)), np.float32) + self.bias
        for own, weights in zip(levels, self.by_level(), strict=True):
            rows, columns = own.shape[1:]
            part = (own.reshape(len(own), -1).T @ weights).reshape(rows, columns, -1)
            # The sum of channels may be taken before the map is enlarged: both are linear.
            total += (part if rows == side else cv2.resize(part, (side, side), interpolation=cv2.INTER_LINEAR)).reshape(
                total.shape
            )
        total -= total.max(axis=2, keepdims=True)
        np.exp(total, out=total)
        total /= total.sum(axis=2, keepdims=True)
        return np.ascontiguousarray(total.transpose(2, 0, 1))


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
    painted: Sequence[Painted],
    others: np.ndarray,
    *,
    n_categories: int,
    channels: Sequence[int],
    on_step: Callable[[], None] = lambda: None,
) -> PixelClassifier:
    """Return the classifier for what was painted.

    Args:
        painted: What was painted, image by image; at least one place of a class.
        others: Channels (U, D) of places drawn at random from all images.
        n_categories: K.
        channels: Of each level.
        on_step: Called at each step; may raise, to stop.
    """
    own = np.concatenate([one.channels for one in painted])
    values = np.concatenate([one.values for one in painted])
    mean, turn = _whitening(others)
    x = (np.concatenate([own, others]) - mean) @ turn
    targets = np.concatenate([values, np.zeros(len(others), np.int64)])
    weights = np.concatenate([_balanced(values, n_categories), np.full(len(others), _OTHERS_WEIGHT / len(others))])
    slopes, bias = _regressed(x, targets, weights / weights.sum(), n_categories + 1, on_step)
    return PixelClassifier(
        weights=(turn @ slopes).astype(np.float32),
        bias=(bias - mean @ turn @ slopes).astype(np.float32),
        channels=tuple(channels),
    )


def _whitening(others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean (D,) of places, and the matrix (D, P) that makes their directions alike, the small ones less."""
    mean = others.mean(axis=0)
    spread = others.std(axis=0) + 1e-3
    z = (others - mean) / spread
    values, vectors = np.linalg.eigh(z.T @ z / len(z))
    kept = np.argsort(values)[::-1][:_MOST_DIRECTIONS]
    turn = vectors[:, kept] / (np.maximum(values[kept], 0.0) + _SHRINK) ** (_ALPHA / 2)
    return mean, (turn / spread[:, None]).astype(np.float32)


def _balanced(values: np.ndarray, n_categories: int) -> np.ndarray:
    """Return weights (N,) with which each painted class, background too, counts alike, 1 in all."""
    counts = np.bincount(values, minlength=n_categories + 1)
    weights = 1.0 / counts[values]
    return np.asarray(weights / weights.sum())


def _regressed(
    x: np.ndarray, targets: np.ndarray, weights: np.ndarray, n_values: int, on_step: Callable[[], None]
) -> tuple[np.ndarray, np.ndarray]:
    """Return slopes (P, K + 1) and bias (K + 1,) of the regression, by L-BFGS."""
    from scipy.optimize import minimize

    x = x.astype(np.float32)
    n_places, n_directions = x.shape
    wanted = np.zeros((n_places, n_values), np.float32)
    wanted[np.arange(n_places), targets] = 1.0
    own = weights.astype(np.float32)[:, None]

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        on_step()
        table = flat.reshape(n_directions + 1, n_values).astype(np.float32)
        logits = x @ table[:-1] + table[-1]
        logits -= logits.max(axis=1, keepdims=True)
        shares = np.exp(logits)
        totals = shares.sum(axis=1, keepdims=True)
        shares /= totals
        entropy = -float((own * wanted * (logits - np.log(totals))).sum())
        slope = (shares - wanted) * own
        gradient = np.concatenate([x.T @ slope + _STRENGTH * table[:-1], slope.sum(axis=0, keepdims=True)])
        return entropy + 0.5 * _STRENGTH * float((table[:-1] ** 2).sum()), gradient.ravel().astype(np.float64)

    start = np.zeros((n_directions + 1) * n_values)
    table = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": _STEPS}).x
    table = table.reshape(n_directions + 1, n_values)
    return table[:-1], table[-1]
