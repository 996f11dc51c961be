"""Does the finished file, fed with pictures, say what the features it was fitted on say? Else it is not published."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from app.contracts.bundle import ParityCheck
from app.contracts.predictions import ClassScores
from app.inference.scoring import ScoringModel

# bf16 keeps 8 bits: the same image through two graphs of the same weights may differ by a few hundredths.
MAX_SCORE_DIFFERENCE = {"f32": 0.005, "bf16": 0.05}


class ParityFailed(Exception):
    """The finished file disagrees with the features it was fitted on; its files are kept for inspection."""

    def __init__(self, check: ParityCheck, directory: Path) -> None:
        super().__init__(
            f"The exported model does not agree with the trained one: its scores differ by up to "
            f"{check.max_score_difference:.3f} and {check.n_changed_decisions} of {check.n_images} answers change. "
            f"It was not published; the trained weights are kept."
        )
        self.check = check
        self.directory = directory


def check_parity(model: ScoringModel, pictures: Sequence[bytes | Path], expected: np.ndarray) -> ParityCheck:
    """Run pictures through a bundle end to end and compare with the scores (N, K) from stored features."""
    answers = model.predict(pictures)
    scores = np.array([answer.scores.scores for answer in answers]).reshape(expected.shape)
    before = [model.decide(ClassScores(scores=tuple(row))) for row in expected.tolist()]
    changed = sum(
        answer.decision.category_index != decision.category_index
        for answer, decision in zip(answers, before, strict=True)
    )
    return ParityCheck(
        n_images=len(pictures),
        max_score_difference=float(np.abs(scores - expected).max()) if len(pictures) else 0.0,
        n_changed_decisions=changed,
        engine=model.engine,
    )


def is_proven(check: ParityCheck, precision: str) -> bool:
    """Tell whether the differences are those of rounding: an answer may change only where a score lay at its limit."""
    return check.max_score_difference <= MAX_SCORE_DIFFERENCE[precision]
