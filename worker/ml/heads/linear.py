"""A linear classifier on frozen features: z-scores, then L2-regularised logistic regression.

N is the number of images, D the length of the features, K the number of classes, P the number of directions kept.

Source: Kornblith et al., CVPR 2019, arXiv:1805.08974 (linear evaluation); temperature scaling: Guo et al., ICML 2017,
arXiv:1706.04599, section 4.2.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from app.inference.sessions.openvino import n_cpus

# The strengths that are tried, for z-scores whose D squares were scaled to sum to `_REFERENCE_DIM`.
STRENGTHS: tuple[float, ...] = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
_REFERENCE_DIM = 2304.0
_VARIANCE_KEPT = 0.998
_MAX_DIRECTIONS = 700
_MAX_FOR_DIRECTIONS = 2000
_ROWS_AT_ONCE = 256  # few enough for a processor's cache
_NEVER = -20.0
N_FOLDS = 5
_TEMPERATURES = np.geomspace(0.2, 10.0, 161)

OnStep = Callable[[], None]


@dataclass(frozen=True)
class LinearHead:
    """`logits = features @ weight + bias`, with the z-score folded in: weight (D, K), bias (K,), float64."""

    weight: np.ndarray
    bias: np.ndarray

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Return logits (N, K) of features (N, D)."""
        return features.astype(np.float64) @ self.weight + self.bias

    def cooled(self, temperature: float) -> "LinearHead":
        """Return the same head with its logits divided by a temperature."""
        return LinearHead(self.weight / temperature, self.bias / temperature)


class Whitener:
    """Coordinates in which a fit is quick: the main directions of the z-scores, 700 at most.

    L2-regularised regression does not change under a rotation, so fitting in these coordinates is fitting on the
    z-scores, less the directions in which the images hardly differ.
    """

    def __init__(self, features: np.ndarray) -> None:
        self.mean, spread = _mean_and_spread(features)
        # A feature that never changes says nothing; dividing by its rounding noise would make it shout.
        self.scale = np.where(spread > 1e-6 * (1.0 + np.abs(self.mean)), spread, np.inf)
        # Evenly spaced images are enough to find the main directions; the work grows with their number cubed.
        sample = np.unique(np.linspace(0, len(features) - 1, min(len(features), _MAX_FOR_DIRECTIONS)).astype(int))
        self._sampled_z = self._z(features if len(sample) == len(features) else features[sample])
        self._values, self._vectors = _main_directions(self._sampled_z)
        # Of the images that gave the directions the coordinates are known without another product.
        self.coordinates = (
            self._vectors * np.sqrt(self._values)
            if len(sample) == len(features) and not self._is_tall
            else self.transform(features)
        )

    @property
    def _is_tall(self) -> bool:
        return self._sampled_z.shape[0] >= self._sampled_z.shape[1]

    @cached_property
    def _basis(self) -> np.ndarray:
        """Orthonormal directions (D, P); made only where new images have to be transformed."""
        return self._along(np.eye(len(self._values)))

    def _along(self, weight: np.ndarray) -> np.ndarray:
        """Return the directions times `weight` (P, K), as (D, K), without making the directions themselves."""
        if self._is_tall:
            return np.asarray(self._vectors @ weight)
        in_images = self._vectors @ (weight / np.sqrt(self._values)[:, None])
        return np.asarray(self._sampled_z.T @ in_images.astype(np.float32), dtype=np.float64)

    def _z(self, x: np.ndarray) -> np.ndarray:
        """Return scaled z-scores as float32: they are of size one, and the products over them are half the work."""
        scaled = x.astype(np.float32) - self.mean.astype(np.float32)
        scaled *= (np.sqrt(_REFERENCE_DIM / x.shape[1]) / self.scale).astype(np.float32)
        return scaled

    def transform(self, features: np.ndarray) -> np.ndarray:
        """Return coordinates (N, P) of features (N, D), a few thousand images at a time."""
        starts = range(0, max(len(features), 1), _ROWS_AT_ONCE)
        basis = self._basis.astype(np.float32)
        rows = [self._z(features[start : start + _ROWS_AT_ONCE]) @ basis for start in starts]
        return np.concatenate(rows).astype(np.float64)

    def projection(self, n_directions: int) -> tuple[np.ndarray, np.ndarray]:
        """Return (D, P) and (P,): `features @ first + second` are the first P coordinates, P at most `n_directions`."""
        first = self._along(np.eye(len(self._values), min(n_directions, len(self._values))))
        on_raw = first * (np.sqrt(_REFERENCE_DIM / len(self.mean)) / self.scale)[:, None]
        return on_raw, -self.mean @ on_raw

    def unfold(self, weight: np.ndarray, bias: np.ndarray) -> LinearHead:
        """Turn weights (P, K) on these coordinates into a head on raw features (D, K)."""
        on_z = self._along(weight) * (np.sqrt(_REFERENCE_DIM / len(self.mean)) / self.scale)[:, None]
        return LinearHead(on_z, bias - self.mean @ on_z)


