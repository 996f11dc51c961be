"""Fine-tuning a classifier: the last stages learn, beginning with the frozen features' head; the better is taken.

What learns is judged on images that it never saw: dev, or a part of train. N is the number of images, D the length of
the features, K the number of classes.

Source: head first, then the backbone, so that features are not distorted before the head is worth following: Kumar et
al., ICLR 2022, arXiv:2202.10054.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from app.catalog import DEFAULT_AUGMENTATIONS, SymmetryCard
from app.contracts.bundle import ParityCheck, Precision, TunedChoice
from app.contracts.dataset import Dataset, DatasetItem
from app.contracts.jobs import TrainSpec
from app.contracts.tasks import Split
from app.inference.sessions.openvino import image_part
from app.inference.threshold import choose_rule
from worker.ml.backbones.base import Backbone
from worker.ml.backbones.export import FEATURES_NAME, ExportedBackbone, export_learned
from worker.ml.data.augmentation import Augmentation
from worker.ml.data.crops import Crops, whole_pictures
from worker.ml.data.extraction import FeatureExtractor, OpenImage
from worker.ml.evaluation.parity import MAX_SCORE_DIFFERENCE, ParityFailed
from worker.ml.exporters.network import normalised
from worker.ml.heads.kernel import Head
from worker.ml.heads.linear import LinearHead, Whitener, fit, fit_temperature, log_loss, softmax
from worker.ml.heads.pooled import PooledHead
from worker.ml.training.choices import stack
from worker.ml.training.classification_fit import TUNED, ClassificationLearner, ClassifierFit, entry_of
from worker.ml.training.fitting import Seen
from worker.ml.training.phases import Ground
from worker.ml.training.place import learning_precision
from worker.ml.training.reporting import Reporter

_HELD_OUT_SHARE = 0.2
_MAX_LEARNT = 10_000  # images that are kept as pixels: at 224 px, 1.5 GB on disk
_BUDGET_SHARE = 0.7  # of a budget; the rest is the features, before and after
_N_CHECKED = 16
_MIN_TO_SHARPEN = 60


@dataclass(frozen=True)
class Circumstances:
    """What a training was given, as far as tuning needs it. `key` names whatever its result depends on."""

    spec: TrainSpec
    dataset: Dataset
    symmetry: SymmetryCard
    open_image: OpenImage
    work_dir: Path
    precision: Precision
    key: str
    reporter: Reporter


@dataclass(frozen=True)
class HeldOut:
    """Rows that are learned from, rows that judge, and the logits (N, K) of the frozen features' head on the latter."""

    learnt: np.ndarray
    judging: np.ndarray
    frozen_logits: np.ndarray
    measured_on: str


def hold_out(items: Sequence[DatasetItem], truth: np.ndarray, seen: Seen, *, seed: int) -> HeldOut:
    """Return dev where it shows two classes, else a fifth of each class of train.

    The frozen head's logits are of a fit that had not seen the image either: of train, those out of fold.
    """
    train, dev = (np.flatnonzero([item.split is split for item in items]) for split in (Split.TRAIN, Split.DEV))
    if len(np.unique(truth[dev])) > 1:
        return HeldOut(train, dev, seen.fitted.head.logits(seen.features[dev]), "the dev images")
    generator = np.random.default_rng(seed)
    is_held = np.zeros(len(train), dtype=bool)
    for category in np.unique(truth[train]):
        members = generator.permutation(np.flatnonzero(truth[train] == category))
        is_held[members[: max(1, round(_HELD_OUT_SHARE * len(members)))]] = True
    logits = seen.fitted.held_out[is_held]
    return HeldOut(train[~is_held], train[is_held], logits, "training images that were held out")


def tuned(
    items: Sequence[DatasetItem], truth: np.ndarray, seen: Seen, given: Circumstances
) -> tuple[Seen, TunedChoice]:
    """Return the better of what was seen by the frozen backbone and by one whose last stages learned, and both figures.

    A second call in the same work folder goes on after the last whole epoch.

    Args:
        items: The labelled images that can be read.
        truth: Their class indices (N,).
        seen: Their features by the frozen backbone, and the head on them.
        given: What the training was given.

    Raises:
        ParityFailed: The exported backbone does not say what the one in torch says.
    """
    return _Tuning(items, truth, seen, given).run()


