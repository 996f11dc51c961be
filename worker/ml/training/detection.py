"""Training a detector: boxes around defects, from boxes that people drew.

N is the number of images, K of classes.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from app.contracts.bundle import BundleManifest, DecisionRule, ParityCheck, Precision, Preprocessing
from app.contracts.dataset import Dataset, DatasetItem
from app.contracts.jobs import TrainSpec
from app.contracts.predictions import PredictedShape, ShapeMatch
from app.inference.bundle import Bundle
from app.inference.detection_metrics import DetectionMetrics
from app.inference.finder import Finder
from worker.ml.data.crops import Crops, marked_of
from worker.ml.data.extraction import OpenImage
from worker.ml.evaluation.coco import Boxed, matches_of
from worker.ml.evaluation.detection import best_threshold, found_shapes, measure_finds, threshold_curve
from worker.ml.evaluation.detection_parity import check_find_parity
from worker.ml.exporters.detection import BOXES_NAME, WholeDetector
from worker.ml.exporters.network import Whole
from worker.ml.training.bundling import NOT_KEPT, Origin
from worker.ml.training.detection_fit import FINDS, FROZEN_ALONE, TUNED, DetectionLearner
from worker.ml.training.input_plan import SMALL_BOX_PX
from worker.ml.training.phases import PhasedFit
from worker.ml.training.reporting import OnEvent, shown
from worker.ml.training.result import TrainedModel
from worker.ml.training.shape_training import Found, ShapeTraining


def train_detection(
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
        precision: Arithmetic of what is learned; `bf16` falls back to `f32` on a CPU without it.
        origin: For the lineage.

    Raises:
        NotTrainable: Fewer than two readable training images have something drawn on them.
        ParityFailed: The finished file does not find what the trained network finds.
    """
    training = _Training(spec, dataset, open_image, cache_dir, work_dir, on_event, precision)
    return training.run(origin)


class _Training(ShapeTraining[Finder, DetectionMetrics]):
    head = "detector"
    drawn_as = "a box"
    small_px = SMALL_BOX_PX
    fixed_s, fit_share, look_s = 0.0, 0.94, 0.03
    libraries = ("faster-coco-eval", "numpy", "onnx", "openvino", "pillow", "torch")

    def fit(self, train: Crops, dev: Crops, preprocessing: Preprocessing, *, budget_s: float | None) -> Whole:
        learner = DetectionLearner(
            self.card,
            train,
            dev,
            n_categories=self.n_categories,
            preprocessing=preprocessing,
            augmentation=self.augmentation(preprocessing),
        )
        fit = PhasedFit(self.ground(preprocessing), learner, dev)
        is_tuned = self.spec.method == "fine_tuning"
        network = fit.run((TUNED if is_tuned else FROZEN_ALONE,), budget_s=budget_s)
        return WholeDetector(fit.backbone, network, learner.score_map(fit, network)).eval()

    def members(self) -> dict[str, object]:
        return {"boxes_name": BOXES_NAME, "finds": FINDS}

    def open(self, bundle: Bundle, precision: Precision | None = None) -> Finder:
        return Finder(bundle, precision=precision)

    def choose_threshold(self, items: Sequence[DatasetItem], found: Found, measured_on: str) -> DecisionRule | None:
        best = best_threshold(threshold_curve(found_shapes(*self._boxed(items, found), self.n_categories)))
        if best is None:
            return None
        reason = f"Highest F1 of the boxes on {measured_on}: {best[1]:.3f}, from {len(items):,} images."
        return DecisionRule(kind="ng", threshold=best[0], reason=reason)

    def measure(self, items: Sequence[DatasetItem], found: Found, threshold: float) -> DetectionMetrics:
        return measure_finds(*self._boxed(items, found), self.n_categories, threshold=threshold)

    def sentence(self, metrics: DetectionMetrics) -> str:
        return shown(
            ("mAP50", metrics.map50.value),
            ("mAP50-95", metrics.map50_95.value),
            ("precision", metrics.precision.value),
            ("recall", metrics.recall.value),
            ("F1", metrics.f1.value),
        )

    def matches(self, items: Sequence[DatasetItem], found: Found) -> list[tuple[ShapeMatch, ...]]:
        return matches_of(*self._boxed(items, found), self.n_categories)

    def check_parity(
        self, model: Finder, whole: Whole, pictures: Sequence[np.ndarray], manifest: BundleManifest
    ) -> ParityCheck:
        return check_find_parity(model, whole, pictures, manifest)

    def _boxed(self, items: Sequence[DatasetItem], found: Found) -> tuple[list[Boxed], list[Boxed]]:
        drawn = [marked_of(item, self.index_of) for item in items]
        truth = [Boxed(one.boxes, one.labels) for one in drawn]
        return truth, [boxed_shapes(found[item.image_id]) for item in items]


def boxed_shapes(shapes: Sequence[PredictedShape]) -> Boxed:
    """Return finds as arrays, for the evaluation."""
    boxes = [(shape.box.xmin, shape.box.ymin, shape.box.xmax, shape.box.ymax) for shape in shapes]
    return Boxed(
        np.array(boxes, dtype=np.float64).reshape(-1, 4),
        np.array([shape.category_index for shape in shapes], dtype=np.int64),
        np.array([shape.score for shape in shapes], dtype=np.float64),
    )
