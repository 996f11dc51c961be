"""How well an anomaly map finds the places of defects, from pixel masks. H and W are pixels of one image.

Source of AUPRO: P. Bergmann et al., The MVTec Anomaly Detection Dataset, IJCV 129, 2021, section 5.2.2: the share of
each connected defect that is found, averaged over defects, against the share of good pixels that is called defective,
integrated up to 30 % of the latter and divided by 0.3.
"""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

_MAX_FALSE_POSITIVES = 0.3
_EIGHT_NEIGHBOURS = np.ones((3, 3), dtype=int)
_N_BINS = 1 << 16


def pixel_auroc(masks: Sequence[np.ndarray], maps: Sequence[np.ndarray]) -> float:
    """Return the area under the ROC curve over all pixels; masks (H, W) bool, maps (H, W) float, larger is worse."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(np.concatenate([m.ravel() for m in masks]), np.concatenate([m.ravel() for m in maps])))


def aupro(masks: Sequence[np.ndarray], maps: Sequence[np.ndarray]) -> float:
    """Return the area under the per-region overlap curve up to 30 % false positives, in [0, 1]; NaN without defects.

    Each pixel of a defect counts 1 / (its defect's area x the number of defects), each good pixel 1 / (number of good
    pixels); sorted by score, their running sums are the curve.
    """
    weights, flat, n_defects = [], [], 0
    for mask, values in zip(masks, maps, strict=True):
        share, n = _shares(mask)
        weights.append(share.ravel())
        flat.append(values.ravel())
        n_defects += n
    overlap, score = np.concatenate(weights), np.concatenate(flat)
    order = np.argsort(-score, kind="stable")
    overlap, score = overlap[order], score[order]
    # Pixels of one score are passed by the threshold together.
    ends = np.flatnonzero(np.r_[score[1:] != score[:-1], True])
    return _area(np.cumsum(overlap)[ends], np.cumsum(overlap == 0)[ends], n_defects)


class Localisation:
    """The same two figures, image by image: what is kept does not grow with the images.

    Scores are counted in 65,536 equal bins of [0, 1]; those of one bin are passed by the threshold together.
    """

    def __init__(self) -> None:
        self.n_defects = 0
        self._good = np.zeros(_N_BINS)
        self._defective = np.zeros(_N_BINS)
        self._overlap = np.zeros(_N_BINS)

    def add(self, mask: np.ndarray, values: np.ndarray) -> None:
        """Count an image: its mask (H, W) bool, all False on a good one, and its map (H, W), each value in [0, 1]."""
        bins = np.minimum((values.ravel() * _N_BINS).astype(np.int64), _N_BINS - 1)
        share, n = _shares(mask)
        flat, is_bad = share.ravel(), mask.ravel()
        self._good += np.bincount(bins[~is_bad], minlength=_N_BINS)
        self._defective += np.bincount(bins[is_bad], minlength=_N_BINS)
        self._overlap += np.bincount(bins[is_bad], weights=flat[is_bad], minlength=_N_BINS)
        self.n_defects += n

    def pixel_auroc(self) -> float | None:
        """Return the area under the ROC curve over all pixels; None where all pixels are of one kind."""
        if not self._good.any() or not self._defective.any():
            return None
        from sklearn.metrics import roc_auc_score

        truth = np.repeat([False, True], _N_BINS)
        score = np.tile(np.arange(_N_BINS), 2)
        return float(roc_auc_score(truth, score, sample_weight=np.r_[self._good, self._defective]))

    def aupro(self) -> float | None:
        """Return what `aupro` does; None without defects or without a good pixel."""
        if not self.n_defects or not self._good.any():
            return None
        return _area(np.cumsum(self._overlap[::-1]), np.cumsum(self._good[::-1]), self.n_defects)


def _shares(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """Return 1 / (its defect's area) for each pixel of a mask (H, W), 0 on good ones, and the number of defects."""
    labels, n = ndimage.label(mask, structure=_EIGHT_NEIGHBOURS)
    areas = np.bincount(labels.ravel(), minlength=n + 1).astype(np.float64)
    share = 1.0 / np.maximum(areas, 1.0)
    share[0] = 0.0
    return share[labels], n


def _area(overlap: np.ndarray, good: np.ndarray, n_defects: int) -> float:
    """Return the area under a curve whose points are running sums: found shares of defects, and good pixels."""
    if not n_defects:
        return float("nan")
    found, false = np.r_[0.0, overlap / n_defects], np.r_[0.0, good / max(1.0, good[-1])]
    inside = false <= _MAX_FALSE_POSITIVES
    x = np.r_[false[inside], _MAX_FALSE_POSITIVES]
    y = np.r_[found[inside], np.interp(_MAX_FALSE_POSITIVES, false, found)]
    return float(np.trapezoid(y, x) / _MAX_FALSE_POSITIVES)
