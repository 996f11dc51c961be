"""How long a training takes: from what trainings took before on this installation, else from what is usual."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.contracts.tasks import TaskType

# Seen on two cores with the smallest backbone: seconds of a training besides its images, and for each new image.
USUAL_BASE_S = 8.0
USUAL_IMAGE_S = {
    TaskType.CLASSIFICATION: 0.02,
    TaskType.ANOMALY: 0.06,
    TaskType.DETECTION: 0.5,
    TaskType.SEGMENTATION: 0.5,
}
_KEEPS_FEATURES = frozenset({TaskType.CLASSIFICATION})
# The first training of an installation converts each backbone once.
FIRST_TIME_S = 25.0
_FASTEST_IMAGE_S, _SLOWEST_IMAGE_S = 0.001, 2.0
_PACE_FROM = 0.25  # before that, what is done once weighs too much


@dataclass(frozen=True, slots=True)
class PastRun:
    """A training that succeeded: how many images it saw, and how long it worked."""

    n_images: int
    seconds: float


def estimate_s(
    n_images: int, past: Sequence[PastRun], *, task: TaskType = TaskType.CLASSIFICATION, is_first: bool = False
) -> float:
    """Return the seconds that a training of `n_images` is likely to take.

    Where features are kept, only images that no earlier training saw cost the full price. How much that is shows in
    the run with the most images, which had to compute them; what a repeated run costs shows in the quickest one.
    Elsewhere every image costs what it did in the quickest run.

    Args:
        past: Trainings of the same project, in any order.
        task: What the project learns.
        is_first: Nothing was ever trained on this installation.
    """
    if not past:
        return USUAL_BASE_S + USUAL_IMAGE_S[task] * n_images + (FIRST_TIME_S if is_first else 0.0)
    if task not in _KEEPS_FEATURES:
        return min(run.seconds * max(1, n_images) / max(1, run.n_images) for run in past)
    largest = max(past, key=lambda run: (run.n_images, run.seconds))
    # A single run tells only the sum of base and images: take the base as usual, but not more than half of it.
    base_s = min(run.seconds for run in past) if len(past) > 1 else min(USUAL_BASE_S, largest.seconds / 2)
    image_s = (largest.seconds - base_s) / max(1, largest.n_images)
    if image_s <= 0:  # every run was a repetition
        image_s = USUAL_IMAGE_S[task]
    n_new = max(0, n_images - largest.n_images)
    return base_s + min(max(image_s, _FASTEST_IMAGE_S), _SLOWEST_IMAGE_S) * n_new


def left_s(fraction: float, elapsed_s: float, expected_s: float | None) -> float | None:
    """Return the seconds that a running job still needs, or None while nothing can be said.

    At the beginning the expectation speaks, towards the end the pace of the job itself. Where it takes longer than
    expected, nothing is said until its pace is worth something.

    Args:
        fraction: How much is done, in [0, 1].
        elapsed_s: Since the job was taken.
        expected_s: What such a job usually takes; None where unknown.
    """
    by_pace = elapsed_s * (1 - fraction) / fraction if fraction >= _PACE_FROM and elapsed_s >= 1 else None
    by_history = None if expected_s is None else expected_s - elapsed_s
    if by_history is not None and by_history <= 0:
        by_history = None  # it takes longer than expected: only its pace can tell
    if by_pace is None or by_history is None:
        return by_pace if by_history is None else by_history
    return fraction * by_pace + (1 - fraction) * by_history


def in_words(seconds: float) -> str:
    """Return a duration as people say it: `about 40 seconds`. Estimates are not given to the second."""
    if seconds < 8:
        return "a few seconds"
    if seconds < 57:
        return f"about {max(10, round(seconds / 5) * 5)} seconds"
    if seconds < 90:
        return "about a minute"
    if seconds < 3600 * 0.9:
        return f"about {round(seconds / 60)} minutes"
    hours = round(seconds / 1800) / 2
    return "about an hour" if hours <= 1 else f"about {hours:g} hours"
