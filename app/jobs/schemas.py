"""What the Train screen shows, and what its form and REST take."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from app.catalog import AUGMENTATIONS, DEFAULT_AUGMENTATIONS
from app.contracts.jobs import Augmentations, Comparison, TrainSpec
from app.contracts.tasks import TaskType


def _none_if_blank(value: Any) -> Any:
    return None if isinstance(value, str) and not value.strip() else value


Blank = BeforeValidator(_none_if_blank)


class ChangesForm(BaseModel):
    """How far pictures are changed, in the units of `catalog.AUGMENTATIONS`; an empty field leaves it to the task.

    The preview is asked for with the whole train form, whose other fields it does not read.
    """

    symmetry: str = Field(default="auto", max_length=60)
    rotation_deg: Annotated[Annotated[float, Field(ge=0, le=45)] | None, Blank] = None
    zoom: Annotated[Annotated[float, Field(ge=0, le=100)] | None, Blank] = None
    shift: Annotated[Annotated[float, Field(ge=0, le=50)] | None, Blank] = None
    brightness: Annotated[Annotated[float, Field(ge=0, le=50)] | None, Blank] = None
    contrast: Annotated[Annotated[float, Field(ge=0, le=100)] | None, Blank] = None
    blur_px: Annotated[Annotated[float, Field(ge=0, le=5)] | None, Blank] = None
    noise: Annotated[Annotated[float, Field(ge=0, le=64)] | None, Blank] = None

    def augmentations(self, task: TaskType) -> Augmentations | None:
        """Return the amounts, the task's own where a field was left empty; None where all were."""
        given = {
            card.field: amount / card.scale
            for card in AUGMENTATIONS
            if (amount := getattr(self, card.field)) is not None
        }
        default = DEFAULT_AUGMENTATIONS.get(task, Augmentations())
        return default.model_copy(update=given) if given else None


class TrainForm(ChangesForm):
    """The train form; every field may be left as it is."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[Annotated[str, Field(max_length=80)] | None, Blank] = None
    backbone: str = Field(default="auto", max_length=60)
    method: str = Field(default="feature_extraction", max_length=60)
    image_size_px: Annotated[Annotated[int, Field(ge=64, le=1024)] | None, Blank] = None
    resize: Literal["auto", "stretch", "letterbox"] = "auto"
    seed: Annotated[Annotated[int, Field(ge=0, le=2**31 - 1)] | None, Blank] = None
    time_budget_min: Annotated[Annotated[float, Field(ge=0.2, le=1440)] | None, Blank] = None
    references: Literal["compare", "ignore"] = "compare"

    def to_spec(self, task: TaskType) -> TrainSpec:
        return TrainSpec(
            name=self.name,
            backbone=self.backbone,
            method=self.method,
            image_size_px=self.image_size_px,
            resize=self.resize,
            symmetry=self.symmetry,
            augmentations=self.augmentations(task),
            seed=self.seed or 0,
            time_budget_s=None if self.time_budget_min is None else round(self.time_budget_min * 60),
            use_references=self.references == "compare",
        )


@dataclass(frozen=True, slots=True)
class ClassCount:
    """One class and how many labelled images carry it."""

    id: int
    name: str
    color: str
    n_labelled: int


@dataclass(frozen=True, slots=True)
class Readiness:
    """What could be trained on now. `problem` is the sentence that says why it cannot be, or None.

    `sample_image_id` is a labelled image on which the symmetries are shown, of the last class that has one.
    `references` says what each image is compared with, None where with nothing.
    """

    classes: tuple[ClassCount, ...]
    n_labelled: int
    n_unlabelled: int
    sample_image_id: int | None
    problem: str | None
    references: str | None = None


@dataclass(frozen=True, slots=True)
class StageStep:
    """One stage of the line: `where` is done, now, next or failed; `seconds` is how long it took or takes so far."""

    name: str
    where: str
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Curve:
    """One live curve, as the chart macro takes it."""

    id: str
    title: str
    x_label: str
    y_label: str
    series: tuple[dict[str, Any], ...]
    x_range: tuple[float, float]
    y_range: tuple[float, float]
    x_digits: int


@dataclass(frozen=True, slots=True)
class LogEntry:
    at: datetime
    text: str
    level: str


@dataclass(frozen=True, slots=True)
class JobRow:
    """A job in the list of former ones, and the head of its card."""

    id: UUID
    spec: TrainSpec
    project_id: int
    task: TaskType
    title: str
    state: str
    is_terminal: bool
    can_cancel: bool
    fraction: float
    stage: str
    message: str
    error_id: str | None
    n_images: int | None
    version_number: int | None
    n_attempts: int
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    created_by: str | None
    seconds: float | None
    model_id: UUID | None
    model_name: str | None


@dataclass(frozen=True, slots=True)
class JobCard:
    """One job in full: what it does, how far it is, what it said."""

    row: JobRow
    choices: tuple[tuple[str, str], ...]
    left: str | None
    stages: tuple[StageStep, ...]
    curves: tuple[Curve, ...]
    tables: tuple[Comparison, ...]
    log: tuple[LogEntry, ...]


@dataclass(frozen=True, slots=True)
class RunningJob:
    """A job in the top bar."""

    id: UUID
    project_id: int
    project_name: str
    state: str
    percent: int