def _mean_and_spread(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation (D,) in float64, without a copy of all features (N, D) in that size."""
    starts = range(0, len(features), _ROWS_AT_ONCE)
    total = sum(features[start : start + _ROWS_AT_ONCE].sum(axis=0, dtype=np.float64) for start in starts)
    mean = np.asarray(total / len(features))
    squares = np.zeros(len(mean))
    for start in starts:
        away = features[start : start + _ROWS_AT_ONCE] - mean
        squares += np.einsum("ij,ij->j", away, away)
    return mean, np.sqrt(squares / len(features))


def _main_directions(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the main eigenvalues (P,) and eigenvectors (M, P) of the smaller Gram matrix (M, M) of z (N, D).

    M is N, or D where that is not larger; the other side's vectors follow from these.
    """
    from scipy.linalg import eigh
    from scipy.linalg.blas import ssyrk

    n, d = z.shape
    # One triangle of the product is enough; the transposed view is what the routine takes without a copy.
    gram = ssyrk(1.0, z.T, trans=0 if n >= d else 1, lower=True)
    first = max(0, len(gram) - _MAX_DIRECTIONS)
    values, vectors = eigh(
        gram, lower=True, subset_by_index=[first, len(gram) - 1], overwrite_a=True, check_finite=False
    )
    values, vectors = np.maximum(values[::-1].astype(np.float64), 0.0), vectors[:, ::-1].astype(np.float64)
    share = np.cumsum(values) / max(float(np.einsum("ij,ij->", z, z, dtype=np.float64)), 1e-300)
    n_real = int((values > 1e-6 * max(values[0], 1e-300)).sum())
    kept = max(1, min(int(np.searchsorted(share, _VARIANCE_KEPT)) + 1, n_real))
    return values[:kept], vectors[:, :kept]


@dataclass(frozen=True)
class CrossValidation:
    """Out-of-fold logits of one strength: what the fit says of images that it had not seen."""

    strength: float
    logits: np.ndarray
    temperature: float
    log_loss: float


def fit(whitener: Whitener, truth: np.ndarray, n_categories: int, strength: float) -> LinearHead:
    """Fit on all images; `truth` (N,) holds class indices, each class at least once."""
    weight, bias = solve(whitener.coordinates, truth, n_categories, strength)
    return whitener.unfold(weight, bias)


def cross_validate(
    whitener: Whitener,
    truth: np.ndarray,
    n_categories: int,
    *,
    seed: int,
    n_folds: int = N_FOLDS,
    strengths: Sequence[float] = STRENGTHS,
    on_step: OnStep = lambda: None,
) -> list[CrossValidation]:
    """Return out-of-fold logits for each strength, weakest first, until a stronger one is clearly worse.

    The folds are stratified and depend on the seed alone. Z-scores and directions are taken from all images without
    their labels; only the regression is fitted anew in each fold.
    """
    folds = stratified_folds(truth, n_folds, seed)
    results: list[CrossValidation] = []

    def fold_logits(held_out: np.ndarray, strength: float) -> np.ndarray:
        rest = np.setdiff1d(np.arange(len(truth)), held_out, assume_unique=True)
        weight, bias = solve(whitener.coordinates[rest], truth[rest], n_categories, strength)
        return np.asarray(whitener.coordinates[held_out] @ weight + bias)

    # The algebra runs on one thread each, outside of Python's lock: folds side by side give the same numbers sooner.
    with ThreadPoolExecutor(n_cpus()) as pool:
        for strength in sorted(strengths):
            logits = np.empty((len(truth), n_categories))
            fitted = [pool.submit(fold_logits, held_out, strength) for held_out in folds]
            for held_out, fold in zip(folds, fitted, strict=True):
                on_step()
                logits[held_out] = fold.result()
            temperature = fit_temperature(logits, truth)
            results.append(CrossValidation(strength, logits, temperature, log_loss(logits / temperature, truth)))
            if _is_clearly_worse(results[-1], min(results, key=lambda result: result.log_loss), truth):
                break
    return results


def _is_clearly_worse(last: CrossValidation, best: CrossValidation, truth: np.ndarray) -> bool:
    """Return whether the loss is higher by more than two standard errors of the paired differences."""
    if last is best:
        return False
    more = log_losses(last.logits / last.temperature, truth) - log_losses(best.logits / best.temperature, truth)
    return bool(more.mean() > 2.0 * more.std() / len(more) ** 0.5)


def stratified_folds(truth: np.ndarray, n_folds: int, seed: int) -> list[np.ndarray]:
    """Split indices into folds with equal shares of each class; fewer folds where a class has fewer images."""
    smallest = int(np.bincount(truth)[np.unique(truth)].min())
    n_folds = max(2, min(n_folds, smallest))
    generator = np.random.default_rng(seed)
    fold = np.empty(len(truth), dtype=int)
    offset = 0
    for category in np.unique(truth):
        members = generator.permutation(np.flatnonzero(truth == category))
        fold[members] = (np.arange(len(members)) + offset) % n_folds
        offset += len(members)  # so that the leftovers of small classes do not all fall into the first fold
    return [np.flatnonzero(fold == index) for index in range(n_folds)]


def softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def log_losses(logits: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return each image's negative log-likelihood (N,) in nats."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(truth)), truth])


def log_loss(logits: np.ndarray, truth: np.ndarray) -> float:
    """Return the mean negative log-likelihood in nats."""
    return float(log_losses(logits, truth).mean())


def fit_temperature(logits: np.ndarray, truth: np.ndarray) -> float:
    """Return the temperature in [0.2, 10] with the lowest log-loss: a grid, so always the same."""
    losses = [log_loss(logits / temperature, truth) for temperature in _TEMPERATURES]
    return float(_TEMPERATURES[int(np.argmin(losses))])


def solve(x: np.ndarray, truth: np.ndarray, n_categories: int, strength: float) -> tuple[np.ndarray, np.ndarray]:
    """Return weights (P, K) and bias (K,) of L2-regularised logistic regression on coordinates x (N, P).

    The minimum is the one of scikit-learn's `LogisticRegression(C=strength)`, which a test holds it to. The
    coordinates are uncorrelated, so that dividing each by its curvature is nearly Newton's step and L-BFGS arrives in a
    few dozen steps where it would need hundreds. Absent classes get a logit that never wins.
    """
    from scipy.optimize import minimize

    present, y = np.unique(truth, return_inverse=True)
    n, p = x.shape
    # Two classes have one logit: half of it for the one, half against the other.
    one_hot = (
        (y[:, None] == np.arange(len(present)))[:, 1:] if len(present) == 2 else y[:, None] == np.arange(len(present))
    )
    targets = one_hot.astype(np.float64)
    k = targets.shape[1]
    spread = np.einsum("ij,ij->j", x, x)
    scale = 1.0 / np.sqrt(1.0 + 0.25 * strength * spread)[:, None]
    bias_scale = 1.0 / np.sqrt(1.0 + 0.25 * strength * n)
    scaled = x * scale.T

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        u, b = flat[: p * k].reshape(p, k), flat[p * k :] * bias_scale
        logits = scaled @ u + b
        value, residual = _cross_entropy(logits, targets)
        w = u * scale
        gradient = strength * (scaled.T @ residual) + w * scale
        bias_gradient = strength * residual.sum(axis=0) * bias_scale
        return strength * value + 0.5 * float((w * w).sum()), np.concatenate([gradient.ravel(), bias_gradient])

    options = {"maxiter": 500, "maxcor": 20, "ftol": 1e-12, "gtol": 1e-6}
    found = minimize(loss, np.zeros(p * k + k), jac=True, method="L-BFGS-B", options=options).x
    w, b = found[: p * k].reshape(p, k) * scale, found[p * k :] * bias_scale
    if len(present) == 2:
        w, b = np.hstack([-w, w]) / 2, np.hstack([-b, b]) / 2
    weight, bias = np.zeros((p, n_categories)), np.full(n_categories, _NEVER)
    weight[:, present], bias[present] = w, b
    return weight, bias


def _cross_entropy(logits: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the summed loss in nats and its gradient (N, K); one column means a logistic, more a softmax."""
    if logits.shape[1] == 1:
        value = np.logaddexp(0.0, logits).sum() - (logits * targets).sum()
        return float(value), 0.5 * (1.0 + np.tanh(0.5 * logits)) - targets
    highest = logits.max(axis=1, keepdims=True)
    exponentials = np.exp(logits - highest)
    total = exponentials.sum(axis=1, keepdims=True)
    value = (np.log(total) + highest).sum() - (logits * targets).sum()
    return float(value), exponentials / total - targets
