"""One split of a model that finds shapes, at one threshold, as the report shows it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from app.contracts.bundle import BundleManifest
from app.contracts.tasks import TaskType
from app.inference.array_types import Bools, Floats
from app.inference.bootstrap import Estimate
from app.inference.calibration import ReliabilityBin, reliability_bins
from app.inference.detection_metrics import DetectionMetrics
from app.inference.segmentation_metrics import SegmentationMetrics
from app.inference.shape_figures import FoundShapes, ShapeFigures, Shown, figures_at, shown_at
from app.registry.galleries import CLOSE_CALL, Kind, Pile
from app.registry.report import N_BINS, SPLIT_NOTES, Histogram, SplitReport, chosen_tab, marks_of
from app.registry.schemas import SPLITS, UNLABELLED, GalleryTab
from app.registry.shape_arrays import ModelShapes, ShapeSplit

KINDS: dict[str, Kind] = {
    "missed": Kind("Missed", "Drawn by a person and not found, the most of them first.", "Nothing is missed here."),
    "false_alarms": Kind("False alarms", "Found where nothing is drawn, the surest first.", "No find is too many."),
    "mixed_up": Kind(
        "Mixed up", "Found as another class, the surest mistakes first.", "No class is taken for another."
    ),
    "unsure": Kind("Unsure", "A find lies close to the threshold: labels like these teach the most.", "None is close."),
    "right": Kind("Right", "All that is drawn is found, and nothing else.", "No image is wholly right."),
    "all": Kind("All", "Those with a find close to the threshold first.", "There are no images here."),
}


@dataclass(frozen=True)
class Stored:
    """Figures that need more than scores and matches, as the training stored them at the model's own threshold.

    `headline` holds (name, meaning, figure); `rows` the values of `columns` for each class.
    """

    headline: tuple[tuple[str, str, Estimate], ...] = ()
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[float | None, ...], ...] = ()


def _detection(metrics: Mapping[str, Any]) -> Stored:
    measured = DetectionMetrics.model_validate(metrics)
    return Stored(
        headline=(
            (
                "mAP50",
                "mean average precision of the classes at an overlap of 0.5, whatever the threshold",
                measured.map50,
            ),
            ("mAP50-95", "the same, averaged over overlaps from 0.5 to 0.95", measured.map50_95),
        ),
        columns=("AP50", "AP50-95"),
        rows=tuple((one.ap50, one.ap50_95) for one in measured.classes),
    )


def _segmentation(metrics: Mapping[str, Any]) -> Stored:
    measured = SegmentationMetrics.model_validate(metrics)
    return Stored(
        headline=(
            ("Mean IoU", "overlap of marked and found pixels, averaged over the classes", measured.mean_iou),
            ("Dice", "twice the shared pixels against all marked and found ones, whatever the class", measured.dice),
            ("Pixel precision", "of the found pixels are marked", measured.precision),
            ("Pixel recall", "of the marked pixels are found", measured.recall),
            ("Defects found", "connected marked parts that a region of their class hits", measured.recall_of_defects),
        ),
        columns=("IoU", "Dice", "Defects found"),
        rows=tuple((one.iou.value, one.dice.value, one.recall_of_defects.value) for one in measured.classes),
    )


STORED: dict[TaskType, Callable[[Mapping[str, Any]], Stored]] = {
    TaskType.DETECTION: _detection,
    TaskType.SEGMENTATION: _segmentation,
}
"""From a split's stored metrics to what the report shows of them, by task. Other tasks join here."""

NOUNS: dict[TaskType, tuple[str, str]] = {
    TaskType.DETECTION: ("box", "boxes"),
    TaskType.SEGMENTATION: ("region", "regions"),
}
"""What a drawn shape is called, one and several."""


