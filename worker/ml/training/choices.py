"""Choosing a backbone and the symmetries of the part by cross-validation on a subset of the labelled images.

No frozen backbone always wins, so they are measured on the user's own labels, within a budget of time. What was chosen
is written down, so that a training that is taken up again does not choose again.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.catalog import BACKBONES, SYMMETRIES, BackboneCard, NotTrainable, SymmetryCard
from app.contracts.dataset import DatasetItem
from app.contracts.jobs import Comparison, ComparisonRow
from app.inference.bootstrap import draw_weights
from app.inference.ranking import auroc
from worker.ml.data.extraction import FeatureExtractor
from worker.ml.heads.linear import Whitener, cross_validate
from worker.ml.training.reporting import Reporter

# Backbones differ by several hundredths where they differ at all; symmetries by one or less, so they get more images,
# most of which the training needs under the chosen views anyway.
MAX_FOR_BACKBONES = 300
MAX_FOR_SYMMETRIES = 600
_STRENGTHS = (1e-3, 3e-3, 1e-2)
_N_FOLDS = 4
_DRAWS = 300

Extractors = Callable[[str], FeatureExtractor]


@dataclass(frozen=True)
class Measured:
    """Cross-validated AUROC of one candidate, and its value in each bootstrap draw (the same draws for all)."""

    score: float
    draws: np.ndarray
    seconds: float

    @property
    def interval(self) -> tuple[float, float]:
        low, high = np.nanpercentile(self.draws, [2.5, 97.5])
        return float(low), float(high)


@dataclass(frozen=True)
class _Seen:
    """Features (N, D) of the images that could be read, their class indices (N,), and the time that reading took."""

    features: np.ndarray
    truth: np.ndarray
    seconds: float


@dataclass(frozen=True)
class Subset:
    """The images that candidates are measured on: all labelled ones, or a stratified sample of them."""

    items: tuple[DatasetItem, ...]
    truth: np.ndarray

    @classmethod
    def of(cls, items: Sequence[DatasetItem], truth: np.ndarray, *, at_most: int, seed: int) -> "Subset":
        if len(items) <= at_most:
            return cls(tuple(items), truth)
        generator = np.random.default_rng(seed)
        share = at_most / len(items)
        picked: list[int] = []
        for category in np.unique(truth):
            members = np.flatnonzero(truth == category)
            n = min(len(members), max(_N_FOLDS, round(share * len(members))))
            picked.extend(generator.permutation(members)[:n].tolist())
        order = np.sort(np.array(picked))
        return cls(tuple(items[index] for index in order), truth[order])


def check_trainable(categories: Iterable[int | None]) -> None:
    """Raise `NotTrainable` unless these classes of readable training images are two or more, each there twice."""
    counts = Counter(categories)
    if len(counts) < 2 or min(counts.values()) < 2:
        raise NotTrainable(
            "At least two classes with two readable training images each are needed. Label more images, or move "
            "some to the train split."
        )


class Chooser:
    """Measures candidates on one subset with one set of folds and draws, so that they differ in nothing else."""

    def __init__(
        self, subset: Subset, extractors: Extractors, *, n_categories: int, seed: int, reporter: Reporter
    ) -> None:
        self._subset = subset
        self._extractors = extractors
        self._n_categories = n_categories
        self._seed = seed
        self._reporter = reporter

    def backbone(self, candidates: Sequence[str], *, budget_s: float) -> tuple[str, Comparison]:
        """Choose among backbones, the first of which is always measured.

        The cheapest one that is within a standard error of the best wins: what cannot be told apart from noise is not
        worth its time at every prediction. Source: one-standard-error rule, Breiman et al. 1984, section 3.4.3.
        """
        identity = SYMMETRIES["identity"]
        judged: dict[str, Future[Measured]] = {}
        skipped: dict[str, str] = {}
        left_s, per_mac_s = budget_s, 0.0
        with ThreadPoolExecutor(1) as judge:
            for index, name in enumerate(candidates):
                n_missing = self._extractors(name).n_missing(self._subset.items, identity.views)
                expected_s = per_mac_s * n_missing * BACKBONES[name].macs_m
                if judged and expected_s > left_s:
                    skipped[name] = f"Not measured: it would take about {expected_s:.0f} s more."
                    continue
                seen = self._look(name, identity, share=(index / len(candidates), (index + 1) / len(candidates)))
                judged[name] = judge.submit(self._judge, seen)
                left_s -= seen.seconds
                if n_missing:
                    per_mac_s = seen.seconds / (n_missing * BACKBONES[name].macs_m)
        measured = {name: result.result() for name, result in judged.items()}
        chosen = cheapest_as_good(measured, list(measured))
        rows = [self._backbone_row(BACKBONES[name], measured, skipped, chosen) for name in candidates]
        return chosen, self._comparison("backbone", rows, _backbone_reason(chosen, measured))

    def symmetry(self, backbone: str, candidates: Sequence[str]) -> tuple[str, Comparison]:
        """Choose among symmetries: the best, a turn where it cannot be told from the best, none where none gains.

        Networks are trained on mirrored pictures, so a turn shows them more that is new than a flip does.
        """
        judged: dict[str, Future[Measured]] = {}
        with ThreadPoolExecutor(1) as judge:
            for index, name in enumerate(candidates):
                share = (index / len(candidates), (index + 1) / len(candidates))
                judged[name] = judge.submit(self._judge, self._look(backbone, SYMMETRIES[name], share=share))
        measured = {name: result.result() for name, result in judged.items()}
        chosen = best_symmetry(measured)
        rows = [
            self._row(name, SYMMETRIES[name].name, measured.get(name), chosen, len(SYMMETRIES[name].views))
            for name in candidates
        ]
        gain = measured[chosen].score - measured[candidates[0]].score
        says = (
            "scores highest" if chosen == _best(measured) else "scores as high as any within the noise of these images"
        )
        reason = (
            f"{SYMMETRIES[chosen].name} {says}: {gain:+.3f} against a single view."
            if gain > 0
            else "A single view scores as high as any pair of views, at half the time of a prediction."
        )
        return chosen, self._comparison("symmetry", rows, reason)

    def _look(self, backbone: str, symmetry: SymmetryCard, *, share: tuple[float, float]) -> "_Seen":
        """Return what a candidate sees; that takes the stage from the first to the second `share` of its length."""
        begin, end = share

        def report(done: int, total: int) -> None:
            says = f"{BACKBONES[backbone].name}, {symmetry.name.lower()}: {done} of {total} images"
            self._reporter.step(begin + (end - begin) * done / max(total, 1), says)

        extracted = self._extractors(backbone).extract(self._subset.items, symmetry.views, on_images=report)
        self._reporter.step(end)
        readable = np.array([item.sha256 not in extracted.unreadable for item in self._subset.items])
        items = [item for item, is_readable in zip(self._subset.items, readable, strict=True) if is_readable]
        truth = self._subset.truth[readable]
        check_trainable(truth.tolist())
        return _Seen(stack(extracted.vectors, items, symmetry), truth, extracted.seconds)

    def _judge(self, seen: "_Seen") -> Measured:
        """Cross-validate on what a candidate saw: on a thread beside the one that looks for the next candidate."""
        started = time.perf_counter()
        folds = cross_validate(
            Whitener(seen.features),
            seen.truth,
            self._n_categories,
            seed=self._seed,
            n_folds=_N_FOLDS,
            strengths=_STRENGTHS,
        )
        logits = min(folds, key=lambda result: result.log_loss).logits
        draws = auroc(seen.truth, log_odds(logits), weights=draw_weights(len(seen.truth), _DRAWS))
        seconds = seen.seconds + time.perf_counter() - started
        return Measured(macro_auroc(seen.truth, logits), draws, seconds)

    def _backbone_row(
        self, card: BackboneCard, measured: dict[str, Measured], skipped: dict[str, str], chosen: str
    ) -> ComparisonRow:
        return self._row(card.id, card.name, measured.get(card.id), chosen, 1, skipped.get(card.id, ""))

    @staticmethod
    def _row(
        name: str, shown_as: str, measured: Measured | None, chosen: str, passes: int, note: str = ""
    ) -> ComparisonRow:
        low, high = measured.interval if measured else (None, None)
        return ComparisonRow(
            id=name,
            name=shown_as,
            score=measured.score if measured else None,
            low=low,
            high=high,
            seconds=round(measured.seconds, 2) if measured else None,
            passes=passes,
            is_chosen=name == chosen,
            note=note,
        )

    def _comparison(self, what: str, rows: list[ComparisonRow], reason: str) -> Comparison:
        return Comparison(
            what=what,
            metric="auroc",
            n_images=len(self._subset.items),
            n_folds=_N_FOLDS,
            reason=reason,
            rows=tuple(rows),
        )


def best_symmetry(measured: dict[str, Measured]) -> str:
    """Return the symmetry of the highest score; the quarter turn stands for what is within one standard error of it."""
    best = _best(measured)
    turned = measured.get("rot90")
    if turned is None or turned.score <= measured["identity"].score:
        return best
    standard_error = float(np.nanstd(measured[best].draws - turned.draws))
    return "rot90" if measured[best].score - turned.score <= standard_error else best


def _best(measured: dict[str, Measured]) -> str:
    return max(measured, key=lambda name: (round(measured[name].score, 4), -len(SYMMETRIES[name].views)))


def cheapest_as_good(measured: dict[str, Measured], cheapest_first: Sequence[str]) -> str:
    """Return the cheapest candidate that is within one standard error of the best, by paired bootstrap."""
    best = max(measured.values(), key=lambda one: one.score)
    for name in cheapest_first:
        standard_error = float(np.nanstd(best.draws - measured[name].draws))
        if best.score - measured[name].score <= standard_error:
            return name
    return cheapest_first[0]


def _backbone_reason(chosen: str, measured: dict[str, Measured]) -> str:
    name = BACKBONES[chosen].name
    best = max(measured, key=lambda other: measured[other].score)
    if len(measured) == 1:
        return f"{name} was the only one measured."
    if best == chosen:
        return f"{name} scores highest."
    gap = measured[best].score - measured[chosen].score
    return f"{BACKBONES[best].name} scores {gap:.3f} more, within the noise of these images; {name} is quicker."


def stack(
    vectors: dict[tuple[str, int], np.ndarray], items: Sequence[DatasetItem], symmetry: SymmetryCard
) -> np.ndarray:
    """Return features (N, D) float32 of images, averaged over the views of a symmetry."""
    first, *others = symmetry.views
    # Each array of this size that is not made is a tenth of a second.
    total = np.empty((len(items), len(vectors[items[0].sha256, first.index])), dtype=np.float32)
    for index, item in enumerate(items):
        total[index] = vectors[item.sha256, first.index]
        for view in others:
            total[index] += vectors[item.sha256, view.index]
    if others:
        total /= np.float32(len(symmetry.views))
    return total


def macro_auroc(truth: np.ndarray, logits: np.ndarray) -> float:
    """Return the mean over classes of one against the rest; with two classes it is the AUROC of the second.

    NaN where `truth` holds one class only.
    """
    return float(auroc(truth, log_odds(logits))[0])


def log_odds(logits: np.ndarray) -> np.ndarray:
    """Return each class against all others, (N, K), in nats: in the order of the probability, but never all ones."""
    others = [np.logaddexp.reduce(np.delete(logits, k, axis=1), axis=1) for k in range(logits.shape[1])]
    return np.asarray(logits - np.stack(others, axis=1))


@dataclass(frozen=True)
class Choices:
    """What was chosen, and the tables that show why."""

    backbone: str
    symmetry: str
    comparisons: tuple[Comparison, ...]


def read_choices(path: Path, key: str) -> Choices | None:
    """Return what an earlier attempt at the same training chose, or None."""
    try:
        stored = json.loads(path.read_text())
        if stored["key"] != key:
            return None
        tables = tuple(Comparison.model_validate(table) for table in stored["comparisons"])
        return Choices(stored["backbone"], stored["symmetry"], tables)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_choices(path: Path, key: str, choices: Choices) -> None:
    """Write down what was chosen; a kill in between leaves the old file or the new one."""
    tables = [table.model_dump(mode="json") for table in choices.comparisons]
    content = {"key": key, "backbone": choices.backbone, "symmetry": choices.symmetry, "comparisons": tables}
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content))
    partial.replace(path)
