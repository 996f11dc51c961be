"""One split of one model at one threshold, as the report shows it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from app.contracts.bundle import BundleManifest
from app.inference.bootstrap import Estimate
from app.inference.calibration import ReliabilityBin, reliability_of
from app.inference.decision import Answers, answers_of, good_index_of, ng_scores
from app.inference.metrics import Figures, figures_of, grid_of
from app.inference.ranking import auroc_of
from app.registry.arrays import ModelArrays, SplitArrays
from app.registry.galleries import Pile, kinds_for, narrowed, piles_of, tabs_of
from app.registry.schemas import SPLITS, UNLABELLED, ClassMark, GalleryTab

N_BINS = 50
# What the training measured, whatever the threshold: each with its title and what it means.
MEASURED = {
    "average_precision": ("AP", "precision, averaged over all recalls"),
    "pixel_auroc": ("Pixel AUROC", "chance that a marked pixel ranks above a good one"),
    "aupro": ("AUPRO", "share of each marked place that is found, averaged over up to 30 % false pixels"),
}
SPLIT_NOTES = {
    "test": "None of these images was seen in training, and nothing was chosen on them.",
    "dev": "Where they are enough, the threshold was chosen on these images: expect a little less on new ones.",
    "train": "The model was fitted on these images: the figures flatter it.",
}


@dataclass(frozen=True, slots=True)
class Histogram:
    """Images in equal bins of [0, 1].

    With a good class: by NG score, `lower` good and `upper` defective, `upper` belongs right of the threshold. Without:
    by the score of the answer, `lower` the wrong answers and `upper` the right ones: `upper_is_right`.
    """

    lower: list[int]
    upper: list[int]
    lower_name: str
    upper_name: str
    axis: str
    upper_is_right: bool = False


@dataclass(frozen=True, slots=True)
class SplitReport:
    """What is shown of a split at a threshold, whatever the task."""

    split: str
    split_note: str
    n_by_split: dict[str, int]
    threshold: float
    default_threshold: float
    reason: str
    marks: tuple[ClassMark, ...]
    missing: tuple[str, ...]
    sentence: str
    histogram: Histogram
    tabs: tuple[GalleryTab, ...]
    which: str
    reliability: tuple[ReliabilityBin, ...]
    ece: float | None


@dataclass(frozen=True, slots=True)
class Report(SplitReport):
    """Of a task that answers for an image as a whole. `figures` is None where the split holds no image.

    `measured` holds figures of `MEASURED`, None or missing where the training has none.
    """

    has_good_class: bool
    figures: Figures | None
    auroc: Estimate
    temperature: float
    measured: Mapping[str, float | None] = field(default_factory=dict)

    template = "partials/registry/_figures.html"
    step = 0.005
    histogram_of = "images"

    @property
    def threshold_label(self) -> str:
        return "Called defective from an NG score of" if self.has_good_class else "Unsure below a score of"

    @property
    def calibration_note(self) -> str:
        return (
            "On the diagonal a score of 0.8 is right eight times in ten. The scores were scaled with a temperature of "
            f"{self.temperature:.2f} to make it so."
        )

    @property
    def headline(self) -> tuple[tuple[str, str, Estimate], ...]:
        """The figures beside F1, with what each means."""
        if self.figures is None:
            return ()
        found = (
            ("Precision", "of the parts it refuses are defective", self.figures.precision),
            ("Recall", "of the defective parts are found", self.figures.recall),
        )
        if not self.has_good_class:
            found = (
                ("Precision", "of the answers a class gets are right", self.figures.precision),
                ("Recall", "of a class's images are found", self.figures.recall),
            )
        ranked = [("AUROC", "chance to rank a pair in the right order", self.auroc)]
        ranked += [
            (title, meaning, Estimate(value))
            for name, (title, meaning) in MEASURED.items()
            if (value := self.measured.get(name)) is not None
        ]
        return (*found, ("Accuracy", "of the answers are the labelled class", self.figures.accuracy), *ranked)

    @property
    def matrix(self) -> list[list[int]]:
        """Images by labelled class (rows) and answered class (columns), without the unsure ones."""
        return [] if self.figures is None else self.figures.grid[:, :-1].tolist()

    @property
    def reliability_rows(self) -> list[tuple[float, float, int, float, float]]:
        return [(item.mean_score, item.share_right, item.n, item.low, item.high) for item in self.reliability]

    @property
    def unsure_by_class(self) -> list[int]:
        return [] if self.figures is None else self.figures.grid[:, -1].tolist()


def marks_of(manifest: BundleManifest) -> tuple[ClassMark, ...]:
    return tuple(ClassMark(item.id, item.name, item.color, item.is_good) for item in manifest.categories)


def default_split(arrays: ModelArrays) -> str:
    """Return the split that a report opens with: test, or the next best that holds images."""
    return next((split for split in SPLITS if len(arrays.of(split))), SPLITS[0])


def report_of(
    manifest: BundleManifest, arrays: ModelArrays, *, split: str, threshold: float, default: float, which: str | None
) -> Report:
    """Return the report of a labelled split.

    Args:
        threshold: In [0, 1].
        default: The model's own threshold.
        which: The pile to show; None, or one that this model has not: the first that is not empty.
    """
    part, good, marks = arrays.of(split), good_index_of(manifest), marks_of(manifest)
    answers = answers_of(part.scores, manifest, threshold)
    tabs = tabs_of(piles_of(part, answers, manifest, threshold), manifest)
    figures = figures_of(grid_of(part.truth, answers, len(marks)), good) if len(part) else None
    bins, ece = reliability_of(part.truth, part.scores)
    labelled = np.bincount(part.truth, minlength=len(marks))
    return Report(
        split=split,
        split_note=SPLIT_NOTES[split],
        n_by_split={name: len(arrays.of(name)) for name in (*SPLITS, UNLABELLED)},
        threshold=threshold,
        default_threshold=default,
        reason=manifest.decision.reason,
        has_good_class=good is not None,
        marks=marks,
        missing=tuple(mark.name for mark, n in zip(marks, labelled, strict=True) if n == 0) if len(part) else (),
        figures=figures,
        auroc=auroc_estimate(part, good),
        sentence=_sentence(figures, good) if figures else "",
        histogram=histogram_of(part, good),
        tabs=tabs,
        which=chosen_tab(which, tabs),
        reliability=bins,
        ece=ece,
        temperature=manifest.temperature,
    )


def auroc_estimate(part: SplitArrays, good: int | None) -> Estimate:
    return part.estimate("auroc", lambda: auroc_of(part.truth, part.scores, good))


def histogram_of(part: SplitArrays, good: int | None) -> Histogram:
    if good is None:
        score, side = part.scores.max(axis=1, initial=0.0), part.scores.argmax(axis=1) == part.truth
        names = ("Wrong", "Right", "Score of the answer")
    else:
        score, side = ng_scores(part.scores, good), part.truth != good
        names = ("Good", "Defective", "NG score")
    lower, upper = (np.histogram(score[mask], bins=N_BINS, range=(0.0, 1.0))[0].tolist() for mask in (~side, side))
    return Histogram(lower, upper, *names, upper_is_right=good is None)


def pile_of(
    manifest: BundleManifest,
    part: SplitArrays,
    *,
    threshold: float,
    which: str,
    true_id: int | None = None,
    predicted_id: int | None = None,
) -> tuple[Pile, Answers]:
    """Return the images of a gallery and all answers of the split.

    Args:
        which: One of the report's piles, or `all`.
        true_id: Only images labelled with this class.
        predicted_id: Only images answered with this class.
    """
    answers = answers_of(part.scores, manifest, threshold)
    piles = piles_of(part, answers, manifest, threshold)
    place = {item.id: index for index, item in enumerate(manifest.categories)}
    nowhere = len(place)  # a class that the model does not know has no image
    pile = narrowed(
        piles[which if which in piles else "all"],
        part,
        answers,
        true=None if true_id is None else place.get(true_id, nowhere),
        predicted=None if predicted_id is None else place.get(predicted_id, nowhere),
    )
    return pile, answers


def chosen_tab(which: str | None, tabs: tuple[GalleryTab, ...]) -> str:
    """Return the pile to show: the one asked for, else the first that is not empty."""
    if any(tab.key == which for tab in tabs):
        return str(which)
    return next((tab.key for tab in tabs if tab.n), tabs[0].key)


def _sentence(figures: Figures, good: int | None) -> str:
    grid = figures.grid
    if good is None:
        n_unsure = int(grid[:, -1].sum())
        n_right, n_answered = int(np.trace(grid[:, :-1])), figures.n_images - n_unsure
        rest = f" {n_unsure} {'is' if n_unsure == 1 else 'are'} unsure and left to a person." if n_unsure else ""
        return f"Of {_images(figures.n_images)} it answers {n_answered} and is right in {n_right}.{rest}"
    n_good = int(grid[good].sum())
    n_bad, missed = figures.n_images - n_good, int(grid[:, good].sum() - grid[good, good])
    refused = n_good - int(grid[good, good])
    if not n_bad:
        return f"Of {n_good} good parts it refuses {refused}. There is no defective part here to find."
    first = f"Of {n_bad} defective parts it finds {n_bad - missed} and misses {missed}"
    return f"{first}; of {n_good} good parts it refuses {refused}." if n_good else f"{first}."


def _images(n: int) -> str:
    return f"{n} image" if n == 1 else f"{n} images"


__all__ = [
    "Histogram",
    "Report",
    "auroc_estimate",
    "default_split",
    "histogram_of",
    "kinds_for",
    "marks_of",
    "pile_of",
    "report_of",
]
