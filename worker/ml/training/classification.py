"""Training a classifier: choose, read, fit, tune where asked for, calibrate, compose, evaluate, prove.

N is the number of images, D the length of the features, K the number of classes.
"""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from app.catalog import BACKBONES, SYMMETRIES, SymmetryCard, head_of
from app.catalog.backbones import AUTO_BACKBONES
from app.catalog.symmetries import AUTO_SYMMETRIES
from app.contracts.bundle import (
    MANIFEST_NAME,
    MODEL_NAME,
    BundleManifest,
    Lineage,
    ParityCheck,
    Precision,
    Preprocessing,
    TunedChoice,
)
from app.contracts.dataset import Dataset, DatasetItem
from app.contracts.jobs import Comparison, TrainSpec
from app.contracts.predictions import ImagePrediction
from app.contracts.tasks import Split
from app.inference.bundle import Bundle, read_bundle
from app.inference.metrics import SplitMetrics, measure
from app.inference.scoring import ScoringModel
from app.inference.sessions.openvino import OpenVinoSession
from worker.ml import compat
from worker.ml.backbones.export import exported
from worker.ml.data.extraction import Extracted, FeatureExtractor, OpenImage
from worker.ml.evaluation.parity import ParityFailed, check_parity, is_proven
from worker.ml.exporters.classification import compose
from worker.ml.training.bundling import NOT_KEPT, Origin, lineage_of, write_manifest
from worker.ml.training.choices import (
    MAX_FOR_BACKBONES,
    MAX_FOR_SYMMETRIES,
    Choices,
    Chooser,
    Subset,
    check_trainable,
    read_choices,
    stack,
    write_choices,
)
from worker.ml.training.fitting import Fitted, Labelled, Seen, fit_classifier
from worker.ml.training.reporting import OnEvent, Reporter
from worker.ml.training.result import TrainedModel
from worker.ml.training.tables import tables_of

_COMPARE_BUDGET_S = 20.0
_COMPARE_SHARE = 0.25
_COMPARED = 0.3  # progress at the end of the comparisons
_N_PARITY = 32
# Slow to import, and first used after the comparisons.
_NEEDED_LATER = ("sklearn.svm", "onnx")
_SPLITS = tuple(Split)
_LIBRARIES = ("numpy", "onnx", "openvino", "pillow", "scikit-learn", "scipy")


def train_classification(
    spec: TrainSpec,
    dataset: Dataset,
    *,
    open_image: OpenImage,
    cache_dir: Path,
    work_dir: Path,
    on_event: OnEvent,
    precision: Precision = "bf16",
    origin: Origin = NOT_KEPT,
) -> TrainedModel:
    """Train a classifier on a frozen dataset and leave a proven bundle in `work_dir / "bundle"`.

    The same spec, dataset, machine and library versions give the same weights. A second call with the same `work_dir`
    goes on where the first was interrupted: features are kept as they are computed, and choices once they are made.

    Args:
        spec: What a person chose; checked against the catalog before.
        dataset: Classes, labelled images with splits, and images that are only predicted.
        open_image: Returns the bytes, or the file, of an image. Called from several threads.
        cache_dir: Kept between trainings: exported backbones and features.
        work_dir: This training's own folder.
        on_event: Receives progress, points and log lines; may raise to stop.
        precision: Arithmetic of the backbone; `bf16` falls back to `f32` on a CPU without it.
        origin: For the lineage.

    Raises:
        NotTrainable: Fewer than two classes have readable training images.
        ParityFailed: The finished bundle disagrees with the features it was fitted on.
    """
    training = _Training(spec, dataset, open_image, cache_dir, work_dir, Reporter(on_event), precision)
    with compat.single_threaded_algebra():
        return training.run(origin)


