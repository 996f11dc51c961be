"""The manifest of a model bundle: everything needed to run and to trust it, beside its ONNX file."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from app.contracts.dataset import CategoryRef
from app.contracts.reference import BundledReferences
from app.contracts.tasks import TaskType

MANIFEST_NAME = "manifest.json"
MODEL_NAME = "model.onnx"

Precision = Literal["f32", "bf16"]


class Preprocessing(BaseModel):
    """From an RGB image of any size to the network's input, (1, 3, height_px, width_px) float32.

    Where `channels` says `compared`, join the image with its reference first: see `app.inference.reference`.
    Resize with Pillow (`resample`, antialiased), stretched or letterboxed with `pad_value`, bring to `brightness` where
    it is given, then `(x / 255 - mean) / std`.
    """

    model_config = ConfigDict(frozen=True)

    width_px: int
    height_px: int
    resize: Literal["stretch", "letterbox"]
    resample: Literal["bilinear", "bicubic"]
    pad_value: int = Field(default=128, ge=0, le=255)
    max_scale: float | None = Field(
        default=None, gt=0.0, description="A letterbox draws no picture larger than this many pixels for one of its own"
    )
    brightness: float | None = Field(
        default=None,
        gt=0.0,
        le=255.0,
        description="Mean grey level that each picture is brought to, exposure taken out",
    )
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    channels: Literal["rgb", "compared"] = Field(
        default="rgb", description="`compared`: grey levels, those of the aligned reference, and how far they differ"
    )

    @property
    def pad_color(self) -> tuple[int, int, int]:
        """What lies beside a letterboxed picture: grey, and where pictures are compared, no difference."""
        return (self.pad_value, self.pad_value, 0 if self.channels == "compared" else self.pad_value)


class Tiling(BaseModel):
    """How a picture larger than `side_px` is read: in square windows of that side, in pixels of the original.

    Neighbours share at least `overlap_px`; each window is resized to the network's input by itself.
    """

    model_config = ConfigDict(frozen=True)

    side_px: int = Field(ge=32)
    overlap_px: int = Field(ge=0)


class FindRule(BaseModel):
    """Which raw answers of a detector become finds, before any threshold.

    Of two boxes of a class that overlap by more than `max_overlap` (intersection over union), the better stays. With a
    `vote_overlap`, a box that stays is moved to the mean, weighted by score, of those of its class that overlap it by
    as much.
    """

    model_config = ConfigDict(frozen=True)

    score_floor: float = Field(default=0.02, ge=0.0, le=1.0)
    max_overlap: float = Field(default=0.6, gt=0.0, le=1.0)
    vote_overlap: float | None = Field(default=None, gt=0.0, le=1.0)
    max_candidates: int = Field(default=1000, ge=1, description="Per window, the best first")
    max_finds: int = Field(default=100, ge=1, description="Per window and per picture, the best first")


class MaskRule(BaseModel):
    """Which pixels of a segmenter's answer become regions, before any threshold on whole regions.

    A pixel is marked where its score of not being background reaches `pixel_threshold`; connected pixels of one class
    are a region. Smaller ones than `min_places` places of the network's answer are left out.
    """

    model_config = ConfigDict(frozen=True)

    pixel_threshold: float = Field(default=0.5, gt=0.0, le=1.0)
    min_places: float = Field(default=3.0, ge=0.0)
    max_regions: int = Field(default=200, ge=1, description="Per picture, the best first")


class DecisionRule(BaseModel):
    """How scores become an answer.

    `ng`: a good class exists; the image is good when `1 - score(good)` is below the threshold, else it gets the best
    other class.
    `confidence`: no good class; the best class wins, and is called unsure below the threshold.
    """

    model_config = ConfigDict(frozen=True)

    kind: Literal["ng", "confidence"]
    threshold: float = Field(ge=0.0, le=1.0, description="The default; a deployment may set its own")
    reason: str = Field(description="One sentence for people: why this is the default")


class Lineage(BaseModel):
    """Where a model comes from, so that it can be made again."""

    model_config = ConfigDict(frozen=True)

    dataset_version_id: int | None
    dataset_hash: str
    backbone: str
    backbone_sha256: str
    method: str
    head: str
    symmetry: str
    seed: int
    code_version: str
    libraries: dict[str, str] = Field(description="Package name to version")
    created_at: str = Field(description="ISO 8601, UTC")
    created_by: str | None = None


class ParityCheck(BaseModel):
    """Result of running real images through the finished file, end to end, against the features it was fitted on."""

    model_config = ConfigDict(frozen=True)

    n_images: int
    max_score_difference: float
    n_changed_decisions: int
    engine: str = Field(description="For example `openvino 2026.4.1 CPU f32`")


class TunedChoice(BaseModel):
    """What a fine-tuning of a classifier compared on images held out, and which network it published."""

    model_config = ConfigDict(frozen=True)

    published: Literal["frozen", "tuned"] = Field(description="Whether the backbone's last stages learned")
    measured_on: str
    n_images: int
    frozen_log_loss: float = Field(description="In nats, after calibration on the same images; lower is better")
    tuned_log_loss: float


class BundleManifest(BaseModel):
    """`manifest.json` of a bundle. Format versions are whole numbers; a reader refuses a newer one."""

    model_config = ConfigDict(frozen=True)

    format: Literal["kizu-bundle"] = "kizu-bundle"
    format_version: int = 1
    task: TaskType
    name: str
    categories: tuple[CategoryRef, ...]
    preprocessing: Preprocessing
    decision: DecisionRule
    temperature: float = Field(gt=0.0, description="Already inside the graph; given for the record")
    input_name: str = "image"
    features_name: str = Field(default="features", description="Tensor (B, D) where cached features enter the head")
    scores_name: str = Field(default="scores", description="Tensor (B, K), calibrated, sums to 1")
    heat_name: str | None = Field(default="heat", description="Tensor (B, K, H', W'): class activation, larger is more")
    feature_dim: int
    model_sha256: str
    lineage: Lineage
    precision: Precision = Field(
        default="f32", description="Of the features it was fitted on; a device without bf16 arithmetic serves it in f32"
    )
    views: tuple[int, ...] = Field(
        default=(0,), description="Views of the image that the graph averages over; see `app.catalog.symmetries`"
    )
    boxes_name: str | None = Field(
        default=None, description="Detection: tensor (B, A, 4), xyxy in input pixels; scores are then (B, A, K)"
    )
    finds: FindRule | None = Field(default=None, description="Detection: from raw answers to finds")
    masks: MaskRule | None = Field(
        default=None, description="Segmentation: from scores (B, K + 1, H', W'), index 0 background, to regions"
    )
    tiling: Tiling | None = Field(default=None, description="How large pictures are cut; None reads them whole")
    reference: BundledReferences | None = Field(default=None, description="What pictures are compared with")
    tuning: TunedChoice | None = Field(default=None, description="Classification by fine-tuning: what was better")
    parity: ParityCheck | None = None
    parity_other: tuple[ParityCheck, ...] = Field(
        default=(), description="The same images in other engines or precisions, for the record"
    )
