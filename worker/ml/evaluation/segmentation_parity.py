"""Does a segmenter's finished file say what the trained network says in torch? Else it is not published."""

from collections.abc import Sequence

import numpy as np

from app.contracts.bundle import BundleManifest, MaskRule, ParityCheck
from app.inference.segmenter import Segmenter
from worker.ml.exporters.network import Whole, answers_in_torch

_ROUNDING = 1e-5


def check_mask_parity(
    model: Segmenter, whole: Whole, pictures: Sequence[np.ndarray], manifest: BundleManifest
) -> ParityCheck:
    """Run input pictures (H, W, 3) uint8 through both.

    A changed decision is an image with a place that is marked by one alone, or of another class; only a score that lay
    at the threshold itself, or two classes that were equal, within rounding, are let go.
    """
    threshold = (manifest.masks or MaskRule()).pixel_threshold
    largest, n_changed = 0.0, 0
    for picture in pictures:
        own = model.raw(picture[None])[0]
        expected = answers_in_torch(whole, [picture], manifest.preprocessing)[0].numpy()
        largest = max(largest, float(np.abs(own - expected).max()))
        n_changed += not _agree(own, expected, threshold)
    return ParityCheck(
        n_images=len(pictures),
        max_score_difference=largest,
        n_changed_decisions=n_changed,
        engine=model.engine,
    )


def _agree(own: np.ndarray, expected: np.ndarray, threshold: float) -> bool:
    marked, others = [scores[0] <= 1.0 - threshold for scores in (own, expected)]
    is_far = np.abs(expected[0] - (1.0 - threshold)) > _ROUNDING
    if ((marked != others) & is_far).any():
        return False
    best = np.sort(expected[1:], axis=0)
    is_clear = best[-1] - best[-2] > _ROUNDING if len(best) > 1 else np.ones_like(marked)
    changed = own[1:].argmax(axis=0) != expected[1:].argmax(axis=0)
    return not (changed & marked & is_clear).any()
