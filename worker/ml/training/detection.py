"""Training a detector: plan the input, cut the windows, fit, export, find on every image, choose the threshold, prove.

N is the number of images, K of classes.
"""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from app.catalog import BACKBONES, SYMMETRIES, NotTrainable
from app.catalog.backbones import AUTO_BACKBONES
from app.contracts.bundle import (
    MANIFEST_NAME,
    MODEL_NAME,
    BundleManifest,
    DecisionRule,
    FindRule,
    ParityCheck,
    Precision,
    Preprocessing,
    Tiling,
)
from app.contracts.dataset import Dataset, DatasetItem
from app.contracts.jobs import TrainSpec
from app.contracts.predictions import ImagePrediction, PredictedShape
from app.contracts.tasks import Split
from app.inference.bundle import Bundle, read_bundle
from app.inference.decision import image_scores
from app.inference.detection_metrics import DetectionMetrics
from app.inference.finder import Finder
from app.inference.preprocess import open_picture, to_pixels
from app.inference.sessions.openvino import supported_precision
from app.inference.windows import windows_of
from worker.ml.backbones.export import exported
from worker.ml.data.augmentation import Augmentation
from worker.ml.data.crops import Crops, make_crops, marked_of
from worker.ml.data.extraction import OpenImage
from worker.ml.evaluation.coco import Boxed, matches_of
from worker.ml.evaluation.detection import best_threshold, found_shapes, measure_finds, threshold_curve
from worker.ml.evaluation.detection_parity import check_find_parity
from worker.ml.evaluation.parity import ParityFailed
from worker.ml.exporters.detection import BOXES_NAME, SCORES_NAME, Whole, export
from worker.ml.training.bundling import Origin, lineage_of, write_manifest
from worker.ml.training.detection_fit import FROZEN, FROZEN_ALONE, TUNED, DetectorFit
from worker.ml.training.input_plan import plan_input
from worker.ml.training.reporting import OnEvent, Reporter
from worker.ml.training.result import TrainedModel

HEAD = "detector"
MAX_SCORE_DIFFERENCE = 1e-3
# Windows with marks, and as many without, that are kept as pixels: of 512 px, 10,000 are 8 GB on disk.
_MAX_WINDOWS = {Split.TRAIN: 5_000, Split.DEV: 1_000}
_MIN_MARKED = 2  # images with something drawn, in train
_N_PARITY = 32
_FIT_SHARE = 0.8  # of a budget; the rest is reading, export and evaluation
_LIBRARIES = ("faster-coco-eval", "numpy", "onnx", "openvino", "pillow", "torch")