@dataclass(frozen=True, slots=True)
class ShapeReport(SplitReport):
    """Of a task that finds shapes. `figures` is None where the split holds no image."""

    noun: tuple[str, str]
    figures: ShapeFigures | None
    stored: Stored

    template = "partials/registry/_shape_figures.html"
    threshold_label = "A find counts from a score of"
    step = 0.01
    histogram_of = "finds"
    calibration_note = (
        "On the diagonal eight in ten finds of score 0.8 are right: the scores were mapped to make it so."
    )

    @property
    def headline(self) -> tuple[tuple[str, str, Estimate], ...]:
        """The figures beside F1, with what each means."""
        if self.figures is None:
            return ()
        return (
            ("Precision", "of the finds are right", self.figures.total.precision),
            ("Recall", f"of the drawn {self.noun[1]} are found", self.figures.total.recall),
            *self.stored.headline,
        )

    @property
    def reliability_rows(self) -> list[tuple[float, float, int, float, float]]:
        return [(item.mean_score, item.share_right, item.n, item.low, item.high) for item in self.reliability]


def default_split(shapes: ModelShapes) -> str:
    """Return the split that a report opens with: test, or the next best that holds images."""
    return next((split for split in SPLITS if len(shapes.of(split))), SPLITS[0])


def report_of(
    manifest: BundleManifest,
    shapes: ModelShapes,
    metrics: Mapping[str, Any],
    *,
    split: str,
    threshold: float,
    default: float,
    which: str | None,
) -> ShapeReport:
    """Return the report of a labelled split.

    Args:
        manifest: The model's.
        shapes: All that it found.
        metrics: `{split: figures}` as the training stored them.
        split: One of `SPLITS`.
        threshold: In [0, 1].
        default: The model's own threshold.
        which: The pile to show; None, or one that there is not: the first that is not empty.
    """
    part, marks = shapes.of(split), marks_of(manifest)
    tabs = tabs_of(piles_of(part, threshold), len(marks))
    figures = figures_at(part.shapes, threshold) if len(part) else None
    noun = NOUNS[manifest.task]
    drawn = np.bincount(part.shapes.drawn_class, minlength=len(marks))
    bins, ece = _reliability(part.shapes)
    return ShapeReport(
        split=split,
        split_note=SPLIT_NOTES[split],
        n_by_split={name: len(shapes.of(name)) for name in (*SPLITS, UNLABELLED)},
        threshold=threshold,
        default_threshold=default,
        reason=manifest.decision.reason,
        marks=marks,
        missing=tuple(mark.name for mark, n in zip(marks, drawn, strict=True) if n == 0) if len(part) else (),
        noun=noun,
        figures=figures,
        stored=STORED[manifest.task](metrics[split]) if split in metrics else Stored(),
        sentence=_sentence(figures, noun) if figures else "",
        histogram=_histogram(part.shapes),
        tabs=tabs,
        which=chosen_tab(which, tabs),
        reliability=bins,
        ece=ece,
    )


def _reliability(shapes: FoundShapes) -> tuple[tuple[ReliabilityBin, ...], float | None]:
    return reliability_bins(shapes.find_score, shapes.find_own >= 0)


def _histogram(shapes: FoundShapes) -> Histogram:
    is_right = shapes.find_own >= 0
    lower, upper = (
        np.histogram(shapes.find_score[mask], bins=N_BINS, range=(0.0, 1.0))[0].tolist()
        for mask in (~is_right, is_right)
    )
    return Histogram(lower, upper, "Not right", "Right", "Score of the find", upper_is_right=True)


# Galleries


def piles_of(part: ShapeSplit, threshold: float) -> dict[str, Pile]:
    """Return every pile of a split at a threshold; without labels only `unsure` and `all` hold images."""
    shapes, shown = part.shapes, shown_at(part.shapes, threshold)
    margin = np.ones(len(part))
    np.minimum.at(margin, shapes.find_image, np.abs(shapes.find_score - threshold))
    everything = Pile(np.ones(len(part), dtype=np.bool_), margin)
    unsure = Pile(margin <= CLOSE_CALL, margin)
    missed = np.bincount(shapes.drawn_image[~shown.is_hit], minlength=len(part))
    alarms = _surest(part, _false_alarms(shapes, shown))
    mixed = _surest(part, _mixed_up(shapes, shown))
    is_wrong = (missed > 0) | (alarms > 0) | (mixed > 0) | (_n_missed(part, shown) > 0)
    return {
        "missed": Pile(missed > 0, -missed / (missed + 1)),
        "false_alarms": Pile(alarms > 0, -alarms),
        "mixed_up": Pile(mixed > 0, -mixed),
        "unsure": unsure,
        "right": Pile(~is_wrong, margin),
        "all": everything,
    }


