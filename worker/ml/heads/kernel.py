"""A kernel part beside the linear head: how like the known images of each class an image is.

A straight line through the features cannot say "looks like one of these or one of those"; a support vector machine with
a Gaussian kernel can. Both are fitted on their own, and the weights with which they are added are found on answers for
images that neither had seen. N is the number of images, D the length of the features, P of the directions that the
kernel compares in, S the number of support vectors, K the number of classes.

Sources: support vector machine, Cortes and Vapnik, Machine Learning 1995; stacking, Wolpert, Neural Networks 1992.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from app.inference.sessions.openvino import n_cpus
from worker.ml.heads.linear import CrossValidation, LinearHead, OnStep, Whitener, log_losses, softmax

# The main directions alone: comparing in all 700 scored hardly higher on ELPV and would double the size of a bundle.
_MAX_DIRECTIONS = 256
_PENALTY = 3.0
_WIDTHS = 2.0  # the kernel falls to 1 / e at a squared distance of half the images' spread
_MIN_IMAGES = 60
# Fitting grows with the square of the images, for each class; this is a few seconds on two cores.
_MAX_WORK = 6e7


@dataclass(frozen=True)
class KernelPart:
    """Adds `exp(-gamma * |features @ directions + offset - centres|^2) @ weight` to the logits.

    directions (D, P), offset (P,), centres (S, P), weight (S, K), all float64.
    """

    directions: np.ndarray
    offset: np.ndarray
    centres: np.ndarray
    weight: np.ndarray
    gamma: float

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Return what it adds, (N, K), for features (N, D)."""
        return similarity(features @ self.directions + self.offset, self.centres, self.gamma) @ self.weight


@dataclass(frozen=True)
class Head:
    """A linear head, and the kernel part where it was found to help."""

    linear: LinearHead
    kernel: KernelPart | None = None

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Return logits (N, K) of features (N, D)."""
        logits = self.linear.logits(features)
        return logits if self.kernel is None else logits + self.kernel.logits(features)

    def cooled(self, temperature: float) -> "Head":
        """Return the same head with its logits divided by a temperature."""
        kernel = self.kernel and replace(self.kernel, weight=self.kernel.weight / temperature)
        return Head(self.linear.cooled(temperature), kernel)


@dataclass(frozen=True)
class Mixture:
    """`linear * linear logits + kernel * margins + bias`, with bias (K,)."""

    linear: float
    kernel: float
    bias: np.ndarray

    def __call__(self, linear_logits: np.ndarray, margins: np.ndarray) -> np.ndarray:
        return np.asarray(self.linear * linear_logits + self.kernel * margins + self.bias)


@dataclass(frozen=True)
class Stacked:
    """Out-of-fold logits (N, K) of linear head and kernel together, and whether they beat the linear head's."""

    mixture: Mixture
    logits: np.ndarray
    gain: float
    gain_error: float

    @property
    def is_better(self) -> bool:
        """By more than one standard error of the paired difference in log-loss: a bundle grows for it."""
        return self.gain > self.gain_error


def can_fit(n_images: int, n_categories: int) -> bool:
    """Return whether there are images enough for a kernel, and not too many to compare each with each."""
    return n_images >= _MIN_IMAGES and n_images**2 * n_categories <= _MAX_WORK


