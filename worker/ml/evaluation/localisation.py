"""How well an anomaly map finds the places of defects, from pixel masks. H and W are pixels of one image.

Source of AUPRO: P. Bergmann et al., The MVTec Anomaly Detection Dataset, IJCV 129, 2021, section 5.2.2: the share of
each connected defect that is found, averaged over defects, against the share of good pixels that is called defective,
integrated up to 30 % of the latter and divided by 0.3.
"""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage
from sklearn.metrics import roc_auc_score

_MAX_FALSE_POSITIVES = 0.3
_EIGHT_NEIGHBOURS = np.ones((3, 3), dtype=int)


def pixel_auroc(masks: Sequence[np.ndarray], maps: Sequence[np.ndarray]) -> float:
    """Return the area under the ROC curve over all pixels; masks (H, W) bool, maps (H, W) float, larger is worse."""
    return float(roc_auc_score(np.concatenate([m.ravel() for m in masks]), np.concatenate([m.ravel() for m in maps])))


def aupro(masks: Sequence[np.ndarray], maps: Sequence[np.ndarray]) -> float:
    """Return the area under the per-region overlap curve up to 30 % false positives, in [0, 1]; NaN without defects.

    Each pixel of a defect counts 1 / (its defect's area x the number of defects), each good pixel 1 / (number of good
    pixels); sorted by score, their running sums are the curve.
    """
    weights, flat, n_defects = [], [], 0
    for mask, values in zip(masks, maps, strict=True):
        labels, n = ndimage.label(mask, structure=_EIGHT_NEIGHBOURS)
        areas = np.bincount(labels.ravel(), minlength=n + 1).astype(np.float64)
        share = 1.0 / np.maximum(areas, 1.0)
        share[0] = 0.0
        weights.append(share[labels].ravel())
        flat.append(values.ravel())
        n_defects += n
    if not n_defects:
        return float("nan")
    overlap, score = np.concatenate(weights) / n_defects, np.concatenate(flat)
    order = np.argsort(-score, kind="stable")
    overlap, score = overlap[order], score[order]
    good = (overlap == 0).astype(np.float64)
    # Pixels of one score are passed by the threshold together.
    ends = np.flatnonzero(np.r_[score[1:] != score[:-1], True])
    found = np.r_[0.0, np.cumsum(overlap)[ends]]
    false = np.r_[0.0, np.cumsum(good)[ends] / max(1.0, good.sum())]
    inside = false <= _MAX_FALSE_POSITIVES
    x = np.r_[false[inside], _MAX_FALSE_POSITIVES]
    y = np.r_[found[inside], np.interp(_MAX_FALSE_POSITIVES, false, found)]
    return float(np.trapezoid(y, x) / _MAX_FALSE_POSITIVES)