def train_detection(
    spec: TrainSpec,
    dataset: Dataset,
    *,
    open_image: OpenImage,
    cache_dir: Path,
    work_dir: Path,
    on_event: OnEvent,
    precision: Precision = "bf16",
    dataset_version_id: int | None = None,
    code_version: str = "",
    created_by: str | None = None,
) -> TrainedModel:
    """Train a detector on a frozen dataset and leave a proven bundle in `work_dir / "bundle"`.

    The same spec, dataset, machine and library versions give the same weights; with a time budget the number of epochs
    also depends on how fast the machine was. A second call with the same `work_dir` goes on after the last whole epoch.

    Args:
        spec: What a person chose; checked against the catalog before.
        dataset: Classes, labelled images with boxes (other shapes count by their bounds), images only predicted.
        open_image: Returns the bytes, or the file, of an image. Called from several threads.
        cache_dir: Kept between trainings: exported backbones.
        work_dir: This training's own folder.
        on_event: Receives progress, points and log lines; may raise to stop.
        precision: Arithmetic of what is learned; `bf16` falls back to `f32` on a CPU without it. The finished model is
            always f32.
        dataset_version_id: For the lineage.
        code_version: For the lineage.
        created_by: For the lineage.

    Raises:
        NotTrainable: Fewer than two readable training images have something drawn on them.
        ParityFailed: The finished file does not find what the trained network finds.
    """
    training = _Training(spec, dataset, open_image, cache_dir, work_dir, Reporter(on_event), precision)
    return training.run(Origin(dataset_version_id, code_version, created_by))


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
        self.spec, self.dataset, self.open_image = spec, dataset, open_image
        self.cache_dir, self.work_dir, self.reporter = cache_dir, work_dir, reporter
        self.precision = supported_precision(precision)
        self.card = BACKBONES[AUTO_BACKBONES[0] if spec.backbone == "auto" else spec.backbone]
        self.index_of = {category.id: index for index, category in enumerate(dataset.categories)}
        self.key = hashlib.sha256(
            repr((spec.model_dump_json(exclude={"name"}), dataset.content_hash(), self.precision)).encode()
        ).hexdigest()

    def run(self, origin: Origin) -> TrainedModel:
        self.work_dir.mkdir(parents=True, exist_ok=True)
        train_items = self._of(Split.TRAIN)
        _check_marked(train_items)
        preprocessing, tiling = plan_input(train_items, self.spec, self.card)
        self._say_input(preprocessing, tiling)
        train, dev = self._crops(preprocessing, tiling)
        whole = self._fit(train, dev, preprocessing)
        bundle = self._compose(whole, self._manifest(preprocessing, tiling, origin))
        finder = Finder(bundle)
        found, unreadable = self._find(finder)
        bundle, metrics = self._judge(bundle, found)
        bundle = self._prove(bundle, finder, whole, unreadable)
        self.reporter.begin("Publishing", until=1.0, message="Ready to publish")
        return TrainedModel(bundle.directory, bundle.manifest, metrics, {}, tuple(self._rows(found)), unreadable)

    # Pictures

    def _say_input(self, preprocessing: Preprocessing, tiling: Tiling | None) -> None:
        self.reporter.begin("Features", until=0.1, message="Reading images")
        side = preprocessing.width_px
        if tiling is None:
            self.reporter.log(f"Images are read whole, at {side} x {side} px.")
            return
        self.reporter.log(
            f"Images are read in windows of {tiling.side_px} px that share {tiling.overlap_px} px, each at {side} x "
            f"{side} px."
        )

    def _crops(self, preprocessing: Preprocessing, tiling: Tiling | None) -> tuple[Crops, Crops]:
        made = []
        for split, share in ((Split.TRAIN, 0.8), (Split.DEV, 0.2)):
            start = 0.0 if split is Split.TRAIN else 0.8
            crops = make_crops(
                self._of(split),
                index_of=self.index_of,
                preprocessing=preprocessing,
                tiling=tiling,
                open_image=self.open_image,
                path=self.work_dir / f"{split.value}.npy",
                at_most=_MAX_WINDOWS[split],
                on_image=lambda done, total, start=start, share=share: self.reporter.step(  # type: ignore[misc]
                    start + share * done / total, f"{done:,} of {total:,} windows"
                ),
            )
            made.append(crops)
        _check_marked([item for item in self._of(Split.TRAIN) if item.sha256 not in made[0].unreadable])
        return made[0], made[1]

    # Fitting

    def _fit(self, train: Crops, dev: Crops, preprocessing: Preprocessing) -> Whole:
        self.reporter.begin("Fitting", until=0.85, message=f"Preparing {self.card.name}")
        fit = DetectorFit(
            self.card,
            exported(self.card, image_size_px=preprocessing.width_px, cache_dir=self.cache_dir),
            train,
            dev,
            n_categories=len(self.dataset.categories),
            preprocessing=preprocessing,
            augmentation=self._augmentation(preprocessing),
            precision=self.precision,
            seed=self.spec.seed,
            work_dir=self.work_dir,
            key=self.key,
            reporter=self.reporter,
        )
        is_tuned = self.spec.method == "fine_tuning"
        budget_s = self.spec.time_budget_s * _FIT_SHARE if self.spec.time_budget_s else None
        detector = fit.run((FROZEN, TUNED) if is_tuned else (FROZEN_ALONE,), budget_s=budget_s)
        return Whole(fit.backbone, detector, fit.score_map(detector)).eval()

    def _augmentation(self, preprocessing: Preprocessing) -> Augmentation:
        if self.spec.symmetry == "auto":
            return Augmentation(pad_value=preprocessing.pad_value)
        views = SYMMETRIES[self.spec.symmetry].views
        return Augmentation(
            flip_x=any(view.index in {4, 5, 7} for view in views),
            flip_y=any(view.index in {2, 5, 6, 7} for view in views),
            quarter_turns=any(view.quarter_turns % 2 for view in views),
            pad_value=preprocessing.pad_value,
        )

    # Bundle

    def _manifest(self, preprocessing: Preprocessing, tiling: Tiling | None, origin: Origin) -> BundleManifest:
        lineage = lineage_of(origin, self.spec, self.dataset, backbone=self.card.id, head=HEAD, libraries=_LIBRARIES)
        return BundleManifest(
            task=self.dataset.task,
            name=self.spec.name or "",
            categories=self.dataset.categories,
            preprocessing=preprocessing,
            decision=DecisionRule(kind="ng", threshold=0.5, reason=_NO_DEV),
            temperature=1.0,
            scores_name=SCORES_NAME,
            boxes_name=BOXES_NAME,
            heat_name=None,
            feature_dim=0,
            finds=FindRule(),
            tiling=tiling,
            model_sha256="",
            lineage=lineage,
        )

    def _compose(self, whole: Whole, manifest: BundleManifest) -> Bundle:
        self.reporter.begin("Evaluation", until=0.98, message="Composing the model")
        directory = self.work_dir / "bundle"
        directory.mkdir(exist_ok=True)
        (directory / MANIFEST_NAME).unlink(missing_ok=True)  # while it is missing, the bundle is not whole
        path = directory / MODEL_NAME
        export(whole, manifest.preprocessing, path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        write_manifest(directory, manifest.model_copy(update={"model_sha256": digest}))
        return read_bundle(directory)

    # Evaluation

    def _find(self, finder: Finder) -> tuple[dict[int, tuple[PredictedShape, ...]], dict[int, str]]:
        """Return what is found on every image, and why some could not be read, by image id."""
        found: dict[int, tuple[PredictedShape, ...]] = {}
        unreadable: dict[int, str] = {}
        items = [*self.dataset.items, *self.dataset.unlabelled]

        def look(item: DatasetItem) -> tuple[PredictedShape, ...] | str:
            try:
                return finder.find(self.open_image(item))
            except Exception as error:  # noqa: BLE001 - one bad image, however bad, must not end the training
                return str(error) or type(error).__name__

        with ThreadPoolExecutor(finder.n_parallel) as pool:
            try:
                for n_done, (item, answer) in enumerate(zip(items, pool.map(look, items), strict=True), start=1):
                    self.reporter.step(0.6 * n_done / len(items), f"{n_done:,} of {len(items):,} images")
                    if isinstance(answer, str):
                        unreadable[item.image_id] = answer
                        self.reporter.log(f"Image {item.image_id} was left out: {answer}", is_warning=True)
                    else:
                        found[item.image_id] = answer
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
        return found, unreadable

    def _judge(
        self, bundle: Bundle, found: dict[int, tuple[PredictedShape, ...]]
    ) -> tuple[Bundle, dict[str, DetectionMetrics]]:
        """Choose the threshold on dev, or on train where dev shows nothing, and measure every split at it."""
        by_split = {split: [item for item in self._of(split) if item.image_id in found] for split in Split}
        decision = self._decision(by_split, found)
        manifest = bundle.manifest.model_copy(update={"decision": decision})
        write_manifest(bundle.directory, manifest)
        metrics = {}
        for split, items in by_split.items():
            self.reporter.step(0.7)
            if items:
                truth, finds = self._boxed(items, found)
                measured = measure_finds(truth, finds, len(self.dataset.categories), threshold=decision.threshold)
                metrics[split.value] = measured
                self.reporter.log(_sentence(split, measured))
        return Bundle(bundle.directory, manifest), metrics

    def _decision(
        self, by_split: dict[Split, list[DatasetItem]], found: dict[int, tuple[PredictedShape, ...]]
    ) -> DecisionRule:
        for split in (Split.DEV, Split.TRAIN):
            items = by_split[split]
            if not any(item.annotations for item in items):
                continue
            best = best_threshold(
                threshold_curve(found_shapes(*self._boxed(items, found), len(self.dataset.categories)))
            )
            if best is not None:
                threshold, f1 = best
                reason = f"Highest F1 of the boxes on the {split.value} images: {f1:.3f}, from {len(items):,} images."
                return DecisionRule(kind="ng", threshold=threshold, reason=reason)
        return DecisionRule(kind="ng", threshold=0.5, reason=_NO_DEV)

    def _boxed(
        self, items: Sequence[DatasetItem], found: dict[int, tuple[PredictedShape, ...]]
    ) -> tuple[list[Boxed], list[Boxed]]:
        drawn = [marked_of(item, self.index_of) for item in items]
        truth = [Boxed(one.boxes, one.labels) for one in drawn]
        return truth, [boxed_shapes(found[item.image_id]) for item in items]

    def _prove(self, bundle: Bundle, finder: Finder, whole: Whole, unreadable: dict[int, str]) -> Bundle:
        """Compare the finished file with torch on windows of dev images, and seal the manifest."""
        self.reporter.step(0.8, "Checking the finished model")
        items = [item for item in (self._of(Split.DEV) or list(self.dataset.items)) if item.image_id not in unreadable]
        order = np.random.default_rng(self.spec.seed).permutation(len(items))[:_N_PARITY]
        check: ParityCheck = check_find_parity(
            finder, whole, self._windows(bundle.manifest, [items[index] for index in order]), bundle.manifest
        )
        if check.max_score_difference > MAX_SCORE_DIFFERENCE or check.n_changed_decisions:
            raise ParityFailed(check, bundle.directory)
        manifest = bundle.manifest.model_copy(update={"parity": check})
        write_manifest(bundle.directory, manifest)
        return Bundle(bundle.directory, manifest)

    def _windows(self, manifest: BundleManifest, items: Sequence[DatasetItem]) -> list[np.ndarray]:
        """Return the network's input for each image: the whole of it, or its middle window."""
        pictures = []
        for item in items:
            self.reporter.step(0.85)
            image = open_picture(self.open_image(item))
            windows = windows_of(*image.size, manifest.tiling)
            pictures.append(to_pixels(windows[len(windows) // 2].cut(image), manifest.preprocessing))
        return pictures

    def _rows(self, found: dict[int, tuple[PredictedShape, ...]]) -> list[ImagePrediction]:
        labelled = [item for item in self.dataset.items if item.image_id in found]
        matches = matches_of(*self._boxed(labelled, found), len(self.dataset.categories))
        rows = [
            self._row(item, found[item.image_id]).model_copy(
                update={"split": item.split, "drawn": item.annotations, "matches": own}
            )
            for item, own in zip(labelled, matches, strict=True)
        ]
        others = [item for item in self.dataset.unlabelled if item.image_id in found]
        return rows + [self._row(item, found[item.image_id]) for item in others]

    def _row(self, item: DatasetItem, shapes: tuple[PredictedShape, ...]) -> ImagePrediction:
        return ImagePrediction(
            image_id=item.image_id, split=None, true_category_id=None, scores=image_scores(shapes), shapes=shapes
        )

    def _of(self, split: Split) -> list[DatasetItem]:
        return [item for item in self.dataset.items if item.split is split]


_NO_DEV = "No image with a box shows which threshold is best."


def boxed_shapes(shapes: Sequence[PredictedShape]) -> Boxed:
    """Return finds as arrays, for the evaluation."""
    boxes = [(shape.box.xmin, shape.box.ymin, shape.box.xmax, shape.box.ymax) for shape in shapes]
    return Boxed(
        np.array(boxes, dtype=np.float64).reshape(-1, 4),
        np.array([shape.category_index for shape in shapes], dtype=np.int64),
        np.array([shape.score for shape in shapes], dtype=np.float64),
    )


def _check_marked(items: Sequence[DatasetItem]) -> None:
    if sum(bool(item.annotations) for item in items) < _MIN_MARKED:
        raise NotTrainable(
            "At least two readable training images with a box are needed. Draw boxes on more images, or move some to "
            "the train split."
        )


def _sentence(split: Split, measured: DetectionMetrics) -> str:
    shown = [
        f"{name} {figure.value:.3f}" if figure.value is not None else f"{name} –"
        for name, figure in (
            ("mAP50", measured.map50),
            ("mAP50-95", measured.map50_95),
            ("precision", measured.precision),
            ("recall", measured.recall),
            ("F1", measured.f1),
        )
    ]
    return f"{split.value}: {', '.join(shown)} on {measured.n_images:,} images."