def _n_missed(part: ShapeSplit, shown: Shown) -> Floats:
    return np.bincount(part.shapes.drawn_image[~shown.is_found], minlength=len(part)).astype(np.float64)


def _false_alarms(shapes: FoundShapes, shown: Shown) -> Bools:
    return shown.finds & (shapes.find_any < 0)


def _mixed_up(shapes: FoundShapes, shown: Shown) -> Bools:
    drawn_as = np.append(shapes.drawn_class, -1)[shapes.find_any]
    return shown.finds & (shapes.find_any >= 0) & (drawn_as != shapes.find_class)


def _surest(part: ShapeSplit, finds: Bools) -> Floats:
    """Return the highest score (N,) of the chosen finds (F,) of each image, 0 without one."""
    out = np.zeros(len(part))
    np.maximum.at(out, part.shapes.find_image[finds], part.shapes.find_score[finds])
    return out


def kinds_for(n_classes: int) -> tuple[str, ...]:
    """Return the piles of a report, in the order of what an engineer wants to see first."""
    return ("missed", "false_alarms", *(("mixed_up",) if n_classes > 1 else ()), "unsure", "right")


def tabs_of(piles: Mapping[str, Pile], n_classes: int) -> tuple[GalleryTab, ...]:
    return tuple(
        GalleryTab(key, KINDS[key].title, len(piles[key]), KINDS[key].empty, KINDS[key].hint)
        for key in kinds_for(n_classes)
    )


def pile_of(
    manifest: BundleManifest,
    part: ShapeSplit,
    *,
    threshold: float,
    which: str,
    true_id: int | None = None,
    predicted_id: int | None = None,
) -> Pile:
    """Return the images of a gallery.

    Args:
        manifest: The model's.
        part: A split.
        threshold: In [0, 1].
        which: One of the report's piles, or `all`.
        true_id: Only images with a drawn shape of this class; of `missed`, with one that is missed.
        predicted_id: Only images with a find of this class; of `false_alarms`, with one where nothing is drawn.
            With both: images on which one was found as the other.
    """
    piles = piles_of(part, threshold)
    pile = piles[which if which in piles else "all"]
    place = {item.id: index for index, item in enumerate(manifest.categories)}
    chosen = pile.chosen
    shapes, shown = part.shapes, shown_at(part.shapes, threshold)
    true, predicted = (None if one is None else place.get(one, len(place)) for one in (true_id, predicted_id))
    finds = _false_alarms(shapes, shown) if which == "false_alarms" else shown.finds
    if true is not None and predicted is not None:
        drawn_as = np.append(shapes.drawn_class, -1)[shapes.find_any]
        finds = finds & (shapes.find_any >= 0) & (drawn_as == true)
    elif true is not None:
        drawn = shapes.drawn_class == true
        drawn = drawn & ~shown.is_hit if which == "missed" else drawn
        chosen = chosen & (np.bincount(shapes.drawn_image[drawn], minlength=len(part)) > 0)
    if predicted is not None:
        finds = finds & (shapes.find_class == predicted)
        chosen = chosen & (np.bincount(shapes.find_image[finds], minlength=len(part)) > 0)
    return Pile(chosen, pile.rank)


def _sentence(figures: ShapeFigures, noun: tuple[str, str]) -> str:
    total = figures.total
    found = total.n_drawn - total.n_missed
    n_extra = total.n_found - total.n_right
    first = (
        f"Of {total.n_drawn:,} drawn {noun[total.n_drawn != 1]} it finds {found:,} and misses {total.n_missed:,}; "
        f"{n_extra:,} of its {total.n_found:,} finds {'is' if n_extra == 1 else 'are'} not right."
    )
    parts = [
        f"{called:,} of {n:,} {words}"
        for n, called, words in ((*figures.marked, "with a defect"), (*figures.clean, "without"))
        if n
    ]
    return f"{first} Image by image, it calls NG {' and '.join(parts)}."
