"""Training a segmenter: the pixels of defects, from masks and polygons that people drew."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from app.contracts.bundle import BundleManifest, DecisionRule, MaskRule, ParityCheck, Precision, Preprocessing
from app.contracts.dataset import Dataset, DatasetItem
from app.contracts.jobs import TrainSpec
from app.contracts.predictions import PredictedShape, ShapeMatch
from app.contracts.tasks import Split
from app.inference.bundle import Bundle
from app.inference.rasters import draw_shape
from app.inference.segmentation_metrics import SegmentationMetrics
from app.inference.segmenter import Segmenter
from worker.ml.data.crops import Crops, class_map
from worker.ml.data.extraction import OpenImage
from worker.ml.evaluation.segmentation import (
    best_pixel_threshold,
    best_region_threshold,
    count,
    hits_of,
    matches_of,
    measure_masks,
)
from worker.ml.evaluation.segmentation_parity import check_mask_parity
from worker.ml.exporters.network import Whole, WholeSegmenter
from worker.ml.training.bundling import NOT_KEPT, Origin
from worker.ml.training.phases import Phase, PhasedFit
from worker.ml.training.reporting import OnEvent, shown
from worker.ml.training.result import TrainedModel
from worker.ml.training.segmentation_fit import SegmentationLearner
from worker.ml.training.shape_training import Found, ShapeTraining, with_members

FROZEN = Phase("head", "Head", 5e-3, 3, 0.1)
TUNED = Phase("tail", "Last stages", 2e-3, 20, 0.9, backbone_share=0.4, block_decay=0.8)
FROZEN_ALONE = Phase("head", "Head", 5e-3, 24, 1.0)
_N_CHOSEN_BY = 100  # images that the threshold of pixels is chosen by


def train_segmentation(
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
    """Train a segmenter on a frozen dataset and leave a proven bundle in `work_dir / "bundle"`.

    Arguments, and what is promised of them, are those of `train_detection`; images carry polygons and masks.

    Raises:
        NotTrainable: Fewer than two readable training images have something drawn on them.
        ParityFailed: The finished file does not mark what the trained network marks.
    """
    training = SegmentationTraining(spec, dataset, open_image, cache_dir, work_dir, on_event, precision)
    return training.run(origin)


class SegmentationTraining(ShapeTraining[Segmenter, SegmentationMetrics]):
    head = "decoder"
    drawn_as = "a mask"
    small_px = 12.0  # the finest map has a place every 4 px: three of them
    with_classes = True
    fixed_s, fit_share, look_s = 8.0, 0.9, 0.05
    # On images that it learned from, a network is surer than on others: thresholds from them hide what it finds.
    judged_by: ClassVar[tuple[Split, ...]] = (Split.DEV,)
    unjudged_threshold = 0.2
    libraries = ("numpy", "onnx", "openvino", "pillow", "scikit-learn", "scipy", "torch")

    def fit(self, train: Crops, dev: Crops, preprocessing: Preprocessing, *, budget_s: float | None) -> Whole:
        learner = SegmentationLearner(
            self.card,
            train,
            dev,
            n_categories=self.n_categories,
            preprocessing=preprocessing,
            augmentation=self.augmentation(preprocessing),
        )
        fit = PhasedFit(self.ground(preprocessing, learner.side_px), learner, dev)
        is_tuned = self.spec.method == "fine_tuning"
        network = fit.run((FROZEN, TUNED) if is_tuned else (FROZEN_ALONE,), budget_s=budget_s)
        return WholeSegmenter(fit.backbone, network).eval()

    def members(self) -> dict[str, object]:
        return {"masks": MaskRule()}

    def open(self, bundle: Bundle, precision: Precision | None = None) -> Segmenter:
        return Segmenter(bundle, precision=precision)

    def tuned(self, bundle: Bundle) -> Bundle:
        """Set the threshold of pixels to the one that is best on dev; without dev it is low, as that of regions."""
        items = sorted(self.items_of(Split.DEV), key=lambda item: not item.annotations)[:_N_CHOSEN_BY]
        model, grids, drawn = self.open(bundle), [], []
        for item in items:
            self.reporter.step()
            try:
                grids.append(model.grid(self.as_called(bundle.manifest, item)))
            except Exception:  # noqa: BLE001, S112 - it is named where every image is looked at
                continue
            drawn.append(class_map(item, self.index_of))
        best = best_pixel_threshold(drawn, grids, self.n_categories) if any(one.any() for one in drawn) else None
        threshold = self.unjudged_threshold if best is None else best
        return with_members(bundle, masks=MaskRule(pixel_threshold=threshold))

    def choose_threshold(self, items: Sequence[DatasetItem], found: Found, measured_on: str) -> DecisionRule | None:
        hits = [hits_of(class_map(item, self.index_of), found[item.image_id]) for item in items]
        best = best_region_threshold(hits)
        if best is None:
            return None
        reason = (
            f"Finds defects and covers them best on {measured_on}: F1 {best.f1:.3f}, Dice {best.dice:.3f}, from "
            f"{len(items):,} images."
        )
        return DecisionRule(kind="ng", threshold=best.value, reason=reason)

    def measure(self, items: Sequence[DatasetItem], found: Found, threshold: float) -> SegmentationMetrics:
        counted = []
        for item in items:
            drawn = class_map(item, self.index_of)
            counted.append(count(drawn, painted(found[item.image_id], drawn.shape, threshold), self.n_categories))
            self.reporter.step()
        return measure_masks(counted, self.n_categories, threshold=threshold)

    def sentence(self, metrics: SegmentationMetrics) -> str:
        return shown(
            ("mean IoU", metrics.mean_iou.value),
            ("Dice", metrics.dice.value),
            ("precision", metrics.precision.value),
            ("recall", metrics.recall.value),
            ("defects found", metrics.recall_of_defects.value),
        )

    def matches(self, items: Sequence[DatasetItem], found: Found) -> list[tuple[ShapeMatch, ...]]:
        return [matches_of(item, found[item.image_id], self.index_of) for item in items]

    def check_parity(
        self, model: Segmenter, whole: Whole, pictures: Sequence[np.ndarray], manifest: BundleManifest
    ) -> ParityCheck:
        return check_mask_parity(model, whole, pictures, manifest)


def painted(shapes: Sequence[PredictedShape], size: tuple[int, ...], threshold: float) -> np.ndarray:
    """Return found classes (H, W) uint8, 0 for background: the regions that reach the threshold, the best on top."""
    canvas = np.zeros(size, dtype=np.uint8)
    for shape in reversed(shapes):
        if shape.mask is not None and shape.score >= threshold:
            draw_shape(shape.mask, canvas, shape.category_index + 1)
    return canvas