class _Training:
    """One run. Its methods are its stages, in order."""

    def __init__(
        self,
        spec: TrainSpec,
        dataset: Dataset,
        open_image: OpenImage,
        cache_dir: Path,
        work_dir: Path,
        reporter: Reporter,
        precision: Precision,
    ) -> None:
        self.spec = spec
        self.dataset = dataset
        self.open_image = open_image
        self.cache_dir = cache_dir
        self.work_dir = work_dir
        self.reporter = reporter
        self.precision = precision
        facts = (spec.model_dump_json(exclude={"name"}), dataset.content_hash(), precision)
        self._key = hashlib.sha256(repr(facts).encode()).hexdigest()
        self.index_of = {category.id: index for index, category in enumerate(dataset.categories)}
        self.labelled = [item for item in dataset.items if item.category_id in self.index_of]
        self._extractors: dict[str, FeatureExtractor] = {}

    def run(self, origin: Origin) -> TrainedModel:
        self.work_dir.mkdir(parents=True, exist_ok=True)
        check_trainable(item.category_id for item in self._train_items())
        choices = self._choose()
        symmetry = SYMMETRIES[choices.symmetry]
        extractor = self._extractor(choices.backbone)
        extracted = self._extract(extractor, symmetry)
        items = [item for item in self.labelled if item.sha256 not in extracted.unreadable]
        items.sort(key=lambda item: _SPLITS.index(item.split))  # so that each split is a slice, and none is copied
        check_trainable(item.category_id for item in items if item.split is Split.TRAIN)
        features = stack(extracted.vectors, items, symmetry)
        truth = self._truth(items)
        seen = Seen(extractor, extracted, features, self._fit(items, features, truth))
        seen, tuning = self._tune(choices, items, truth, seen) if self._is_tuned else (seen, None)
        bundle = self._compose(seen, symmetry, self._lineage(choices, seen.fitted, origin), tuning)
        model = ScoringModel(bundle, OpenVinoSession(bundle))
        predictions, scores = self._predict(model, items, seen, symmetry)
        with ThreadPoolExecutor(1) as beside:  # the network runs outside of Python's lock, so both get a core
            measured = beside.submit(self._measure, model, items, truth, scores)
            bundle = self._prove(model, items, predictions)
            metrics = measured.result()
        for split, figures in metrics.items():
            self.reporter.results(split, figures)
        self.reporter.begin("Publishing", until=1.0, message="Ready to publish")
        tables = tables_of(choices.comparisons, seen.fitted, tuning)
        unreadable = {item.image_id: why for item in self._all() if (why := extracted.unreadable.get(item.sha256))}
        return TrainedModel(bundle.directory, bundle.manifest, metrics, tables, predictions, unreadable)

    # Choosing

    def _choose(self) -> Choices:
        self.reporter.begin("Comparison", until=_COMPARED / 2)
        path = self.work_dir / "choices.json"
        earlier = read_choices(path, self._key)
        if earlier is not None:
            self.reporter.log("Going on with the backbone and the symmetries that were chosen before.")
            for table in earlier.comparisons:
                self.reporter.table(table)
            return earlier
        comparisons: list[Comparison] = []
        backbone, symmetry = self.spec.backbone, self.spec.symmetry
        if backbone == "auto":
            budget_s = min(_COMPARE_BUDGET_S, _COMPARE_SHARE * (self.spec.time_budget_s or np.inf))
            backbone, table = self._chooser(MAX_FOR_BACKBONES).backbone(AUTO_BACKBONES, budget_s=budget_s)
            self._extractors = {backbone: self._extractors[backbone]}  # the others' compiled graphs are large
            comparisons.append(table)
            self.reporter.table(table)
        if symmetry == "auto":
            self.reporter.begin("Comparison", until=_COMPARED)
            symmetry, table = self._chooser(MAX_FOR_SYMMETRIES).symmetry(backbone, self._auto_symmetries())
            comparisons.append(table)
            self.reporter.table(table)
        for table in comparisons:
            self.reporter.log(f"{table.what.capitalize()}: {table.reason}")
        choices = Choices(backbone, symmetry, tuple(comparisons))
        write_choices(path, self._key, choices)
        return choices

    def _chooser(self, at_most: int) -> Chooser:
        items = self._train_items()
        return Chooser(
            Subset.of(items, self._truth(items), at_most=at_most, seed=self.spec.seed),
            self._extractor,
            n_categories=len(self.dataset.categories),
            seed=self.spec.seed,
            reporter=self.reporter,
        )

    def _auto_symmetries(self) -> Sequence[str]:
        """Quarter turns make no sense where letterboxing leaves borders on two sides only."""
        return [name for name in AUTO_SYMMETRIES if self._resize() == "stretch" or name != "rot90"]

    # Features

    def _extract(self, extractor: FeatureExtractor, symmetry: SymmetryCard) -> Extracted:
        self.reporter.begin("Features", until=0.35 if self._is_tuned else 0.75, message="Reading images")

        def report(done: int, total: int) -> None:
            self.reporter.step(done / total, f"{done:,} of {total:,} images")

        extracted = extractor.extract(self._all(), symmetry.views, on_images=report)
        if extracted.n_computed:
            rate = extracted.n_computed / max(extracted.seconds, 1e-9)
            self.reporter.log(f"Computed {extracted.n_computed:,} feature vectors, {rate:.0f} a second.")
        else:
            self.reporter.log("All features were there from an earlier training.")
        names = {item.sha256: item.image_id for item in self._all()}
        for sha256, why in extracted.unreadable.items():
            self.reporter.log(f"Image {names[sha256]} was left out: {why}", is_warning=True)
        return extracted

    def _extractor(self, backbone: str) -> FeatureExtractor:
        if backbone not in self._extractors:
            self.reporter.step(0.0, f"Preparing {BACKBONES[backbone].name}")
            preprocessing = self._preprocessing(backbone)
            graph = exported(BACKBONES[backbone], image_size_px=preprocessing.width_px, cache_dir=self.cache_dir)
            self._extractors[backbone] = FeatureExtractor(
                graph, preprocessing, precision=self.precision, cache_dir=self.cache_dir, open_image=self.open_image
            )
        return self._extractors[backbone]

    def _preprocessing(self, backbone: str) -> Preprocessing:
        card = BACKBONES[backbone]
        side = self.spec.image_size_px or card.input_px
        return Preprocessing(
            width_px=side, height_px=side, resize=self._resize(), resample=card.resample, mean=card.mean, std=card.std
        )

    def _resize(self) -> str:
        """Stretch where the images are nearly square; a long part squashed to a square loses its shape."""
        if self.spec.resize != "auto":
            return self.spec.resize
        ratios = [max(i.width_px, i.height_px) / max(1, min(i.width_px, i.height_px)) for i in self.labelled]
        return "letterbox" if ratios and float(np.median(ratios)) > 2.0 else "stretch"

    # Fitting

    def _fit(self, items: Sequence[DatasetItem], features: np.ndarray, truth: np.ndarray) -> Fitted:
        self.reporter.begin("Fitting", until=0.4 if self._is_tuned else 0.85, message="Choosing the regularisation")
        train, dev = _rows_of(Split.TRAIN, items), _rows_of(Split.DEV, items)
        return fit_classifier(
            Labelled(features[train], truth[train]),
            Labelled(features[dev], truth[dev]),
            self.dataset.categories,
            seed=self.spec.seed,
            reporter=self.reporter,
        )

    @property
    def _is_tuned(self) -> bool:
        return self.spec.method == "fine_tuning"

    def _tune(
        self, choices: Choices, items: Sequence[DatasetItem], truth: np.ndarray, seen: Seen
    ) -> tuple[Seen, TunedChoice]:
        # Imports torch, which feature extraction does without.
        from worker.ml.training.classification_tuning import Circumstances, tuned

        given = Circumstances(
            spec=self.spec,
            dataset=self.dataset,
            symmetry=SYMMETRIES[choices.symmetry],
            open_image=self.open_image,
            work_dir=self.work_dir,
            precision=self.precision,
            key=f"{self._key} {choices.backbone} {choices.symmetry}",
            reporter=self.reporter,
        )
        return tuned(items, truth, seen, given)

    # Bundle

    def _compose(self, seen: Seen, symmetry: SymmetryCard, lineage: Lineage, tuning: TunedChoice | None) -> Bundle:
        self.reporter.begin("Evaluation", until=0.95, message="Composing the model")
        directory = self.work_dir / "bundle"
        directory.mkdir(exist_ok=True)
        (directory / MANIFEST_NAME).unlink(missing_ok=True)  # while it is missing, the bundle is not whole
        extractor, fitted = seen.extractor, seen.fitted
        path = directory / MODEL_NAME
        head = fitted.head.cooled(fitted.temperature)
        compose(extractor.backbone, symmetry.views, head, fitted.feature_mean, path)
        manifest = BundleManifest(
            task=self.dataset.task,
            name=self.spec.name or "",
            categories=self.dataset.categories,
            preprocessing=extractor.preprocessing,
            decision=fitted.decision,
            temperature=fitted.temperature,
            feature_dim=extractor.backbone.layout.dim,
            model_sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
            precision=extractor.precision,
            views=tuple(view.index for view in symmetry.views),
            lineage=lineage,
            tuning=tuning,
        )
        write_manifest(directory, manifest)
        return read_bundle(directory)

    def _lineage(self, choices: Choices, fitted: Fitted, origin: Origin) -> Lineage:
        head = head_of(self.spec, self.dataset.task).id
        return lineage_of(
            origin,
            self.spec,
            self.dataset,
            backbone=choices.backbone,
            head=f"{head}+kernel" if fitted.head.kernel else head,
            libraries=(*_LIBRARIES, "torch") if self._is_tuned else _LIBRARIES,
            symmetry=choices.symmetry,
        )

    # Evaluation

    def _predict(
        self,
        model: ScoringModel,
        items: Sequence[DatasetItem],
        seen: Seen,
        symmetry: SymmetryCard,
    ) -> tuple[tuple[ImagePrediction, ...], np.ndarray]:
        """Return what the model says of every image, and the scores (N, K) of the labelled ones."""
        self.reporter.step(0.3, "Evaluating")
        scores, extracted = model.session.scores(seen.features).astype(np.float64), seen.extracted
        predictions = [
            ImagePrediction(
                image_id=item.image_id, split=item.split, true_category_id=item.category_id, scores=tuple(row)
            )
            for item, row in zip(items, scores.tolist(), strict=True)
        ]
        others = [item for item in self.dataset.unlabelled if item.sha256 not in extracted.unreadable]
        if others:
            rows = model.session.scores(stack(extracted.vectors, others, symmetry)).astype(np.float64)
            predictions += [
                ImagePrediction(image_id=item.image_id, split=None, true_category_id=None, scores=tuple(row))
                for item, row in zip(others, rows.tolist(), strict=True)
            ]
        return tuple(predictions), scores

    @staticmethod
    def _measure(
        model: ScoringModel, items: Sequence[DatasetItem], truth: np.ndarray, scores: np.ndarray
    ) -> dict[str, SplitMetrics]:
        members = {split: _rows_of(split, items) for split in Split}
        return {
            split.value: measure(truth[rows], scores[rows], model.manifest)
            for split, rows in members.items()
            if rows.stop > rows.start
        }

    def _prove(
        self, model: ScoringModel, items: Sequence[DatasetItem], predictions: Sequence[ImagePrediction]
    ) -> Bundle:
        """Run a sample end to end through the finished file, in its own precision and in f32, and seal the manifest."""
        self.reporter.step(0.8, "Checking the finished model")
        held_out = [index for index, item in enumerate(items) if item.split is not Split.TRAIN]
        pool = np.array(held_out or range(len(items)))
        picked = np.random.default_rng(self.spec.seed).permutation(pool)[:_N_PARITY]
        pictures = [self.open_image(items[index]) for index in picked]
        expected = np.array([predictions[index].scores for index in picked])
        check = check_parity(model, pictures, expected)
        if not is_proven(check, model.manifest.precision):
            raise ParityFailed(check, model.bundle.directory)
        others: tuple[ParityCheck, ...] = ()
        if model.manifest.precision != "f32":
            self.reporter.step(0.9)
            plain = ScoringModel(model.bundle, OpenVinoSession(model.bundle, precision="f32"))
            others = (check_parity(plain, pictures, expected),)
        manifest = model.manifest.model_copy(update={"parity": check, "parity_other": others})
        write_manifest(model.bundle.directory, manifest)
        return Bundle(model.bundle.directory, manifest)

    # Small things

    def _all(self) -> list[DatasetItem]:
        return [*self.labelled, *self.dataset.unlabelled]

    def _train_items(self) -> list[DatasetItem]:
        return [item for item in self.labelled if item.split is Split.TRAIN]

    def _truth(self, items: Sequence[DatasetItem]) -> np.ndarray:
        # Only labelled items come here.
        return np.array([self.index_of[item.category_id] for item in items], dtype=np.int64)  # type: ignore[index]


def _rows_of(split: Split, items: Sequence[DatasetItem]) -> slice:
    """Return where the images of a split are among images that were sorted by it."""
    before = sum(_SPLITS.index(item.split) < _SPLITS.index(split) for item in items)
    return slice(before, before + sum(item.split is split for item in items))
