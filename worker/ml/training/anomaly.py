"""Training an anomaly detector on good images alone: read, remember, hold out, set the threshold, compose, prove.

N is the number of patches, C the channels of a patch, G the cells of the grid along a side.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.catalog import BACKBONES, NotTrainable
from app.contracts.bundle import (
    MANIFEST_NAME,
    MODEL_NAME,
    BundleManifest,
    DecisionRule,
    ParityCheck,
    Precision,
    Preprocessing,
)
from app.contracts.dataset import Dataset, DatasetItem
from app.contracts.jobs import TrainSpec
from app.contracts.predictions import ImagePrediction
from app.contracts.tasks import Split
from app.inference.bundle import Bundle, read_bundle
from app.inference.metrics import SplitMetrics, measure
from app.inference.preprocess import open_picture, to_pixels
from app.inference.scoring import ScoringModel
from app.inference.sessions.openvino import (
    CompiledPart,
    OpenVinoSession,
    head_part,
    image_part,
    n_cpus,
    supported_precision,
)
from worker.ml import compat
from worker.ml.backbones.export import exported
from worker.ml.data.extraction import OpenImage
from worker.ml.evaluation.parity import ParityFailed, check_parity, is_proven
from worker.ml.exporters.anomaly import PatchGraph, compose
from worker.ml.heads.patch_levels import Cells, PatchLevels, remember_levels
from worker.ml.training.anomaly_input import DEFAULT_SIDE_PX, plan_input
from worker.ml.training.anomaly_looking import average_precision, each_image
from worker.ml.training.anomaly_places import Places
from worker.ml.training.anomaly_threshold import RawThreshold, choose_threshold
from worker.ml.training.bundling import NOT_KEPT, Origin, lineage_of, write_manifest
from worker.ml.training.reporting import OnEvent, Reporter
from worker.ml.training.result import TrainedModel

DEFAULT_BACKBONE = "efficientnet_lite0"
HEAD = "patch_memory"
MIN_GOOD = 2
# Patches of each scale that the memory is chosen from, however many images there are. Of many more, the farthest first
# are the oddest of all good places, and what looks like them is no longer found.
MAX_POOL = 30_000
MAX_REMEMBERED = 3_000
_FEW = 50  # images below which each is held out once, in five parts; above, one fifth is
_N_FOLDS = 5
_MAX_HELD_OUT = 60
_ENOUGH_DEV = 20
_N_PARITY = 24
_LOOK_PX = 128
_LIBRARIES = ("numpy", "onnx", "openvino", "pillow")


@dataclass(frozen=True)
class _Seen:
    """What is kept of a good image, by scale: some of its patches for the pool, and all where it is held out once."""

    pool: list[np.ndarray]
    all: list[Cells] | None


def train_anomaly(
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
    """Train an anomaly detector on the good images of the train split; leave a proven bundle in `work_dir / "bundle"`.

    Arguments are those of `train_classification`. Memory is bounded: of each image as many patches are kept as leave
    30,000 of a scale in all. The same spec, dataset, machine and library versions give the same bundle.

    Raises:
        NotTrainable: Fewer than two good images can be read, or no class is marked good.
        ParityFailed: The finished bundle disagrees with the memory it was made from.
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
        self.precision: Precision = supported_precision(precision)
        self.categories = tuple(sorted(dataset.categories, key=lambda category: not category.is_good))
        self.index_of = {category.id: index for index, category in enumerate(self.categories)}
        self.labelled = [item for item in dataset.items if item.category_id in self.index_of]
        self.good_ids = {category.id for category in dataset.categories if category.is_good}
        self.unreadable: dict[int, str] = {}
        self.backbone = DEFAULT_BACKBONE if spec.backbone == "auto" else spec.backbone

    def run(self, origin: Origin) -> TrainedModel:
        self.work_dir.mkdir(parents=True, exist_ok=True)
        good = [item for item in self.labelled if self._is_good(item) and item.split is Split.TRAIN]
        _check_enough(len(good))
        graph = self._open_patches(good)
        seen = self._see(self._patches(graph), good)
        _check_enough(len(seen))
        memory = self._remember(graph, [one.pool for one in seen.values()])
        held_out = self._held_out_scores(graph, seen) if self._n_good_dev() < _ENOUGH_DEV else []
        del seen
        raw = self._score_all(graph, memory)
        threshold = self._threshold(raw, held_out)
        bundle = self._compose(graph, memory, threshold, origin)
        predictions, metrics = self._evaluate(bundle, raw)
        bundle = self._prove(graph, bundle, memory, threshold.value, predictions)
        self.reporter.begin("Publishing", until=1.0, message="Ready to publish")
        return TrainedModel(bundle.directory, bundle.manifest, metrics, {}, predictions, self.unreadable)

    # Reading

    def _open_patches(self, good: Sequence[DatasetItem]) -> PatchGraph:
        self.reporter.begin("Features", until=0.4, message=f"Preparing {BACKBONES[self.backbone].name}")
        card = BACKBONES[self.backbone]
        self.preprocessing = plan_input(
            good, self.spec, card, open_picture=lambda item: open_picture(self.open_image(item), at_least_px=_LOOK_PX)
        )
        self._log_input()
        # One export serves inputs of every shape: their sides are multiples of the coarsest stride.
        backbone = exported(card, image_size_px=DEFAULT_SIDE_PX, cache_dir=self.cache_dir)
        graph = PatchGraph(backbone, self.preprocessing)
        graph.write(self.work_dir / "patches.onnx")
        return graph

    def _patches(self, graph: PatchGraph) -> CompiledPart:
        """Compile the part before the memory. Nothing holds on to it: what is compiled takes most of the memory."""
        return self._part(self.work_dir / "patches.onnx", [scale.output for scale in graph.scales])

    def _part(self, path: Path, output: str | Sequence[str]) -> CompiledPart:
        compat.return_memory()
        return image_part(path, output, self.preprocessing, precision=self.precision, n_streams=n_cpus())

    def _log_input(self) -> None:
        size = f"{self.preprocessing.width_px} x {self.preprocessing.height_px} pixels"
        scale = self.preprocessing.max_scale
        self.reporter.log(
            f"Pictures have many shapes: all are drawn at {scale:.2f} of their size, on {size}."
            if scale
            else f"Pictures are drawn on {size}."
        )
        if self.preprocessing.brightness:
            self.reporter.log(
                "Exposure differs between the good images: every picture is brought to a mean grey level of "
                f"{self.preprocessing.brightness:.0f}."
            )

    def _see(self, part: CompiledPart, items: Sequence[DatasetItem]) -> dict[int, _Seen]:
        """Return patches of the good images, by image id."""
        quota = max(1, MAX_POOL // len(items))
        held_out = set(self._held_out([item.image_id for item in items]))

        def look(item: DatasetItem) -> _Seen:
            cells = self._cells(part, self.open_image(item), self.preprocessing)
            generator = np.random.default_rng([self.spec.seed, int(item.sha256[:12], 16)])
            pool = []
            for patches in (one.patches for one in cells):
                picked = generator.permutation(len(patches))[:quota]
                pool.append(patches[np.sort(picked)].astype(np.float16))
            return _Seen(pool, cells if item.image_id in held_out else None)

        return {item.image_id: seen for item, seen in each_image(items, look, self.reporter, self.unreadable)}

    @staticmethod
    def _cells(part: CompiledPart, picture: bytes | Path | np.ndarray, preprocessing: Preprocessing) -> list[Cells]:
        """Return what every scale sees of a picture."""
        outputs = part.all(to_pixels(picture, preprocessing)[None])
        return [Cells(raw[0, 1:].astype(np.float16), raw[0, 0] > 0.5) for raw in outputs]

    def _held_out(self, image_ids: Sequence[int]) -> list[int]:
        """Return the images that are judged by a memory without them: all of a few, one fifth of many."""
        shuffled = np.random.default_rng(self.spec.seed).permutation(np.sort(image_ids)).tolist()
        if len(shuffled) < _FEW:
            return shuffled
        return shuffled[: min(len(shuffled) // _N_FOLDS, _MAX_HELD_OUT)]

    # Fitting

    def _remember(self, graph: PatchGraph, pools: Sequence[list[np.ndarray]]) -> PatchLevels:
        self.reporter.begin("Fitting", until=0.55, message="Choosing what to remember")
        memory = self._remembered(graph, pools, on_step=self.reporter.step)
        for scale, level, pool in zip(graph.scales, memory.levels, zip(*pools, strict=True), strict=True):
            n_seen, (n_kept, n_directions) = sum(map(len, pool)), level.memory.patches.shape
            self.reporter.log(
                f"Remembers {n_kept:,} of {n_seen:,} patches of {len(pools):,} good images, of about {scale.stride} "
                f"pixels each, in {n_directions} directions."
            )
        return memory

    def _remembered(
        self,
        graph: PatchGraph,
        pools: Sequence[list[np.ndarray]],
        on_step: Callable[[float], None] = lambda _share: None,
    ) -> PatchLevels:
        return remember_levels(
            list(zip(*pools, strict=True)),
            graph.weights,
            at_most=MAX_REMEMBERED,
            seed=self.spec.seed,
            on_step=on_step,
        )

    def _n_good_dev(self) -> int:
        return sum(item.split is Split.DEV and self._is_good(item) for item in self.labelled)

    def _threshold(self, raw: dict[int, float], held_out: list[float]) -> RawThreshold:
        self.reporter.step(0.9, "Choosing the threshold")
        dev = [item for item in self.labelled if item.split is Split.DEV and item.image_id in raw]
        good = [raw[item.image_id] for item in dev if self._is_good(item)]
        # No memory holds an abnormal image, so those of the train split count as well; test ones are only reported.
        abnormal = [
            raw[item.image_id]
            for item in self.labelled
            if item.split is not Split.TEST and item.image_id in raw and not self._is_good(item)
        ]
        _check_known(len(good) + len(held_out))
        threshold = choose_threshold(np.array(good + held_out), np.array(abnormal))
        self.reporter.log(f"Threshold: {threshold.reason}")
        return threshold

    def _held_out_scores(self, graph: PatchGraph, seen: dict[int, _Seen]) -> list[float]:
        """Return the scores of good images, each by a memory of the others."""
        held_out = np.array(self._held_out(list(seen)))
        n_folds = min(_N_FOLDS, len(held_out)) if len(seen) < _FEW else 1
        scores = []
        for fold in range(n_folds):
            self.reporter.step(0.9, "Judging good images by a memory without them")
            out = set(held_out[fold::n_folds].tolist())
            memory = self._remembered(graph, [one.pool for image_id, one in seen.items() if image_id not in out])
            scores += [memory.score(cells) for one in out if (cells := seen[one].all) is not None]
        return scores

    # Bundle

    def _compose(self, graph: PatchGraph, memory: PatchLevels, threshold: RawThreshold, origin: Origin) -> Bundle:
        self.reporter.begin("Evaluation", until=0.97, message="Composing the model")
        directory = self.work_dir / "bundle"
        directory.mkdir(exist_ok=True)
        (directory / MANIFEST_NAME).unlink(missing_ok=True)  # while it is missing, the bundle is not whole
        path = directory / MODEL_NAME
        compose(graph, memory, threshold.value, path)
        manifest = BundleManifest(
            task=self.dataset.task,
            name=self.spec.name or "",
            categories=self.categories,
            preprocessing=self.preprocessing,
            decision=DecisionRule(kind="ng", threshold=0.5, reason=threshold.reason),
            temperature=1.0,
            feature_dim=1,
            model_sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
            precision=self.precision,
            lineage=lineage_of(
                origin, self.spec, self.dataset, backbone=self.backbone, head=HEAD, libraries=_LIBRARIES
            ),
        )
        write_manifest(directory, manifest)
        return read_bundle(directory)

    # Evaluation

    def _score_all(self, graph: PatchGraph, memory: PatchLevels) -> dict[int, float]:
        """Return the raw score of every image that can be read, by id, from the graph that will be served.

        The threshold follows from these scores and changes none of them.
        """
        self.reporter.step(1.0, "Judging all images")
        path = self.work_dir / "scores.onnx"
        compose(graph, memory, 1.0, path)
        self.places = Places(self.labelled, self.good_ids, self.preprocessing, seed=self.spec.seed)
        part = self._part(path, ["features", "heat"] if self.places else ["features"])
        items = [*self.labelled, *self.dataset.unlabelled]

        def look(item: DatasetItem) -> float:
            score, *heat = part.all(to_pixels(self.open_image(item), self.preprocessing)[None])
            for one in heat:
                self.places.add(item, one[0, 1] + 1.0)
            return float(score[0, 0])

        return {item.image_id: score for item, score in each_image(items, look, self.reporter, self.unreadable)}

    def _evaluate(
        self, bundle: Bundle, raw: dict[int, float]
    ) -> tuple[tuple[ImagePrediction, ...], dict[str, SplitMetrics]]:
        items = [item for item in (*self.labelled, *self.dataset.unlabelled) if item.image_id in raw]
        features = np.array([[raw[item.image_id]] for item in items], dtype=np.float32)
        head = head_part(bundle.model_path, bundle.manifest.features_name, bundle.manifest.scores_name)
        scores = head([features])[0].astype(np.float64)
        predictions = tuple(
            ImagePrediction(
                image_id=item.image_id, split=item.split, true_category_id=item.category_id, scores=tuple(row)
            )
            for item, row in zip(items, scores.tolist(), strict=True)
        )
        metrics = {}
        for split in Split:
            members = [index for index, item in enumerate(items) if item.split is split]
            if members:
                truth = np.array([self.index_of[items[index].category_id] for index in members])  # type: ignore[index]
                measured = measure(truth, scores[members], bundle.manifest)
                found = average_precision(truth != 0, scores[members, 1])
                further = {"average_precision": found, **self.places.figures(split)}
                metrics[split.value] = measured.model_copy(update=further)
                self.reporter.results(split.value, metrics[split.value])
        return predictions, metrics

    def _prove(
        self,
        graph: PatchGraph,
        bundle: Bundle,
        memory: PatchLevels,
        threshold: float,
        predictions: Sequence[ImagePrediction],
    ) -> Bundle:
        """Run a sample end to end through the finished file, and the same through the memory in numpy."""
        self.reporter.step(0.8, "Checking the finished model")
        answered = {one.image_id for one in predictions}
        items = [item for item in self.labelled if item.image_id in answered]
        held_out = [item for item in items if item.split is not Split.TRAIN] or items
        order = np.random.default_rng(self.spec.seed).permutation(len(held_out))[:_N_PARITY]
        pictures = [self.open_image(held_out[index]) for index in order]
        part = self._patches(graph)
        raw = np.array([memory.score(self._cells(part, picture, self.preprocessing)) for picture in pictures])
        del part
        expected = np.stack([threshold / (raw + threshold), raw / (raw + threshold)], axis=1)
        check = self._check(bundle, pictures, expected, bundle.manifest.precision)
        if not is_proven(check, bundle.manifest.precision):
            raise ParityFailed(check, bundle.directory)
        others: tuple[ParityCheck, ...] = ()
        if bundle.manifest.precision != "f32":
            others = (self._check(bundle, pictures, expected, "f32"),)
        manifest = bundle.manifest.model_copy(update={"parity": check, "parity_other": others})
        write_manifest(bundle.directory, manifest)
        return Bundle(bundle.directory, manifest)

    @staticmethod
    def _check(
        bundle: Bundle, pictures: Sequence[bytes | Path], expected: np.ndarray, precision: Precision
    ) -> ParityCheck:
        compat.return_memory()
        # What is only compared with takes twice the memory of bf16; one stream halves it.
        n_streams = n_cpus() if precision == bundle.manifest.precision else 1
        session = OpenVinoSession(bundle, precision=precision, n_streams=n_streams)
        return check_parity(ScoringModel(bundle, session), pictures, expected)

    def _is_good(self, item: DatasetItem) -> bool:
        return item.category_id in self.good_ids


def _check_enough(n_good: int) -> None:
    if n_good < MIN_GOOD:
        raise NotTrainable(
            "At least two readable good images are needed in the train split, and ten are better. Label more images "
            "as good, or move some to the train split."
        )


def _check_known(n_good: int) -> None:
    if not n_good:
        raise NotTrainable("No good image of the dev split can be read, and the threshold is chosen on them.")
