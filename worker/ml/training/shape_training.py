"""What trainings of shapes share: plan the input, cut the windows, fit, export, find on every image, judge, prove."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

import numpy as np
import torch
from pydantic import BaseModel

from app.catalog import BACKBONES, DEFAULT_AUGMENTATIONS, NotTrainable
from app.catalog.backbones import AUTO_BACKBONES
from app.contracts.bundle import (
    MANIFEST_NAME,
    MODEL_NAME,
    BundleManifest,
    DecisionRule,
    ParityCheck,
    Precision,
    Preprocessing,
    Tiling,
)
from app.contracts.dataset import Dataset, DatasetItem
from app.contracts.jobs import TrainSpec
from app.contracts.predictions import ImagePrediction, PredictedShape, ShapeMatch
from app.contracts.tasks import Split
from app.inference.bundle import Bundle, read_bundle
from app.inference.decision import image_scores
from app.inference.loaded import ShapeModel
from app.inference.preprocess import Picture, open_picture, to_pixels
from app.inference.sessions.openvino import supported_precision
from app.inference.windows import windows_of
from worker.ml.backbones.export import exported
from worker.ml.data.augmentation import Augmentation
from worker.ml.data.crops import Crops, OpenPicture, make_crops
from worker.ml.data.extraction import OpenImage
from worker.ml.data.references import ComparedImages
from worker.ml.evaluation.parity import ParityFailed
from worker.ml.exporters.network import SCORES_NAME, Whole, export
from worker.ml.training.bundling import Origin, lineage_of, write_manifest
from worker.ml.training.input_plan import plan_input
from worker.ml.training.phases import Ground
from worker.ml.training.place import learning_precision
from worker.ml.training.reporting import OnEvent, Reporter
from worker.ml.training.result import TrainedModel

MAX_SCORE_DIFFERENCE = 1e-3
# Windows with marks, and as many without, that are kept as pixels: of 512 px, 10,000 are 8 GB on disk.
_MAX_WINDOWS = {Split.TRAIN: 5_000, Split.DEV: 1_000}
_MIN_MARKED = 2  # images with something drawn, in train
_N_PARITY = 32

Found = dict[int, tuple[PredictedShape, ...]]
"""What is found on images, by their id."""

Model = TypeVar("Model", bound=ShapeModel)
Metrics = TypeVar("Metrics", bound=BaseModel)


class ShapeTraining(ABC, Generic[Model, Metrics]):
    """One run. Its methods are its stages, in order; a task says what is left abstract.

    Attributes:
        head: Its id in the catalog.
        drawn_as: What people draw, for messages.
        small_px: How many pixels of the network's input the smallest things should span.
        with_classes: Whether windows keep the class of every pixel.
        fixed_s: What reading, export and the like take of a budget.
        fit_share: What of the rest is for learning and for looking at the images.
        look_s: For one image, at the end.
        judged_by: Splits that the threshold may be chosen on, the first that shows something.
        unjudged_threshold: Where none does.
        libraries: Packages whose versions the lineage names.
        served_in: Arithmetic of a prediction, where the processor has it; in bf16 it takes little more than half the
            time.
    """

    head: ClassVar[str]
    drawn_as: ClassVar[str]
    small_px: ClassVar[float]
    with_classes: ClassVar[bool] = False
    fixed_s: ClassVar[float]
    fit_share: ClassVar[float]
    look_s: ClassVar[float]
    judged_by: ClassVar[tuple[Split, ...]] = (Split.DEV, Split.TRAIN)
    unjudged_threshold: ClassVar[float] = 0.5
    libraries: ClassVar[tuple[str, ...]]
    served_in: ClassVar[Precision] = "bf16"

    def __init__(
        self,
        spec: TrainSpec,
        dataset: Dataset,
        open_image: OpenImage,
        cache_dir: Path,
        work_dir: Path,
        on_event: OnEvent,
        precision: Precision,
    ) -> None:
        self.spec, self.dataset = spec, dataset
        is_compared = spec.use_references and dataset.reference_rule is not None
        self.references = ComparedImages(dataset, open_image) if is_compared else None
        self.open_image: OpenPicture = self.references.open if self.references else open_image
        self.cache_dir, self.work_dir, self.reporter = cache_dir, work_dir, Reporter(on_event)
        self.precision = learning_precision(precision)
        self.card = BACKBONES[AUTO_BACKBONES[0] if spec.backbone == "auto" else spec.backbone]
        self.index_of = {category.id: index for index, category in enumerate(dataset.categories)}
        self.n_categories = len(dataset.categories)
        self.key = hashlib.sha256(
            repr((spec.model_dump_json(exclude={"name"}), dataset.content_hash(), self.precision)).encode()
        ).hexdigest()

    def run(self, origin: Origin) -> TrainedModel:
        self.work_dir.mkdir(parents=True, exist_ok=True)
        whole, preprocessing, tiling = self.learned()
        bundle = self.tuned(self._compose(whole, self._manifest(preprocessing, tiling, origin)))
        model = self.open(bundle)
        found, unreadable = self._find(model)
        bundle, metrics = self._judge(bundle, found)
        bundle = self._prove(bundle, model, whole, unreadable)
        self.reporter.begin("Publishing", until=1.0, message="Ready to publish")
        return TrainedModel(bundle.directory, bundle.manifest, metrics, {}, tuple(self._rows(found)), unreadable)

    def learned(self) -> tuple[Whole, Preprocessing, Tiling | None]:
        """Return what was learned, and how it reads pictures."""
        train_items = self.items_of(Split.TRAIN)
        self._check_marked(train_items)
        preprocessing, tiling = plan_input(train_items, self.spec, self.card, small_px=self.small_px)
        if self.references:
            preprocessing = preprocessing.model_copy(update={"channels": "compared"})
        self._say_input(preprocessing, tiling)
        train, dev = self._crops(preprocessing, tiling)
        self.reporter.begin("Fitting", until=0.85, message=f"Preparing {self.card.name}")
        torch.manual_seed(self.spec.seed)  # of the head's first weights
        return self.fit(train, dev, preprocessing, budget_s=self._learning_s()), preprocessing, tiling

    def _learning_s(self) -> float | None:
        """Return what of a budget is left for learning: looking at every image at the end costs what it costs."""
        budget_s = self.spec.time_budget_s
        if budget_s is None:
            return None
        n_images = len(self.dataset.items) + len(self.dataset.unlabelled)
        return max(0.5 * budget_s, self.fit_share * (budget_s - self.fixed_s) - self.look_s * n_images)

    # What a task adds

    @abstractmethod
    def fit(self, train: Crops, dev: Crops, preprocessing: Preprocessing, *, budget_s: float | None) -> Whole: ...

    @abstractmethod
    def members(self) -> dict[str, object]:
        """Return the members of the manifest that only this task has."""

    @abstractmethod
    def open(self, bundle: Bundle, precision: Precision | None = None) -> Model:
        """Compile a bundle, in its own precision unless another is named."""

    def tuned(self, bundle: Bundle) -> Bundle:
        """Set what must be chosen by dev before anything is found; by default nothing."""
        return bundle

    @abstractmethod
    def choose_threshold(self, items: Sequence[DatasetItem], found: Found, measured_on: str) -> DecisionRule | None:
        """Return the best threshold for images with something drawn; None where nothing was found there."""

    @abstractmethod
    def measure(self, items: Sequence[DatasetItem], found: Found, threshold: float) -> Metrics: ...

    @abstractmethod
    def sentence(self, metrics: Metrics) -> str:
        """Return the main figures, for the log."""

    @abstractmethod
    def matches(self, items: Sequence[DatasetItem], found: Found) -> list[tuple[ShapeMatch, ...]]:
        """Return what each find on each image was matched with."""

    @abstractmethod
    def check_parity(
        self, model: Model, whole: Whole, pictures: Sequence[np.ndarray], manifest: BundleManifest
    ) -> ParityCheck: ...

    # Pictures

    def _say_input(self, preprocessing: Preprocessing, tiling: Tiling | None) -> None:
        self.reporter.begin("Features", until=0.1, message="Reading images")
        if self.references:
            self.reporter.log("Each image is compared with its reference: the difference is part of what is learned.")
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
                self.items_of(split),
                index_of=self.index_of,
                preprocessing=preprocessing,
                tiling=tiling,
                open_image=self.open_image,
                path=self.work_dir / f"{split.value}.npy",
                at_most=_MAX_WINDOWS[split],
                with_classes=self.with_classes,
                on_image=lambda done, total, start=start, share=share: self.reporter.step(  # type: ignore[misc]
                    start + share * done / total, f"{done:,} of {total:,} windows"
                ),
            )
            made.append(crops)
        self._check_marked([item for item in self.items_of(Split.TRAIN) if item.sha256 not in made[0].unreadable])
        return made[0], made[1]

    def augmentation(self, preprocessing: Preprocessing) -> Augmentation:
        """Return the changes of pictures: those of the form, or the task's own; flips and turns are the symmetry's."""
        return Augmentation.of(
            self.spec.augmentations or DEFAULT_AUGMENTATIONS[self.dataset.task],
            self.spec.symmetry,
            pad_value=preprocessing.pad_value,
            is_compared=preprocessing.channels == "compared",
        )

    def ground(self, preprocessing: Preprocessing, train_side_px: int | None = None) -> Ground:
        """Return where a fit stands; `train_side_px` is that of the cut-outs it learns from, without: whole windows."""
        side = {"width_px": train_side_px, "height_px": train_side_px} if train_side_px else {}
        return Ground(
            card=self.card,
            graph=exported(self.card, image_size_px=preprocessing.width_px, cache_dir=self.cache_dir),
            picture=preprocessing,
            train_picture=preprocessing.model_copy(update=side),
            precision=self.precision,
            seed=self.spec.seed,
            work_dir=self.work_dir,
            key=self.key,
            reporter=self.reporter,
        )

    # Bundle

    def _manifest(self, preprocessing: Preprocessing, tiling: Tiling | None, origin: Origin) -> BundleManifest:
        return BundleManifest(
            task=self.dataset.task,
            name=self.spec.name or "",
            categories=self.dataset.categories,
            preprocessing=preprocessing,
            decision=self._undecided(),
            temperature=1.0,
            scores_name=SCORES_NAME,
            heat_name=None,
            feature_dim=0,
            precision=supported_precision(self.served_in),
            tiling=tiling,
            model_sha256="",
            lineage=lineage_of(
                origin, self.spec, self.dataset, backbone=self.card.id, head=self.head, libraries=self.libraries
            ),
        ).model_copy(update=self.members())

    def _compose(self, whole: Whole, manifest: BundleManifest) -> Bundle:
        self.reporter.begin("Evaluation", until=0.98, message="Composing the model")
        directory = self.work_dir / "bundle"
        directory.mkdir(exist_ok=True)
        (directory / MANIFEST_NAME).unlink(missing_ok=True)  # while it is missing, the bundle is not whole
        path = directory / MODEL_NAME
        export(whole, manifest.preprocessing, path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        bundled = self.references.bundle(directory) if self.references else None
        write_manifest(directory, manifest.model_copy(update={"model_sha256": digest, "reference": bundled}))
        return read_bundle(directory)

    # Evaluation

    def _find(self, model: Model) -> tuple[Found, dict[int, str]]:
        """Return what is found on every image, and why some could not be read, by image id."""
        found: Found = {}
        unreadable: dict[int, str] = {}
        items = [*self.dataset.items, *self.dataset.unlabelled]

        def look(item: DatasetItem) -> tuple[PredictedShape, ...] | str:
            try:
                return model.find(self.as_called(model.manifest, item))
            except Exception as error:  # noqa: BLE001 - one bad image, however bad, must not end the training
                return str(error) or type(error).__name__

        with ThreadPoolExecutor(model.n_parallel) as pool:
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

    def as_called(self, manifest: BundleManifest, item: DatasetItem) -> Picture:
        """Return an image as a call to the finished model brings it."""
        if self.references is None or manifest.reference is None:
            return self.open_image(item)
        return self.references.open_for(manifest.reference, item)

    def _judge(self, bundle: Bundle, found: Found) -> tuple[Bundle, dict[str, Metrics]]:
        """Choose the threshold, and measure every split at it."""
        by_split = {split: [item for item in self.items_of(split) if item.image_id in found] for split in Split}
        decision = self._undecided()
        for split in self.judged_by:
            items = by_split[split]
            chosen = None
            if any(item.annotations for item in items):
                chosen = self.choose_threshold(items, found, f"the {split.value} images")
            if chosen is not None:
                decision = chosen
                break
        metrics = {}
        for split, items in by_split.items():
            self.reporter.step(0.7)
            if items:
                metrics[split.value] = self.measure(items, found, decision.threshold)
                self.reporter.log(f"{split.value}: {self.sentence(metrics[split.value])} on {len(items):,} images.")
        return with_members(bundle, decision=decision), metrics

    def _undecided(self) -> DecisionRule:
        reason = f"No image with {self.drawn_as} shows which threshold is best."
        return DecisionRule(kind="ng", threshold=self.unjudged_threshold, reason=reason)

    def _prove(self, bundle: Bundle, model: Model, whole: Whole, unreadable: dict[int, str]) -> Bundle:
        """Compare the finished file with torch on windows of dev images, and seal the manifest.

        In f32 both must agree. What the precision that it serves in changes is already in every figure and threshold,
        since the images were looked at in that precision; it is kept for the record.
        """
        self.reporter.step(0.8, "Checking the finished model")
        items = [item for item in self.proof_items() if item.image_id not in unreadable]
        order = np.random.default_rng(self.spec.seed).permutation(len(items))[:_N_PARITY]
        pictures = self._windows(bundle.manifest, [items[index] for index in order])
        is_exact = model.precision == "f32"
        exact = model if is_exact else self.open(bundle, "f32")
        check = self.check_parity(exact, whole, pictures, bundle.manifest)
        if check.max_score_difference > MAX_SCORE_DIFFERENCE or check.n_changed_decisions:
            raise ParityFailed(check, bundle.directory)
        others = () if is_exact else (self.check_parity(model, whole, pictures, bundle.manifest),)
        return with_members(bundle, parity=check, parity_other=others)

    def proof_items(self) -> list[DatasetItem]:
        """Return images that the finished file is compared with torch on."""
        return self.items_of(Split.DEV) or list(self.dataset.items)

    def _windows(self, manifest: BundleManifest, items: Sequence[DatasetItem]) -> list[np.ndarray]:
        """Return the network's input for each image: the whole of it, or its middle window."""
        pictures = []
        for item in items:
            self.reporter.step(0.85)
            image = open_picture(self.open_image(item))
            windows = windows_of(*image.size, manifest.tiling)
            pictures.append(to_pixels(windows[len(windows) // 2].cut(image), manifest.preprocessing))
        return pictures

    def _rows(self, found: Found) -> list[ImagePrediction]:
        labelled = [item for item in self.dataset.items if item.image_id in found]
        rows = [
            _row(item, found[item.image_id]).model_copy(
                update={"split": item.split, "drawn": item.annotations, "matches": own}
            )
            for item, own in zip(labelled, self.matches(labelled, found), strict=True)
        ]
        others = [item for item in self.dataset.unlabelled if item.image_id in found]
        return rows + [_row(item, found[item.image_id]) for item in others]

    def items_of(self, split: Split) -> list[DatasetItem]:
        return [item for item in self.dataset.items if item.split is split]

    def _check_marked(self, items: Sequence[DatasetItem]) -> None:
        if sum(bool(item.annotations) for item in items) < _MIN_MARKED:
            raise NotTrainable(
                f"At least two readable training images with {self.drawn_as} are needed. Draw on more images, or move "
                "some to the train split."
            )


def with_members(bundle: Bundle, **members: object) -> Bundle:
    """Return a bundle whose manifest, on disk too, has other members."""
    manifest = bundle.manifest.model_copy(update=members)
    write_manifest(bundle.directory, manifest)
    return Bundle(bundle.directory, manifest)


def _row(item: DatasetItem, shapes: tuple[PredictedShape, ...]) -> ImagePrediction:
    return ImagePrediction(
        image_id=item.image_id, split=None, true_category_id=None, scores=image_scores(shapes), shapes=shapes
    )
