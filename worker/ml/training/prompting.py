"""A segmenter from strokes: what a run of visual prompting learns, as a model like any other."""

from pathlib import Path
from typing import Any

from app.contracts.bundle import Precision, Preprocessing, Tiling
from app.contracts.dataset import Dataset, DatasetItem
from app.contracts.jobs import TrainSpec
from app.contracts.tasks import Split
from worker.ml.backbones.sources import load
from worker.ml.backbones.tail import Tail
from worker.ml.data.extraction import OpenImage
from worker.ml.exporters.network import Whole
from worker.ml.heads.network import Network
from worker.ml.heads.prototypes import PrototypeHead
from worker.ml.prompting.maps import levels_of
from worker.ml.prompting.marking import Marking, Progress
from worker.ml.training.bundling import NOT_KEPT, Origin
from worker.ml.training.reporting import OnEvent
from worker.ml.training.result import TrainedModel
from worker.ml.training.segmentation import SegmentationTraining
from worker.ml.training.shape_training import ShapeTraining

_MOST_LOOKED_AT = 500  # images: those painted on, and others to know what is usual


def train_prompted(
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
    """Learn from the strokes of a frozen dataset and leave a proven bundle in `work_dir / "bundle"`.

    Arguments, and what is promised of them, are those of `train_segmentation`. Labels are not learned from; images that
    have some, and no stroke, judge the model.

    Raises:
        NotTrainable: No stroke of a class lies on an image that can be read.
        ParityFailed: The finished file does not mark what the classifier marks.
    """
    training = _PromptTraining(spec, dataset, open_image, cache_dir, work_dir, on_event, precision)
    return training.run(origin)


class WholePrompted(Whole):
    """Scores (B, K + 1, H', W'), as the head gives them."""

    def finish(self, answers: Any) -> Any:
        return answers


class _PromptTraining(SegmentationTraining):
    head = "prototypes"
    # What is learned is little, and as sure on other images as on these.
    judged_by, unjudged_threshold = ShapeTraining.judged_by, ShapeTraining.unjudged_threshold
    served_in = "f32"  # distances to prototypes are small differences of large sums

    def __init__(self, spec: TrainSpec, dataset: Dataset, open_image: OpenImage, *others: Any) -> None:
        super().__init__(spec, dataset, open_image, *others)
        self._open_original = open_image  # images with strokes are frozen without references

    def learned(self) -> tuple[Whole, Preprocessing, Tiling | None]:
        self.reporter.begin("Features", until=0.4, message="Looking at images")
        every = [*self.dataset.items, *self.dataset.unlabelled]
        # In the order of a run, so that both look at the same images.
        items = sorted(every, key=lambda item: (not item.strokes, item.image_id))[:_MOST_LOOKED_AT]
        marking = Marking(
            items,
            {item.image_id: item.strokes for item in items if item.strokes},
            self.dataset.categories,
            cache_dir=self.cache_dir,
            open_image=self._open_original,
            on_progress=self._say,
            card=self.card,
            precision=self.precision,
        )
        classifier = marking.learn()
        n_strokes = sum(len(item.strokes) for item in every)
        self.reporter.log(f"{n_strokes:,} strokes on {len(marking.strokes):,} images.")
        self.reporter.begin("Fitting", until=0.5, message="Composing the network")
        backbone = load(self.card)
        tail = Tail(backbone, entry=-1, taps=levels_of(self.card))
        network = Network(tail, PrototypeHead(classifier, marking.maps.pools))
        return WholePrompted(backbone, network).eval(), marking.maps.preprocessing, None

    def items_of(self, split: Split) -> list[DatasetItem]:
        """Return the labelled images of a split that nothing was painted on: painted ones are of train."""
        own = super().items_of(split)
        return own if split is Split.TRAIN else [item for item in own if not item.strokes]

    def proof_items(self) -> list[DatasetItem]:
        return super().proof_items() or [item for item in self.dataset.unlabelled if item.strokes]

    def _say(self, progress: Progress) -> None:
        self.reporter.step(progress.share, progress.stage)
