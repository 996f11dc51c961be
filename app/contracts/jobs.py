"""The vocabulary of background work: what is asked for, and what is said while it runs."""

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class JobKind(StrEnum):
    TRAIN = "train"
    PROMPT = "prompt"  # masks from strokes


class JobState(StrEnum):
    """Where a job stands. See `TRANSITIONS` for the only ways from one to another."""

    QUEUED = "queued"
    RUNNING = "running"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        return self in {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}


# A running job goes back to queued when its worker died; everything else moves forward only.
TRANSITIONS: dict[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.RUNNING, JobState.CANCELLED, JobState.FAILED}),
    JobState.RUNNING: frozenset({JobState.QUEUED, JobState.CANCELLING, JobState.SUCCEEDED, JobState.FAILED}),
    JobState.CANCELLING: frozenset({JobState.CANCELLED, JobState.SUCCEEDED, JobState.FAILED}),
    JobState.SUCCEEDED: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.CANCELLED: frozenset(),
}


class Augmentations(BaseModel):
    """How far pictures may be changed while a head learns from them; 0 leaves a change out.

    Every picture is changed anew each time it is shown, by chance up to these amounts. Flips and quarter turns are not
    here: they follow from the symmetry of the part.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rotation_deg: float = Field(default=0.0, ge=0, le=45, description="Turned either way, in degrees")
    zoom: float = Field(default=0.25, ge=0, le=1, description="Larger or smaller, as a share")
    shift: float = Field(default=0.12, ge=0, le=0.5, description="Cut out at another place, as a share of the side")
    brightness: float = Field(default=0.15, ge=0, le=0.5, description="Lighter or darker, as a share of white")
    contrast: float = Field(default=0.25, ge=0, le=1, description="More or less contrast, as a share")
    blur_px: float = Field(default=0.0, ge=0, le=5, description="Standard deviation of a Gaussian, in input pixels")
    noise: float = Field(default=4.0, ge=0, le=64, description="Standard deviation of grey levels, of 255")


class TrainSpec(BaseModel):
    """What a person chose in the train form. Every default is the one-click training."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str | None = Field(default=None, max_length=80, description="Name of the model; a numbered one where None")
    backbone: str = Field(default="auto", description="A catalog id, or `auto`: compared by cross-validation")
    method: str = "feature_extraction"
    head: str = Field(default="auto", description="A catalog id, or `auto`: the one of the task")
    image_size_px: int | None = Field(default=None, ge=64, le=1024, description="None: the backbone's own")
    resize: Literal["auto", "stretch", "letterbox"] = "auto"
    symmetry: str = Field(
        default="auto", description="A catalog id of a symmetry group, or `auto`: by cross-validation"
    )
    augmentations: Augmentations | None = Field(default=None, description="None: the task's own")
    seed: int = Field(default=0, ge=0, le=2**31 - 1)
    time_budget_s: int | None = Field(default=None, ge=10, le=86_400)
    use_references: bool = Field(
        default=True, description="Compare each image with its reference, where the project has reference images"
    )


class Progress(BaseModel):
    """How far a job is. `stage` is a short noun phrase shown as a step of a line."""

    model_config = ConfigDict(frozen=True)

    stage: str
    fraction: float = Field(ge=0.0, le=1.0, description="Of the whole job, never falling")
    message: str = ""


class MetricPoint(BaseModel):
    """One point of a live curve: for example name `cv_auroc`, x the share of labels, y the value."""

    model_config = ConfigDict(frozen=True)

    name: str
    x: float
    y: float
    series: str = ""


class LogLine(BaseModel):
    """One line of a job's log, written for a person."""

    model_config = ConfigDict(frozen=True)

    text: str
    level: Literal["info", "warning", "error"] = "info"


class ComparisonRow(BaseModel):
    """One candidate of a choice that was measured. `score` is None where there was no time or no way to measure it."""

    model_config = ConfigDict(frozen=True)

    id: str
    name: str
    score: float | None = Field(description="Mean over the folds, in the comparison's metric")
    low: float | None = Field(default=None, description="95 % bootstrap interval")
    high: float | None = None
    seconds: float | None = Field(default=None, description="Time that measuring it took; cached features take none")
    passes: int = Field(default=1, description="Passes of the network that one prediction costs")
    is_chosen: bool = False
    note: str = ""


class Comparison(BaseModel):
    """A choice made by cross-validation, shown as a table: `what` is `backbone` or `symmetry`."""

    model_config = ConfigDict(frozen=True)

    what: str
    metric: str
    n_images: int
    n_folds: int
    reason: str = Field(description="One sentence for people: why the chosen one")
    rows: tuple[ComparisonRow, ...]


JobEventPayload = Progress | MetricPoint | LogLine | Comparison