class KernelFit:
    """Margins of one-against-the-rest support vector machines on the main directions of some images."""

    def __init__(self, whitener: Whitener, truth: np.ndarray, n_categories: int) -> None:
        self._whitener = whitener
        self._truth = truth
        self._n_categories = n_categories
        self._points = whitener.coordinates[:, :_MAX_DIRECTIONS]
        spread = float(np.einsum("ij,ij->", self._points, self._points)) / len(self._points)
        self._gamma = _WIDTHS / max(spread, 1e-12)
        self._kernel = similarity(self._points, self._points, self._gamma)

    def stack(self, linear: CrossValidation, folds: Sequence[np.ndarray], on_step: OnStep) -> Stacked:
        """Return the best mixture with a linear head, judged on the same folds."""
        margins = np.empty((len(self._truth), self._n_categories))
        # The library gives Python's lock away while it works, so folds run side by side.
        with ThreadPoolExecutor(n_cpus()) as pool:
            fitted = [pool.submit(self._held_out_margins, fold) for fold in folds]
            for fold, result in zip(folds, fitted, strict=True):
                on_step()
                margins[fold] = result.result()
        mixture = mix(linear.logits, margins, self._truth)
        logits = mixture(linear.logits, margins)
        gains = log_losses(linear.logits / linear.temperature, self._truth) - log_losses(logits, self._truth)
        return Stacked(mixture, logits, float(gains.mean()), float(gains.std() / len(gains) ** 0.5))

    def head(self, linear: LinearHead, mixture: Mixture) -> Head:
        """Return both parts, fitted on all images, with the mixture's weights inside."""
        weight, bias = self._fit(np.arange(len(self._truth)))
        is_support = np.any(weight != 0, axis=1)
        directions, offset = self._whitener.projection(_MAX_DIRECTIONS)
        part = KernelPart(
            directions, offset, self._points[is_support], mixture.kernel * weight[is_support], self._gamma
        )
        total = mixture.kernel * bias + mixture.bias
        return Head(LinearHead(mixture.linear * linear.weight, mixture.linear * linear.bias + total), part)

    def _held_out_margins(self, held_out: np.ndarray) -> np.ndarray:
        rest = np.setdiff1d(np.arange(len(self._truth)), held_out, assume_unique=True)
        weight, bias = self._fit(rest)
        return np.asarray(self._kernel[np.ix_(held_out, rest)] @ weight + bias)

    def _fit(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return weights (M, K) of M images and biases (K,). Two classes share one machine, half of it for each."""
        from sklearn.svm import SVC

        present = np.unique(self._truth[rows])
        # A class without an image among these is on the far side of every machine.
        weight, bias = np.zeros((len(rows), self._n_categories)), np.full(self._n_categories, -1.0)
        kernel = self._kernel[np.ix_(rows, rows)]
        for category in present[1:] if len(present) == 2 else present:
            machine = SVC(C=_PENALTY, kernel="precomputed").fit(kernel, self._truth[rows] == category)
            weight[machine.support_, category] = machine.dual_coef_[0]
            bias[category] = machine.intercept_[0]
        if len(present) == 2:
            first, second = present
            weight[:, second], bias[second] = weight[:, second] / 2, bias[second] / 2
            weight[:, first], bias[first] = -weight[:, second], -bias[second]
        return weight, bias


def similarity(a: np.ndarray, b: np.ndarray, gamma: float) -> np.ndarray:
    """Return the Gaussian kernel (N, S) of points a (N, P) and b (S, P)."""
    squares = np.einsum("ij,ij->i", a, a)[:, None] + np.einsum("ij,ij->i", b, b) - 2.0 * (a @ b.T)
    return np.exp(-gamma * np.maximum(squares, 0.0))


def mix(linear_logits: np.ndarray, margins: np.ndarray, truth: np.ndarray) -> Mixture:
    """Return the mixture with the lowest log-loss; neither part may count against its own answer."""
    from scipy.optimize import minimize

    n, k = linear_logits.shape
    targets = np.eye(k)[truth]

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        logits = flat[0] * linear_logits + flat[1] * margins + flat[2:]
        residual = (softmax(logits) - targets) / n
        gradient = [(residual * linear_logits).sum(), (residual * margins).sum(), *residual.sum(axis=0)]
        return float(log_losses(logits, truth).mean()), np.array(gradient)

    bounds = [(0.0, None), (0.0, None), *[(None, None)] * k]
    found = minimize(loss, np.array([0.5, 1.0, *np.zeros(k)]), jac=True, method="L-BFGS-B", bounds=bounds).x
    return Mixture(float(found[0]), float(found[1]), found[2:] - found[2:].mean())