class _Tuning:
    def __init__(self, items: Sequence[DatasetItem], truth: np.ndarray, seen: Seen, given: Circumstances) -> None:
        self._items, self._truth, self._seen, self._given = items, truth, seen, given
        self._reporter, self._seed = given.reporter, given.spec.seed
        self._card, self._picture = seen.extractor.backbone.card, seen.extractor.preprocessing
        self._held = hold_out(items, truth, seen, seed=self._seed)

    def run(self) -> tuple[Seen, TunedChoice]:
        n_learnt, n_judging = len(self._held.learnt), len(self._held.judging)
        self._reporter.begin("Fitting", until=0.8, message="Reading images")
        self._reporter.log(f"Fine-tuning learns from {n_learnt:,} images, and is judged on {n_judging:,} others.")
        train, judging = self._pictures("learnt", self._held.learnt), self._pictures("judging", self._held.judging)
        backbone, head = self._learn(train, judging)
        self._reporter.begin("Evaluation", until=0.9, message="Composing the backbone")
        size = self._seen.extractor.backbone.image_size_px
        graph = export_learned(backbone, image_size_px=size, path=self._given.work_dir / "tuned.onnx")
        self._check_export(backbone, graph, head, judging)
        return self._better(self._extractor(graph), head)

    def _pictures(self, name: str, rows: np.ndarray) -> Crops:
        if len(rows) > _MAX_LEARNT:
            rows = np.sort(np.random.default_rng(self._seed).choice(rows, _MAX_LEARNT, replace=False))
        return whole_pictures(
            [self._items[row] for row in rows],
            self._truth[rows],
            preprocessing=self._picture,
            open_image=self._given.open_image,
            path=self._given.work_dir / f"{name}.npy",
            on_image=lambda done, total: self._reporter.step(0.0, f"{done:,} of {total:,} images"),
        )

    def _learn(self, train: Crops, judging: Crops) -> tuple[Backbone, LinearHead]:
        spec, held = self._given.spec, self._held
        whitener = Whitener(self._seen.features[held.learnt])
        n_categories = len(self._given.dataset.categories)
        start = fit(whitener, self._truth[held.learnt], n_categories, self._seen.fitted.strength)
        head = PooledHead(self._card, entry=entry_of(self._card), head=start, mean=whitener.mean, scale=whitener.scale)
        amounts = spec.augmentations or DEFAULT_AUGMENTATIONS[self._given.dataset.task]
        changes = Augmentation.of(amounts, self._given.symmetry.id, pad_value=self._picture.pad_value)
        learner = ClassificationLearner(head, train, judging, changes)
        fit_ = ClassifierFit(self._ground(), learner, judging)
        budget_s = spec.time_budget_s * _BUDGET_SHARE if spec.time_budget_s else None
        network = fit_.run((TUNED,), budget_s=budget_s)
        network.tail.state_for(fit_.backbone)
        return fit_.backbone, head.on_features()

    def _ground(self) -> Ground:
        return Ground(
            card=self._card,
            graph=self._seen.extractor.backbone,
            picture=self._picture,
            train_picture=self._picture,
            precision=learning_precision(self._given.precision),
            seed=self._seed,
            work_dir=self._given.work_dir,
            key=self._given.key,
            reporter=self._reporter,
        )

    def _extractor(self, graph: ExportedBackbone) -> FeatureExtractor:
        # Nobody else will ever want these features: they are kept, and go, with the training.
        return FeatureExtractor(
            graph,
            self._picture,
            precision=self._seen.extractor.precision,
            cache_dir=self._given.work_dir,
            open_image=self._given.open_image,
        )

    def _better(self, extractor: FeatureExtractor, head: LinearHead) -> tuple[Seen, TunedChoice]:
        held, truth = self._held, self._truth[self._held.judging]
        judging = [self._items[row] for row in held.judging]
        views = self._given.symmetry.views
        vectors = extractor.extract(judging, views, on_images=self._report).vectors
        logits = head.logits(stack(vectors, judging, self._given.symmetry))
        temperature, loss = _calibrated(logits, truth)
        choice = TunedChoice(
            published="frozen" if _calibrated(held.frozen_logits, truth)[1] <= loss else "tuned",
            measured_on=held.measured_on,
            n_images=len(truth),
            frozen_log_loss=_calibrated(held.frozen_logits, truth)[1],
            tuned_log_loss=loss,
        )
        which = "fine-tuned network" if choice.published == "tuned" else "frozen backbone with its head"
        self._reporter.log(
            f"Log-loss on {choice.n_images:,} images held out: {choice.frozen_log_loss:.4f} with the frozen backbone, "
            f"{loss:.4f} fine-tuned. The {which} is published."
        )
        if choice.published == "frozen":
            return self._seen, choice
        extracted = extractor.extract([*self._items, *self._given.dataset.unlabelled], views, on_images=self._report)
        features = stack(extracted.vectors, self._items, self._given.symmetry)
        decision = choose_rule(
            truth, softmax(logits / temperature), self._given.dataset.categories, measured_on=held.measured_on
        )
        fitted = replace(
            self._seen.fitted,
            head=Head(head),
            temperature=temperature,
            decision=decision,
            stacked=None,
            feature_mean=features[held.learnt].mean(axis=0, dtype=np.float64),
        )
        return Seen(extractor, extracted, features, fitted), choice

    def _report(self, done: int, total: int) -> None:
        self._reporter.step(done / total, f"{done:,} of {total:,} images")

    def _check_export(self, backbone: Backbone, graph: ExportedBackbone, head: LinearHead, pictures: Crops) -> None:
        """Compare what the graph says in f32 with what the network says in torch."""
        pixels = np.stack([pictures.picture(index) for index in range(min(_N_CHECKED, len(pictures)))])
        part = image_part(graph.path, FEATURES_NAME, self._picture, precision="f32")
        with torch.inference_mode():
            expected = backbone.eval()(normalised(torch.from_numpy(pixels), self._picture)).pooled.numpy()
        own, wanted = (softmax(head.logits(features)) for features in (part(pixels), expected))
        check = ParityCheck(
            n_images=len(pixels),
            max_score_difference=float(np.abs(own - wanted).max()),
            n_changed_decisions=int((own.argmax(1) != wanted.argmax(1)).sum()),
            engine="openvino CPU f32",
        )
        if check.max_score_difference > MAX_SCORE_DIFFERENCE["f32"]:
            raise ParityFailed(check, self._given.work_dir)


def _calibrated(logits: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Return the best temperature, and the log-loss at it. A few right answers make no network surer of itself."""
    temperature = max(fit_temperature(logits, truth), 0.0 if len(truth) >= _MIN_TO_SHARPEN else 1.0)
    return temperature, log_loss(logits / temperature, truth)
