"""Does a detector's finished file say what the trained network says in torch? Else it is not published."""

from collections.abc import Sequence

import numpy as np

from app.contracts.bundle import BundleManifest, FindRule, ParityCheck
from app.inference.detection import Finds, select
from app.inference.finder import Finder
from worker.ml.exporters.network import Whole, answers_in_torch

_SAME_PX = 0.5  # a box may round to another sub-pixel, not to another place


def check_find_parity(
    finder: Finder, whole: Whole, pictures: Sequence[np.ndarray], manifest: BundleManifest
) -> ParityCheck:
    """Run input pictures (H, W, 3) uint8 through both; a changed decision is an image whose finds differ.

    Finds differ where their number above the threshold does, or a class, or a box by more than half a pixel; only a
    score that lay at the threshold itself, within rounding, is let go.
    """
    largest, n_changed = 0.0, 0
    for picture in pictures:
        boxes, scores = finder.raw(picture[None])
        own_boxes, own_scores = answers_in_torch(whole, [picture], manifest.preprocessing)
        expected = own_boxes[0].numpy(), own_scores[0].numpy()
        largest = max(largest, float(np.abs(scores[0] - expected[1]).max()))
        rule, threshold = manifest.finds or FindRule(), manifest.decision.threshold
        finds = [select(*answers, rule) for answers in ((boxes[0], scores[0]), expected)]
        first, second = (found.only(found.scores >= threshold) for found in finds)
        n_changed += not _agree(first, second, threshold)
    return ParityCheck(
        n_images=len(pictures),
        max_score_difference=largest,
        n_changed_decisions=n_changed,
        engine=finder.engine,
    )


def _agree(first: Finds, second: Finds, threshold: float) -> bool:
    """Tell whether every find has its twin, in whatever order; ties may change places."""
    return _all_in(first, second, threshold) and _all_in(second, first, threshold)


def _all_in(first: Finds, second: Finds, threshold: float) -> bool:
    for box, score, label in zip(first.boxes, first.scores, first.labels, strict=True):
        if score - threshold < 1e-5:
            continue
        twins = (np.abs(second.boxes - box).max(axis=1, initial=0.0) <= _SAME_PX) & (second.labels == label)
        if not twins.any():
            return False
    return True
